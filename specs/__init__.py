"""What is true: nouns, invariants and the checker, protocols and their exploration.  No search, no solver."""
