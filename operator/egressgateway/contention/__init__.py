"""Contention: which EgressGateway has the right to a name or a port in a namespace. Pure."""
