"""Rendering: a plan's values and our templates become objects. Pure; no value can change a document's structure."""
