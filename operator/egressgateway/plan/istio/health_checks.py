"""
Probes of destinations: by the Envoy of each gateway pod, in the very cluster that requests take.

So a probe resolves the name, connects, verifies and shows certificates exactly as a request does; it needs no further
access, and no further process. Its result never decides where requests go: if all of a destination's addresses fail,
all are tried. Only outlier detection, if configured, leaves failing addresses out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from egressgateway.api.probe import Probe
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop, build_hops
from egressgateway.plan.gateway.probing import ProbedWay, Probing
from egressgateway.plan.gateway.references import own_pods
from egressgateway.plan.ir import Child
from egressgateway.plan.istio.upstream import cluster_of, outlier_detection_of
from egressgateway.plan.pods.workload import GATE_PATH, GATE_PORT, has_gate, probes_name
from egressgateway.plan.routing.children import shared_child
from egressgateway.plan.routing.upstreams import Upstream, upstreams_of
from egressgateway.stages import Stage

USER_AGENT: Final = "egressgateway-probe"
_HTTP_PORTS: Final = frozenset({"HTTP", "HTTP2"})
_DEFAULT_STATUSES: Final = ({"start": 200, "end": 400},)
_EVERY_STATUS: Final = ({"start": 100, "end": 600},)
"""All other responses count towards the threshold; Envoy would take one of these for the end at once."""

_OBSERVE_ONLY: Final = 100
"""Panic threshold, in percent of healthy addresses: below all of them, Envoy ignores their health."""

_NEVER_NONE: Final = 1
"""With outlier detection: failing addresses are ejected, unless none would be left."""


_SOME: Final = {"value": 1}
"""
Share of healthy addresses, in percent, with which a destination counts as reached: one address is enough. Envoy treats
less than one percent as zero, and then always passes (measured).
"""


def probing_of(context: PlanContext) -> Probing | None:
    """The object's probes; None without any."""
    pods = own_pods(context.key, context.spec, context.class_spec)
    if pods is None:
        return None
    probed = [destination for destination in context.spec.destinations if destination.probe is not None]
    upstreams = _probed(upstreams_of(build_hops(context.key, probed, context.target), probed))
    ways: dict[str, tuple[ProbedWay, ...]] = {}
    for upstream in upstreams:
        hop = upstream.hop
        way = ProbedWay(cluster_of(upstream), hop.host, hop.port, asks=_asks(hop, _probe(upstream)))
        ways[hop.destination] = (*ways.get(hop.destination, ()), way)
    period = min((_probe(upstream).period for upstream in upstreams), default=0)
    return Probing(pods, ways, period) if ways else None


def plan_probes(context: PlanContext, upstreams: Sequence[Upstream]) -> Iterator[Child]:
    """
    One EnvoyFilter for all probes, and for the page from which the kubelet learns of those that gate the pods.

    The page stays until the kubelet no longer asks any pod for it: pods whose probe gets no answer stop being ready.
    """
    probed = _probed(upstreams)
    gating = [upstream for upstream in probed if _probe(upstream).gates is not None]
    gated = has_gate(context.spec, context.live)
    if not context.target.dedicated or not (probed or gated):
        return
    values = {
        "checks": [_check(upstream) for upstream in probed],
        "gate": {"port": GATE_PORT, "path": GATE_PATH, "clusters": dict.fromkeys(map(cluster_of, gating), _SOME)}
        if gated
        else None,
    }
    yield shared_child(
        context.owner, probes_name(context.key), "EnvoyFilter", Stage.FOUNDATION, values, "envoyfilter-probes"
    )


def _probed(upstreams: Sequence[Upstream]) -> list[Upstream]:
    return [each for each in upstreams if each.destination.probe is not None and not each.hop.dynamic]


def _probe(upstream: Upstream) -> Probe:
    return upstream.destination.probe or Probe()


def _asks(hop: Hop, probe: Probe) -> bool:
    return probe.path is not None and hop.protocol in _HTTP_PORTS


def _check(upstream: Upstream) -> dict[str, Any]:
    probe = _probe(upstream)
    kind = {"http_health_check": _request(upstream, probe)} if _asks(upstream.hop, probe) else {"tcp_health_check": {}}
    interval = f"{probe.period}s"
    check = {
        "timeout": f"{probe.timeout}s",
        "interval": interval,
        # The default is once a minute, while the destination is not used.
        "no_traffic_interval": interval,
        "unhealthy_threshold": probe.threshold,
        "healthy_threshold": 1,
        # A new one each time: name, connection and certificate are checked.
        "reuse_connection": False,
        **kind,
    }
    panic = _NEVER_NONE if outlier_detection_of(upstream) else _OBSERVE_ONLY
    return {
        "cluster": cluster_of(upstream),
        "patch": {
            "health_checks": [check],
            # An address that DNS no longer lists is removed at once, as without a probe, though it may still answer.
            "ignore_health_on_host_removal": True,
            "common_lb_config": {"healthy_panic_threshold": {"value": panic}},
        },
    }


def _request(upstream: Upstream, probe: Probe) -> dict[str, Any]:
    """
    The request of the probe: as the gateway sends it on behalf of clients, with the headers that it sets for them.
    """
    hop, headers = upstream.hop, upstream.destination.request_headers
    set_ = {header.name: header.value for header in headers.set_} if headers else {}
    if not any(name.lower() == "user-agent" for name in set_):
        set_["user-agent"] = USER_AGENT
    statuses = [{"start": status, "end": status + 1} for status in sorted(probe.statuses)]
    return {
        "host": hop.server if hop.wildcard else hop.authority,
        "path": probe.path,
        "codec_client_type": "HTTP2" if hop.protocol == "HTTP2" else "HTTP1",
        "expected_statuses": statuses or list(_DEFAULT_STATUSES),
        "retriable_statuses": list(_EVERY_STATUS),
        "request_headers_to_add": [
            {
                # Envoy reads `%` as the start of a variable of its own.
                "header": {"key": name, "value": value.replace("%", "%%")},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for name, value in set_.items()
        ],
    }
