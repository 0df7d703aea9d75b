"""A sidecar's interception is what the injector asks the init container for."""

from __future__ import annotations

import pytest

from harness.mesh.interception import interception_rules

ASKED = (
    "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 --log_output_level=info"
)


def test_everything_but_the_proxy_is_redirected() -> None:
    """Outbound to 15001 except by the proxy's own user, inbound to 15006 except for the proxy's own ports."""
    rules = interception_rules(ASKED.split(" "))
    outbound, inbound = rules.split("chain prerouting")
    assert "meta skuid 1337 return;" in outbound
    assert "meta l4proto tcp redirect to :15001;" in outbound
    assert "meta l4proto tcp redirect to :15006;" in inbound
    assert all(f"tcp dport {port} return;" in inbound for port in (15008, 15090, 15021, 15020))


def test_excluded_ports_and_ranges_come_first() -> None:
    """What is not to be intercepted leaves the chain before the redirect."""
    rules = interception_rules(["-i", "*", "-x", "192.0.2.0/24", "-o", "25,587", "-b", "*"]).splitlines()
    redirect = next(index for index, line in enumerate(rules) if "redirect to :15001" in line)
    for excluded in ("ip daddr 192.0.2.0/24 return", "tcp dport 25 return", "tcp dport 587 return"):
        assert any(excluded in line for line in rules[:redirect])


def test_other_modes_are_refused() -> None:
    """What is not known here is not done wrong in silence."""
    with pytest.raises(ValueError, match="REDIRECT"):
        interception_rules(["-m", "TPROXY", "-b", "*"])
