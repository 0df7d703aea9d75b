"""What may be planned of an object, and what stands against the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.contention.claims import Claims
from egressgateway.plan.findings import Advisory, Finding
from egressgateway.plan.revoked import NOTHING, Revoked


@dataclass(frozen=True, slots=True)
class Acceptance:
    """
    What may be planned.

    Attributes:
        served: destinations that nothing takes out, `exposed` likewise.
        consumers: by destination, the namespaces that it serves.
        kept: parts that are taken out and whose live children stay untouched. When a finding takes out the object,
            `keep_all` says whether its children stay.
        contested: of parts that are taken out because others have their names: the names that they ask for. What they
            steered before under other names is not kept: two objects that swap names would wait for each other.
        revoked: what of that goes all the same, because it is not allowed any more.
        next_look: when something expires, so that the object must be judged again.
    """

    findings: tuple[Finding, ...]
    served: tuple[Destination, ...]
    claims: Claims
    exposed: tuple[ExposedHost, ...] = ()
    consumers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    keep_all: bool = False
    contested: Mapping[str, frozenset[str]] = field(default_factory=dict)
    advisories: tuple[Advisory, ...] = ()
    revoked: Revoked = NOTHING
    next_look: datetime | None = None

    @property
    def of_object(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.part)

    def of_part(self, name: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.part == name)

    def is_taken_out(self, part: str) -> bool:
        """Whether a part is not planned."""
        return any(not finding.partial for finding in (*self.of_object, *self.of_part(part)))
