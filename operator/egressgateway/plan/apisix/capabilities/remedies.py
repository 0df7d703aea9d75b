"""Remedies for what APISIX cannot do."""

from __future__ import annotations

from typing import Final

USE_ISTIO: Final = "use a class with provider Istio"
REMOVE_OR_ISTIO: Final = f"remove it, or {USE_ISTIO}"
