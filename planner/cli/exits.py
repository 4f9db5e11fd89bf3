"""Exit codes: the same for every command."""

GOOD = 0
INFEASIBLE = 1  # or rejected
BAD_INPUT = 2
UNDECIDED = 3
