"""What must be true of every plan: one module per subject, all rules in `specs.invariants.table`."""
