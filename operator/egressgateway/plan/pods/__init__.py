"""The gateway's own pods, and what surrounds them."""
