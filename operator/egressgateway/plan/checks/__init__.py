"""Checks: what stands against an object or a section of it. Pure."""
