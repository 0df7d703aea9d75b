"""The process around the passes: workers, its own watches, metrics, health."""
