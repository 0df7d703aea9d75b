"""What providers make of each field, and what they refuse: as data."""
