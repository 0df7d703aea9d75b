"""
A sidecar's interception: rules of nftables from the arguments of the init container that would set them with iptables.

They are those of Istio's `istio-iptables` in REDIRECT mode (istio.io, `tools/istio-iptables`), as far as the injector
asks for them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence

from harness.mesh.layout import DNS_IP

INIT = "istio-init"
DNS_CAPTURE = "ISTIO_META_DNS_CAPTURE"
DNS_PORT = 15053
"""Where the agent answers DNS."""


def interception_rules(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """
    The ruleset for a pod.

    What would leave by IPv6 is refused, but for the proxy's own: a proxy that is configured for IPv4 alone does not
    listen there, and nothing is to get past it.

    Raises:
        SystemExit: arguments that cannot be read.
        ValueError: a mode other than REDIRECT, or outbound ports listed one by one.
    """
    asked, _ = _parser().parse_known_args([each for each in arguments if each != "istio-iptables"])
    if asked.mode not in ("", "REDIRECT") or asked.inbound_ports not in ("*", ""):
        raise ValueError(f"only REDIRECT of all inbound ports is known here: {asked}")
    outbound = [
        f"meta skuid {asked.uid} return",
        f"meta skgid {asked.uid} return",
        *_dns(environment),
        "ip daddr 127.0.0.0/8 return",
        *_each("tcp dport {} return", asked.exclude_outbound_ports),
        *_each("ip daddr {} return", asked.exclude_ranges),
        *_included(asked.ranges, f"redirect to :{asked.outbound_port}"),
    ]
    inbound = [*_each("tcp dport {} return", f"15008,{asked.exclude_inbound_ports}")]
    if asked.inbound_ports == "*":
        inbound.append(f"meta l4proto tcp redirect to :{asked.inbound_port}")
    past = [f"meta skuid {asked.uid} accept", 'oifname "lo" accept', "meta l4proto ipv6-icmp accept", "reject"]
    return "\n".join(
        [
            *("table ip istio {", *_chain("output", outbound), *_chain("prerouting", inbound), "}"),
            *("table ip6 istio {", " chain output {", "  type filter hook output priority 0;"),
            *(*(f"  {rule};" for rule in past), " }", "}"),
        ],
    )


def _dns(environment: Mapping[str, str]) -> list[str]:
    """Queries to the cluster's name server go to the agent, where the pod's environment asks for it."""
    if environment.get(DNS_CAPTURE, "").lower() != "true":
        return []
    return [f"ip daddr {DNS_IP} {protocol} dport 53 redirect to :{DNS_PORT}" for protocol in ("udp", "tcp")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="istio-iptables", add_help=False)
    for flag, name, default in (
        ("-p", "outbound_port", "15001"),
        ("-z", "inbound_port", "15006"),
        ("-u", "uid", "1337"),
        ("-m", "mode", "REDIRECT"),
        ("-i", "ranges", "*"),
        ("-x", "exclude_ranges", ""),
        ("-b", "inbound_ports", ""),
        ("-d", "exclude_inbound_ports", ""),
        ("-o", "exclude_outbound_ports", ""),
    ):
        parser.add_argument(flag, dest=name, default=default)
    return parser


def _included(ranges: str, verdict: str) -> list[str]:
    if ranges == "*":
        return [f"meta l4proto tcp {verdict}"]
    return [f"ip daddr {each} meta l4proto tcp {verdict}" for each in _listed(ranges)]


def _each(rule: str, values: str) -> list[str]:
    return [rule.format(each) for each in _listed(values)]


def _listed(values: str) -> list[str]:
    return [each.strip() for each in values.split(",") if each.strip()]


def _chain(hook: str, rules: Iterable[str]) -> list[str]:
    return [f" chain {hook} {{", f"  type nat hook {hook} priority -100;", *(f"  {rule};" for rule in rules), " }"]
