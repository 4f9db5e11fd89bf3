"""Pipelines for a question: small questions by trying all, large ones by columns and prices."""

from planner.layouts import columns
from planner.layouts.layout import Layout, choose, told
from planner.search import Search
from specs.decisions.layout import exhausted
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import Objective


def lay_out(question: Question, objective: Objective, search: Search) -> Layout:
    """Find the best pipelines for a question; where moves are limited, good ones, and the bound of no such limit."""
    try:
        options = exhausted.options(question)
    except exhausted.TooLarge:
        return columns.by_columns(question, objective, search)
    bound = exhausted.best_of(question, objective, options)
    if bound is None:
        return Layout(answer=None, value=None, bound=None, witness=(), method="exhausted", infeasible=True)
    if question.limits.moved_units is None:
        answer = choose(question, list(options), objective, search, bound)
    else:  # pipelines that are not best where they may be loaded freely can be best here
        answer = columns.by_columns(question, objective, search).answer
    return told(question, objective, answer, bound, (), "exhausted")
