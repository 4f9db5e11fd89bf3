"""Transfers on any topology: which piece of which item crosses which route when.

`question` and `answer` are the nouns, `faults` says what is wrong with an answer, `values` what it achieves; `bounds`,
`prices` and, over `islands`, `growth` say what no answer beats.
"""
