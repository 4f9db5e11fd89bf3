"""A cluster that is left alone."""
