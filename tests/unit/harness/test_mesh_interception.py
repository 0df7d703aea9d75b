"""A sidecar's interception is what the injector asks the init container for."""

from __future__ import annotations

import pytest

from harness.mesh.interception import interception_rules

ASKED = (
    "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 --log_output_level=info"
)


def test_everything_but_the_proxy_is_redirected() -> None:
    """Outbound to 15001 except by the proxy's own user, inbound to 15006 except for the proxy's own ports."""
    rules = interception_rules(ASKED.split(" "), {})
    outbound, inbound = rules.split("chain prerouting")
    assert "meta skuid 1337 return;" in outbound
    assert "meta l4proto tcp redirect to :15001;" in outbound
    assert "meta l4proto tcp redirect to :15006;" in inbound
    assert all(f"tcp dport {port} return;" in inbound for port in (15008, 15090, 15021, 15020))


def test_excluded_ports_and_ranges_come_first() -> None:
    """What is not to be intercepted leaves the chain before the redirect."""
    rules = interception_rules(["-i", "*", "-x", "192.0.2.0/24", "-o", "25,587", "-b", "*"], {}).splitlines()
    redirect = next(index for index, line in enumerate(rules) if "redirect to :15001" in line)
    for excluded in ("ip daddr 192.0.2.0/24 return", "tcp dport 25 return", "tcp dport 587 return"):
        assert any(excluded in line for line in rules[:redirect])


def test_other_modes_are_refused() -> None:
    """What is not known here is not done wrong in silence."""
    with pytest.raises(ValueError, match="REDIRECT"):
        interception_rules(["-m", "TPROXY", "-b", "*"], {})


def test_dns_goes_to_the_agent_where_it_is_asked_for() -> None:
    """By UDP and TCP, to the cluster's name server alone, and never the proxy's own queries: those would come back."""
    assert "15053" not in interception_rules(ASKED.split(" "), {"ISTIO_META_DNS_CAPTURE": "false"})
    rules = interception_rules(ASKED.split(" "), {"ISTIO_META_DNS_CAPTURE": "true"}).splitlines()
    found = [index for index, line in enumerate(rules) if "dport 53 redirect to :15053" in line]
    assert [rules[index].split()[:4] for index in found] == [
        ["ip", "daddr", "10.96.0.10", each] for each in ("udp", "tcp")
    ]
    proxy = next(index for index, line in enumerate(rules) if "meta skuid 1337 return" in line)
    redirect = next(index for index, line in enumerate(rules) if "redirect to :15001" in line)
    assert proxy < found[0] < found[1] < redirect


def test_nothing_leaves_by_ipv6_past_the_proxy() -> None:
    """The proxy of a pod that has IPv4 alone listens there alone."""
    table = interception_rules(ASKED.split(" "), {}).partition("table ip6 istio {")[2]
    rules = [line.strip() for line in table.splitlines()]
    assert rules.index("meta skuid 1337 accept;") < rules.index("reject;")
