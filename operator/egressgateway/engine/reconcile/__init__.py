"""One pass over one EgressGateway: observe, apply, report the result."""
