"""Changes of a running layout."""
