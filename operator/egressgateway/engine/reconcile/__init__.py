"""One pass over one EgressGateway: observe, apply, say what came of it."""
