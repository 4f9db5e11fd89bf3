"""Inductive invariants of the protocols, proved by Z3 for any number of nodes and plans."""
