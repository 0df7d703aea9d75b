"""The process around the passes: workers, watches of its own, metrics, health."""
