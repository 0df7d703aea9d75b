"""Planning: spec, class and facts become the objects that should exist, in stages. Pure."""
