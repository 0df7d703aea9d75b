"""
Stages of children: the order of writes.

A stage is written when the one before it is complete. Stages are removed in the opposite order.
"""

from __future__ import annotations

from enum import IntEnum


class Stage(IntEnum):
    """
    Make before break, in three steps.

    FOUNDATION: what the next stage relies on: identity, Service, policies, where the gateway sends traffic.
    GATEWAY: the pods and the routes inside the gateway.
    CLIENTS: the objects that send mesh clients through the gateway. Only once a pod serves and istiod has pushed the
    rest.
    """

    FOUNDATION = 1
    GATEWAY = 2
    CLIENTS = 3

    @property
    def label(self) -> str:
        """Value of the stage label, which gives the stage of a child that is no longer wanted."""
        return self.name.lower()
