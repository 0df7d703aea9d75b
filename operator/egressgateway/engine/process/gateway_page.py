"""
Envoy's own page for Prometheus, as a gateway's pod serves it. Whoever can create pods can make one up, so it is bounded
in every way, and never held as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

import aiohttp

from egressgateway.facts import PodFacts

log = logging.getLogger(__name__)

PORT: Final = 15090
"""Envoy's own page, which every version of Istio's proxies has."""

_PATH: Final = "/stats/prometheus"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=3, sock_connect=1)
LARGEST_PAGE: Final = 4 << 20
"""Bytes."""

_LONGEST_LINE: Final = 4096
MOST_PODS: Final = 32
"""
Pods of one object that are asked, ready ones first. A user who can create pods can create some that look like the
gateway's, and more of them than any gateway has.
"""


def asked_pods(pods: Iterable[PodFacts]) -> tuple[PodFacts, ...]:
    """The pods of one object that are asked."""
    with_address = (pod for pod in pods if pod.address)
    return tuple(sorted(with_address, key=lambda pod: (not pod.ready, pod.name))[:MOST_PODS])


def pages_session(proxy: str = "") -> aiohttp.ClientSession:
    """
    The connections to all pods, through an HTTP proxy where the operator is outside of their network.

    Compressed answers are not unpacked: a few bytes can become a gigabyte.
    """
    headers = {"Accept-Encoding": "identity"}
    return aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False, headers=headers, proxy=proxy or None)


async def read_page(  # noqa: PLR0913  (whom to ask, for what, and how much of the answer is read)
    session: aiohttp.ClientSession,
    pod: PodFacts,
    filter_: str,
    feed: Callable[[str], None],
    *,
    largest: int,
    words: tuple[bytes, ...] = (b"",),
) -> bool:
    """
    Feed the page of a pod, line by line.

    Args:
        filter_: of the names of counters, a regular expression of Envoy's.
        largest: bytes, after which the page is given up.
        words: lines without any of them are not fed.

    Returns:
        Whether the whole page came: in half a page, counters and what they count would not fit together.
    """
    host = f"[{pod.address}]" if ":" in pod.address else pod.address
    url, parameters = f"http://{host}:{PORT}{_PATH}", {"filter": filter_}
    try:
        async with session.get(url, params=parameters, allow_redirects=False) as answer:
            return answer.status == 200 and await _feed_lines(answer, feed, largest, words)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        fields = {"pod": f"{pod.namespace}/{pod.name}", "error": repr(error)}
        log.debug("Gateway pod does not answer on the page of its proxy", extra={"fields": fields})
        return False


async def _feed_lines(
    answer: aiohttp.ClientResponse, feed: Callable[[str], None], left: int, words: tuple[bytes, ...]
) -> bool:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return False
    rest = b""
    async for chunk in answer.content.iter_any():
        left -= len(chunk)
        if left < 0:
            answer.close()
            return False
        *lines, rest = (rest + chunk).split(b"\n")
        # A line without an end is not ours; its end is skipped like any other line.
        rest = rest[:_LONGEST_LINE]
        for line in lines:
            if line and any(word in line for word in words):
                feed(line.decode(errors="replace"))
    if rest and any(word in rest for word in words):
        feed(rest.decode(errors="replace"))
    return True
