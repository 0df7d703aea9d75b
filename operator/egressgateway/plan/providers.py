"""Every provider, by its name in a class: the only module that knows them all. A new provider is a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from egressgateway.api.gateway_class import EgressGatewayClassSpec, ProviderName
from egressgateway.facts import Facts
from egressgateway.live.controller_status import Controller
from egressgateway.plan.apisix.provider import ApisixProvider
from egressgateway.plan.context import context_of
from egressgateway.plan.gateway.probing import Probing
from egressgateway.plan.istio.provider import IstioProvider
from egressgateway.plan.provider import Provider

PROVIDERS: Final[Mapping[ProviderName, Provider]] = {
    ProviderName.ISTIO: IstioProvider(),
    ProviderName.APISIX: ApisixProvider(),
}

CONTROLLERS: Final[tuple[Controller, ...]] = tuple(
    each.controller for each in PROVIDERS.values() if each.controller is not None
)
"""
Controllers that report whether they accept objects.

Live objects may be those of a former class, so their kind decides which controller counts, not the class.
"""


def provider_of(class_spec: EgressGatewayClassSpec | None) -> Provider:
    """The provider of a class; for a class that cannot be read, that of the built-in class."""
    return PROVIDERS[(class_spec or EgressGatewayClassSpec()).data_plane]


def probing_of(facts: Facts) -> Probing | None:
    """The probes of an object, as its provider makes them; None without any."""
    spec = facts.gateway.spec
    if spec is None or all(destination.probe is None for destination in spec.destinations):
        return None
    context = context_of(facts)
    return provider_of(context.class_spec).probing(context) if context is not None else None
