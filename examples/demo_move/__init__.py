"""The demo of moves: three pipelines change shape ten times under constant load, and no request notices."""
