"""
A program for a pod: opens the WebSocket URL, reads the message in which a server of the world tells what it saw, and
has a text and bytes sent back.

Prints JSON: `status` 101 if all of it came, else that of the refusal or 0, `error`, `headers` of the answer, and
`body`, the server's first message.
"""

import argparse
import asyncio
import json
import ssl
import sys
from typing import Any

import aiohttp

ROOTS = "/etc/ssl/certs/ca-certificates.crt"
PATIENCE_SECONDS = 10
TEXT, BYTES = "hello", b"\x00\xffhello"


class Lost(Exception):
    """The WebSocket did not do what it was to."""


async def chat(url: str, headers: dict[str, str], idle: float) -> dict[str, Any]:
    told: dict[str, Any] = {"status": 101, "error": "", "headers": {}, "body": ""}
    secure = ssl.create_default_context(cafile=ROOTS) if url.startswith("wss:") else True
    try:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers, ssl=secure) as socket:
            told["body"] = await socket.receive_str(timeout=PATIENCE_SECONDS)
            await _expect_echo(socket)
            if idle:
                await asyncio.sleep(idle)
                await _expect_echo(socket)
    except aiohttp.WSServerHandshakeError as refusal:
        told |= {"status": refusal.status, "error": refusal.message}
        told["headers"] = {name.lower(): value for name, value in (refusal.headers or {}).items()}
    except (OSError, TimeoutError, TypeError, aiohttp.ClientError, Lost) as fault:
        # TypeError: a frame of another kind, such as the one that ends it.
        told |= {"status": 0, "error": f"{type(fault).__name__}: {fault}"}
    return told


async def _expect_echo(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str(TEXT)
    await socket.send_bytes(BYTES)
    came = (await socket.receive_str(timeout=PATIENCE_SECONDS), await socket.receive_bytes(timeout=PATIENCE_SECONDS))
    if came != (TEXT, BYTES):
        raise Lost(f"another echo: {came!r}")


def main() -> int:
    """The exit code is 1 where not all of it came."""
    arguments = _parser().parse_args()
    headers = {name: value.strip() for name, _, value in (each.partition(":") for each in arguments.header)}
    told = asyncio.run(chat(arguments.url, headers, arguments.idle))
    print(json.dumps(told))
    return 0 if told["status"] == 101 else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chat")
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE")
    parser.add_argument("--idle", type=float, default=0, help="seconds of silence, after which more is sent")
    parser.add_argument("url")
    return parser


if __name__ == "__main__":
    sys.exit(main())
