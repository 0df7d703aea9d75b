"""
A program for a pod: connects to HOST PORT, says a line, reads the line of JSON that a server of the world answers
with, and then its own line again.

Prints JSON: `status` 200 if all of it came, `error` if not, and `body`, every byte that came until then. It needs no
package: it starts in a tenth of the time without them.
"""

import argparse
import json
import socket
import ssl
import sys
import time

ROOTS = "/etc/ssl/certs/ca-certificates.crt"
LINE = b"hello\n"
SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
"""How a PostgreSQL client begins (PostgreSQL's manual, "Message Formats", SSLRequest)."""

PATIENCE_SECONDS = 5


class Lost(Exception):
    """The connection did not do what it was to."""


def connect(host: str, port: int, *, tls: bool) -> socket.socket:
    plain = socket.create_connection((host, port), timeout=PATIENCE_SECONDS)
    return ssl.create_default_context(cafile=ROOTS).wrap_socket(plain, server_hostname=host) if tls else plain


class Conversation:
    """Lines that are sent and read; `came` is all that was read, whole lines or not."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""
        self.came = b""

    def say(self, words: bytes = LINE) -> None:
        self._connection.sendall(words)

    def read_line(self) -> bytes:
        """
        Raises:
            Lost: the connection ends before the line does.
        """
        while b"\n" not in self._unread:
            data = self._connection.recv(65536)
            if not data:
                raise Lost("closed without a word" if not self.came else "closed")
            self.came += data
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def expect_echo(self) -> None:
        if (line := self.read_line()) != LINE.strip():
            raise Lost(f"another echo: {line!r}")


def main() -> int:
    """The exit code is 1 where not all of it came."""
    arguments = _parser().parse_args()
    status, error, came = 200, "", b""
    try:
        with connect(arguments.host, arguments.port, tls=arguments.tls) as connection:
            conversation = Conversation(connection)
            try:
                _talk(conversation, arguments)
            finally:
                came = conversation.came
    except (OSError, Lost) as fault:
        status, error = 0, f"{type(fault).__name__}: {fault}"
    print(json.dumps({"status": status, "error": error, "body": came.decode(errors="replace")}))
    return 0 if status else 1


def _talk(conversation: Conversation, arguments: argparse.Namespace) -> None:
    if arguments.ssl_request:
        conversation.say(SSL_REQUEST)
    if arguments.silent or arguments.ssl_request:
        conversation.read_line()
        return
    conversation.say()
    conversation.read_line()
    conversation.expect_echo()
    if arguments.idle:
        time.sleep(arguments.idle)
        conversation.say()
        conversation.expect_echo()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dial")
    parser.add_argument("--tls", action="store_true", help="TLS from the first byte on, for the name HOST")
    parser.add_argument("--silent", action="store_true", help="say nothing, and read what the server says first")
    parser.add_argument(
        "--ssl-request", action="store_true", help="ask for TLS as PostgreSQL's clients do, in plain text"
    )
    parser.add_argument("--idle", type=float, default=0, help="seconds of silence, after which a line is sent again")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
