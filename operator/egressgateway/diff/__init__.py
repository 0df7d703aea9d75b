"""Differences: desired and live objects become the writes that are needed, and no other. Pure."""
