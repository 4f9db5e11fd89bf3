"""Pipelines for a question: small questions by trying all, large ones by columns and prices."""

from planner.layouts import columns
from planner.layouts.layout import Layout, choose, told
from planner.search import Search
from specs.decisions.layout import exhausted
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import Objective


def lay_out(question: Question, objective: Objective, search: Search) -> Layout:
    """Find the best pipelines for a question."""
    try:
        options = exhausted.options(question)
    except exhausted.TooLarge:
        return columns.by_columns(question, objective, search)
    bound = exhausted.best_of(question, objective, options)
    if bound is None:
        return Layout(answer=None, value=None, bound=None, witness=(), method="exhausted", infeasible=True)
    answer = choose(question, list(options), objective, search, bound)
    return told(question, objective, answer, bound, (), "exhausted")
