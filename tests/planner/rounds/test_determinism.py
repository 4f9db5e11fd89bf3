"""The same question gives the same bytes, whatever the process hashes strings to."""

from planner.rounds.schedule import schedule
from planner.search import Search
from specs.decisions.rounds.collectives import allgather
from specs.decisions.rounds.question import Question
from tests.hash_seeds import printed
from tests.planner.rounds.fabrics import switch

PROGRAM = """
from planner.rounds.frontier import frontier
from planner.search import Search
from specs.decisions.rounds.collectives import allgather
from tests.planner.rounds.fabrics import DGX1, switch
print(frontier(DGX1, allgather(8, 1), Search(), steps_max=3, copies_max=3))
print(frontier(switch(4, 2), allgather(4, 1), Search(), steps_max=2, copies_max=3))
"""


def test_two_processes_give_the_same_bytes():
    assert b"Scheduled" in printed(PROGRAM)


def test_limits_in_steps_give_the_same_outcome():
    question = Question(fabric=switch(6, 2), chunks=allgather(6, 3), steps=2, rounds=20)
    outcomes = [schedule(question, Search(steps_max=2_000)) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
