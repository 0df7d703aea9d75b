"""
Stages of children: the order of writes.

A stage is written when the one before it stands. Removal goes the other way round.
"""

from __future__ import annotations

from enum import IntEnum


class Stage(IntEnum):
    """
    Make before break, in three steps.

    FOUNDATION: what the next stage relies on: identity, Service, policies, where the gateway sends traffic.
    GATEWAY: the pods and the routes inside the gateway.
    CLIENTS: what sends mesh clients through the gateway. Only once a pod serves and istiod has pushed the rest.
    """

    FOUNDATION = 1
    GATEWAY = 2
    CLIENTS = 3

    @property
    def label(self) -> str:
        """Value of the stage label, by which a child that is no longer wanted still tells its stage."""
        return self.name.lower()
