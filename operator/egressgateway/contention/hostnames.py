"""Host patterns of a class: `api.partner.com`, `*.partner.com` (one or more labels in front), `*`."""

from __future__ import annotations

from collections.abc import Iterable


def covers(pattern: str, host: str) -> bool:
    """Whether `pattern` covers all of `host`, which may be a wildcard itself."""
    if pattern in ("*", host):
        return True
    return pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1


def is_wildcard(host: str) -> bool:
    return host.startswith("*.")


def overlaps(pattern: str, host: str) -> bool:
    """Whether some name matches both."""
    return covers(pattern, host) or covers(host, pattern)


def is_allowed(host: str, allowed: Iterable[str], denied: Iterable[str]) -> bool:
    """A denied pattern wins over an allowed one; a wildcard that covers a denied name is denied with it."""
    return any(covers(pattern, host) for pattern in allowed) and not any(overlaps(pattern, host) for pattern in denied)
