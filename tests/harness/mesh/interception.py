"""
A sidecar's interception: rules of nftables from the arguments of the init container that would set them with iptables.

They are those of Istio's `istio-iptables` in REDIRECT mode (istio.io, `tools/istio-iptables`), as far as the injector
asks for them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

INIT = "istio-init"


def interception_rules(arguments: Sequence[str]) -> str:
    """
    The ruleset for a pod.

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
        "ip daddr 127.0.0.0/8 return",
        *_each("tcp dport {} return", asked.exclude_outbound_ports),
        *_each("ip daddr {} return", asked.exclude_ranges),
        *_included(asked.ranges, f"redirect to :{asked.outbound_port}"),
    ]
    inbound = [*_each("tcp dport {} return", f"15008,{asked.exclude_inbound_ports}")]
    if asked.inbound_ports == "*":
        inbound.append(f"meta l4proto tcp redirect to :{asked.inbound_port}")
    return "\n".join(
        ["table ip istio {", *_chain("output", outbound), *_chain("prerouting", inbound), "}"],
    )


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
