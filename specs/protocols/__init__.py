"""How nodes may behave: one pure step function per protocol, explored exhaustively for small clusters."""
