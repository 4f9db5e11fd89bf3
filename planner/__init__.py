"""Finding a plan: all search, no I/O beyond reading and writing files."""
