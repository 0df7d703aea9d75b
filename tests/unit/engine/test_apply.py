"""What is written, and what is not even tried."""

from __future__ import annotations

from typing import Any, cast

import pytest

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.request import Request
from egressgateway.diff.changeset import Mode, Write
from egressgateway.diff.steering import Steps
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.reconcile.apply import Applier
from egressgateway.engine.reconcile.requeue import is_permanent
from egressgateway.engine.reconcile.state import GatewayState
from egressgateway.errors import Invalid
from egressgateway.plan.checks.bounds import MAX_BYTES
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.render.manifests import Desired
from egressgateway.stages import Stage

pytestmark = pytest.mark.asyncio
KEY = Key("shop", "partners")


class Recorder:
    """A server that takes everything."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Manifest | None:
        self.sent.append(request)
        return None


def policy(name: str, size: int) -> Write:
    manifest: dict[str, Any] = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"rules": ["x" * size]},
    }
    ref = ObjectRef("AuthorizationPolicy", "shop", name)
    return Write(Mode.CREATE, Desired(ref, Stage.FOUNDATION, "", manifest, "digest"))


async def test_object_that_cannot_be_stored_is_not_sent() -> None:
    """It fails for good and says why, with both numbers; what is beside it is written all the same."""
    server = Recorder()
    applier = Applier(cast("ApiClient", server), Caches(), Metrics())
    large, small = policy("large", MAX_BYTES), policy("small", 10)
    applied = await applier.apply(KEY, Steps(foundation=(large, small)), GatewayState(0.0, 0.0))
    assert [request.call for request in server.sent] == ["apply AuthorizationPolicy shop/small"]
    assert applied.failures.keys() == {large.ref}
    error = applied.failures[large.ref]
    assert isinstance(error, Invalid)
    assert is_permanent(error)
    assert str(MAX_BYTES) in error.message
    assert "spec.access.from" in error.message
