"""EgressGateway: one object, one working, secured and observable exit from a service mesh."""

__version__ = "0.1.0"
