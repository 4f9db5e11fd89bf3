"""A cluster of real daemons on virtual time: their own code, an LLM of integers, faults by seed."""
