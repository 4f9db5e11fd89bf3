"""Unit mixes: the search for `specs.decisions.mix`.

`solve.best_mix` answers a question; `uniform.best_uniform` the same with one group of units repeated.
"""
