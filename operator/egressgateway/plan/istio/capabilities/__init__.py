"""What Istio does with each field, one module for each section of the spec."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.common import CLASS, SPEC
from egressgateway.plan.capabilities.model import Capabilities
from egressgateway.plan.istio.capabilities.access import ACCESS
from egressgateway.plan.istio.capabilities.destinations import DESTINATIONS
from egressgateway.plan.istio.capabilities.expose import EXPOSE
from egressgateway.plan.istio.capabilities.gateway import GATEWAY
from egressgateway.plan.istio.capabilities.gateway_class import GATEWAY_CLASS
from egressgateway.plan.istio.capabilities.traffic import TRAFFIC

CAPABILITIES: Final = Capabilities(
    spec={**SPEC, **GATEWAY, **DESTINATIONS, **TRAFFIC, **EXPOSE, **ACCESS},
    class_spec={**CLASS, **GATEWAY_CLASS},
)
