"""What every log line within one reconcile says about it, so that no caller repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, Any] = MappingProxyType({})

reconcile_fields: ContextVar[Mapping[str, Any]] = ContextVar("reconcile_fields", default=NOTHING)
"""Fields of the reconcile under way: `namespace`, `name`, `reconcile_id`. Tasks that it starts inherit them."""
