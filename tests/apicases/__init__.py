"""Objects of the API that tests share: the corpus in `tests/corpus`, and every small change of a full object."""
