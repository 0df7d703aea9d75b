"""The gateway's own pods, and the objects that belong to them."""
