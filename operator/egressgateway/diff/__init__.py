"""Differences: desired and live objects become the necessary writes, and no others. Pure."""
