"""Examples of services and standbys: what to write, and what the planner makes of it."""
