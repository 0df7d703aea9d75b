"""Forms of an answer: text for people, documents for programs, files for services that show findings."""
