"""Why there is no plan, and why a plan is as it is."""
