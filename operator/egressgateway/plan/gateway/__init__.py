"""The gateway that a plan is about: where it runs, its hops, its pods, and what drains from it. Pure."""
