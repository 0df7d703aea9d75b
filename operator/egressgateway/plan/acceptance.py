"""Which sections of an object may be planned, and the findings that reject the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.contention.claims import Claims
from egressgateway.namespaces import EVERYONE
from egressgateway.plan.findings import Advisory, Finding
from egressgateway.plan.revoked import NOTHING, Revoked


@dataclass(frozen=True, slots=True)
class Acceptance:
    """
    Which sections may be planned.

    Attributes:
        served: destinations that no finding rejects; `exposed` likewise.
        consumers: by destination, the namespaces that it serves.
        kept: rejected sections whose live children stay untouched. When a finding rejects the object, `keep_all` says
            whether its children stay.
        conflicted: by rejected section, the names that it asks for and other objects have. What the section steered
            before under other names is not kept: two objects that swap names would wait for each other.
        handed_over: by section, names that the object lets go and its clients use until another object serves them.
        revoked: which of the kept children are removed all the same, because they are not allowed any more.
        next_look: when something expires, so that the object must be judged again.
    """

    findings: tuple[Finding, ...]
    served: tuple[Destination, ...]
    claims: Claims
    exposed: tuple[ExposedHost, ...] = ()
    consumers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    keep_all: bool = False
    conflicted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    handed_over: Mapping[str, frozenset[str]] = field(default_factory=dict)
    advisories: tuple[Advisory, ...] = ()
    revoked: Revoked = NOTHING
    next_look: datetime | None = None

    @property
    def staying(self) -> frozenset[str]:
        """Sections of which live children stay that the plan itself does not have."""
        return self.kept | self.handed_over.keys()

    @property
    def staying_names(self) -> Mapping[str, frozenset[str]]:
        """For some of these, the names to which that is limited."""
        handed = {
            section: names | self.conflicted.get(section, frozenset())
            for section, names in self.handed_over.items()
            if section not in self.kept or section in self.conflicted
        }
        return {**self.conflicted, **handed}

    @property
    def of_object(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.section)

    def of_section(self, name: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.section == name)

    def is_rejected(self, section: str) -> bool:
        """Whether a section is rejected, so that it is not planned."""
        return any(not finding.partial for finding in (*self.of_object, *self.of_section(section)))


def named_consumers(acceptance: Acceptance) -> frozenset[str]:
    """Namespaces whose clients are served, one by one; none for a destination that serves every namespace."""
    return frozenset[str]().union(*acceptance.consumers.values()) - EVERYONE
