"""What APISIX does with each field, one module for each section of the spec."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.apisix.capabilities.access import ACCESS
from egressgateway.plan.apisix.capabilities.destinations import DESTINATIONS
from egressgateway.plan.apisix.capabilities.expose import EXPOSE
from egressgateway.plan.apisix.capabilities.gateway import GATEWAY
from egressgateway.plan.apisix.capabilities.gateway_class import GATEWAY_CLASS
from egressgateway.plan.apisix.capabilities.traffic import TRAFFIC
from egressgateway.plan.capabilities.common import CLASS, SPEC
from egressgateway.plan.capabilities.model import Capabilities

CAPABILITIES: Final = Capabilities(
    spec={**SPEC, **GATEWAY, **DESTINATIONS, **TRAFFIC, **EXPOSE, **ACCESS},
    class_spec={**CLASS, **GATEWAY_CLASS},
)
