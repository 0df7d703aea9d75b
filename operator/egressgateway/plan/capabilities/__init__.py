"""What providers make of each field of the API, and which values they refuse: how that is said, and looked up."""
