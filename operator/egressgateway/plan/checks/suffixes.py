"""
Public suffixes: names under which everybody may register names, such as `com` and `co.uk`.

Only the ICANN section of the Public Suffix List (publicsuffix.org) counts, which registries rule. Its private section
holds `github.io` or `s3.amazonaws.com`: services of one company, and a wildcard over one is what egress rules are
made of. The list comes with a package and is read once; nothing is fetched.
"""

from __future__ import annotations

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@cache
def _icann() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True, accept_unknown=False)


@lru_cache(maxsize=4096)
def is_public_suffix(name: str) -> bool:
    """Whether `name` itself is one; what no registry knows (`corp`, `example`) is none."""
    return bool(_icann().is_public(name))
