"""The command line: one module a command; the core does the work."""
