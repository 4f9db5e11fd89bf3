"""Speculation: the search for `specs.decisions.speculation`.

`lengths.best_table` fills a table; `trees.best_tree` and `trees.best_size` choose token trees.
"""
