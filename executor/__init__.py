"""Making it so: a pure core and a thin shell, one process per node."""
