"""Checks: why an object or one of its sections is rejected. Pure."""
