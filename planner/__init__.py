"""Finding a plan: all search, no I/O beyond reading and writing files.

The Python API for what-if analysis.  Whole problems, in the order of use:

    problem = planner.read_problem(Path("cluster.yaml"))
    outcome = planner.solve(problem, planner.Request(blocks=16), planner.Search(within_s=2))
    if isinstance(outcome, planner.Planned):
        print(outcome.verified.plan.certificates)
        for each in planner.explain_plan(outcome.verified).decisions:
            print(each.decision, each.binding, each.worth)

`read_cluster` reads the cluster alone, `repair` gives the problem that an interrupted plan leaves.  From what runs:

    state = planner.arrived(outcome.verified, requests=4, context_tokens=700)   # or `planner.ask(urls, 10).state`
    begun = planner.begin(state, wanted)
    following = planner.solve(begun.problem, begun.request)
    print(planner.difference(following.verified).seen)

Single questions, without a cluster or a checkpoint: each is a noun of plain numbers in `specs.decisions`, and each
answer has passed the checker there and says its value, its bound and how the bound is known.

    name                   question                                     answer
    move                   flow.question.Movement                       blobs to where they are wanted, over any links
    schedule_collective    rounds.question.Question                     a collective in so many steps and rounds
    collective_frontier    rounds.question.Fabric and Chunks            the fewest rounds for every number of steps
    lay_out                layout.question.Question                     pipelines over unequal devices
    place                  placement.nouns.Question                     copies of many LLMs over memories
    best_mix               mix.question.MixQuestion                     units of which shape, and the order of changes
    best_uniform_mix       mix.question.MixQuestion                     the same in equal groups
    best_length_table      speculation.lengths.LengthQuestion           tokens to draft, by class, load and acceptance
    best_token_tree        acceptance by rank, nodes and depth          the tree of which most tokens are accepted
    best_token_tree_size   speculation.trees.TreeQuestion               the tree with the least time per token

Predictions of a plan, or of one pipeline known by its numbers:

    predict_latency        problem, plan, LLM                           TTFT and TPOT at the SLO's percentile
    latency_questions      problem, plan, LLM                           what its open pipelines ask, one by one
    most_requests_per_hour these questions, an SLO                      the demand up to which the SLO is kept
    `specs.decisions.latency.limits` turns the question round for one pipeline: slots, requests, what must give.

All of it is imported when it is first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.asking import ask
    from planner.decided import Request
    from planner.description.reading import read_cluster, read_problem
    from planner.explain.decisions import explain as explain_plan
    from planner.explain.of_promises import most_requests_per_hour
    from planner.layouts.search import lay_out
    from planner.mixes.solve import best_mix
    from planner.mixes.uniform import best_uniform as best_uniform_mix
    from planner.outcome import Conflict, Infeasible, Outcome, Planned, Undecided
    from planner.packing.move import move
    from planner.placement.plan import place
    from planner.reconfiguring.arrived import arrived
    from planner.reconfiguring.beginning import begin
    from planner.reconfiguring.differences import difference
    from planner.repair import repair
    from planner.rounds.frontier import frontier as collective_frontier
    from planner.rounds.schedule import schedule as schedule_collective
    from planner.search import Search
    from planner.solve import solve
    from planner.speculation.lengths import best_table as best_length_table
    from planner.speculation.trees import best_size as best_token_tree_size
    from planner.speculation.trees import best_tree as best_token_tree
    from specs.queueing import predict as predict_latency
    from specs.queueing import questions_of as latency_questions

# Where each of these is, and under which name.
_LATER = {
    "Conflict": ("planner.outcome", "Conflict"),
    "Infeasible": ("planner.outcome", "Infeasible"),
    "Outcome": ("planner.outcome", "Outcome"),
    "Planned": ("planner.outcome", "Planned"),
    "Request": ("planner.decided", "Request"),
    "Search": ("planner.search", "Search"),
    "Undecided": ("planner.outcome", "Undecided"),
    "arrived": ("planner.reconfiguring.arrived", "arrived"),
    "ask": ("planner.asking", "ask"),
    "begin": ("planner.reconfiguring.beginning", "begin"),
    "best_length_table": ("planner.speculation.lengths", "best_table"),
    "best_mix": ("planner.mixes.solve", "best_mix"),
    "best_token_tree": ("planner.speculation.trees", "best_tree"),
    "best_token_tree_size": ("planner.speculation.trees", "best_size"),
    "best_uniform_mix": ("planner.mixes.uniform", "best_uniform"),
    "collective_frontier": ("planner.rounds.frontier", "frontier"),
    "difference": ("planner.reconfiguring.differences", "difference"),
    "explain_plan": ("planner.explain.decisions", "explain"),
    "latency_questions": ("specs.queueing", "questions_of"),
    "lay_out": ("planner.layouts.search", "lay_out"),
    "most_requests_per_hour": ("planner.explain.of_promises", "most_requests_per_hour"),
    "move": ("planner.packing.move", "move"),
    "place": ("planner.placement.plan", "place"),
    "predict_latency": ("specs.queueing", "predict"),
    "read_cluster": ("planner.description.reading", "read_cluster"),
    "read_problem": ("planner.description.reading", "read_problem"),
    "repair": ("planner.repair", "repair"),
    "schedule_collective": ("planner.rounds.schedule", "schedule"),
    "solve": ("planner.solve", "solve"),
}

__all__ = [
    "Conflict",
    "Infeasible",
    "Outcome",
    "Planned",
    "Request",
    "Search",
    "Undecided",
    "arrived",
    "ask",
    "begin",
    "best_length_table",
    "best_mix",
    "best_token_tree",
    "best_token_tree_size",
    "best_uniform_mix",
    "collective_frontier",
    "difference",
    "explain_plan",
    "latency_questions",
    "lay_out",
    "most_requests_per_hour",
    "move",
    "place",
    "predict_latency",
    "read_cluster",
    "read_problem",
    "repair",
    "schedule_collective",
    "solve",
]


class _Face(ModuleType):
    """This package, where `solve` and `repair` are functions though files have these names too."""

    def __setattr__(self, name: str, value: object) -> None:
        """Leave those names to `__getattr__` when an import would put the file's module there."""
        if not (name in _LATER and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __getattr__(name: str) -> object:
    """Import what is asked for by its name here."""
    if name not in _LATER:
        raise AttributeError(f"module 'planner' has no attribute {name!r}")
    module, attribute = _LATER[name]
    found = getattr(import_module(module), attribute)
    globals()[name] = found
    return found
