"""The shell around the core: what runs when, in which process, and how others can see it."""
