"""Exit codes: the same for every command."""

GOOD = 0
INFEASIBLE = 1  # or rejected
BAD_INPUT = 2
UNDECIDED = 3
INTERRUPTED = 130  # a second Ctrl-C, or one where there is nothing to hand out; as shells count it
