"""
Passes on request: the annotation `egressgateway.dev/reconcile-requested-at`, like Flux' `requestedAt`.

Each new value requests one pass that uses no remembered results; `status.lastHandledReconcileAt` answers it with the
value. So `kubectl annotate` and a wait for the answer know that a pass has seen the object, whatever its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from egressgateway.api.status import REQUEST_LIMIT
from egressgateway.refs import GROUP, Manifest

ANNOTATION: Final = f"{GROUP}/reconcile-requested-at"


def request_of(gateway: Manifest | None) -> str:
    """The request on an EgressGateway, cut to what its status can hold; empty without one."""
    annotations: Mapping[str, Any] = ((gateway or {}).get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(ANNOTATION, ""))[:REQUEST_LIMIT]


def is_answered(request: str, status: Mapping[str, Any]) -> bool:
    """Whether there is nothing to answer, or `status` has the answer."""
    return not request or status.get("lastHandledReconcileAt") == request
