"""From a running cluster to another layout of it, while requests keep flowing: see `flow`."""
