"""Live objects: which of them are ours, and what they say. Pure."""
