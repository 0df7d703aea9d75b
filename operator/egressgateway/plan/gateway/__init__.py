"""The gateway that a plan is about: its target, its hops, its pods, and what drains from it. Pure."""
