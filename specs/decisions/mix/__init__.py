"""Unit mixes: how many workers of which shape serve the demand, and how to get there from what runs now.

`question` has the nouns, `checks` what is wrong with an answer and what it achieves, `bounds` why none is better.
"""
