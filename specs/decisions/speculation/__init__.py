"""Speculation: how many tokens to draft before the LLM verifies them, as tables and as trees.

`lengths` has the question and the table of lengths by class, load and acceptance; `trees` has token trees and the
choice of their size by measured times.
"""
