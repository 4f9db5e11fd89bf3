"""The questions that planning asks, one module each, as plain integers without a cluster document around them.

Each module has the question and the answer as nouns; `faults(question, answer)`, which says in sentences what is wrong
with an answer; `value(...)`, what an answer achieves; and bounds, each a function of the question and a witness with
its proof in its docstring.  No solver: a bound is worked out again by whoever doubts it.
"""
