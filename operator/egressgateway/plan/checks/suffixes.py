"""
Public suffixes: names under which the public may register names, such as `com` and `co.uk`.

Only the ICANN section of the Public Suffix List (publicsuffix.org) counts, which registries control. Its private
section has `github.io` or `s3.amazonaws.com`: services of one company, for which egress rules often need a wildcard.
The list is part of a package and is read once; nothing is fetched.
"""

from __future__ import annotations

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@cache
def _icann() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True, accept_unknown=False)


def read_list() -> None:
    """Read the list now, which takes 0.2 s, and not in the first question."""
    _icann()


@lru_cache(maxsize=4096)
def is_public_suffix(name: str) -> bool:
    """Whether `name` itself is a public suffix; a name that no registry knows (`corp`, `example`) is not."""
    return bool(_icann().is_public(name))
