"""What would have to give, on questions that miss by one."""

import attrs

from planner.rounds.relief import Conflict, conflict
from planner.rounds.schedule import schedule
from planner.search import Search
from specs.decisions.rounds.collectives import allgather, alltoall, broadcast
from specs.decisions.rounds.question import Fabric, Question
from tests.planner.rounds.fabrics import DGX1, ring


def found(question: Question) -> Conflict:
    return conflict(question, schedule(question, Search()), Search())


def test_each_limit_alone():
    explained = found(Question(fabric=DGX1, chunks=allgather(8, 3), steps=2, rounds=4))
    assert explained.sentence == "2 steps need 5 rounds or more; 4 are allowed, by dual"
    assert [(each.limit, each.allowed, each.needed) for each in explained.reliefs] == [
        ("rounds", 4, 5),
        ("steps", 2, 3),
        ("copies", 3, 2),
    ]
    assert explained.reliefs[0].sentence == "5 rounds instead of 4 would do"


def test_a_cut_is_not_helped_by_steps():
    explained = found(Question(fabric=DGX1, chunks=alltoall(8, 3), steps=2, rounds=7))
    assert "what must enter nodes {0, 1, 2, 3} takes 8 rounds" in explained.sentence
    assert [(each.limit, each.needed) for each in explained.reliefs] == [("rounds", 8), ("copies", 2)]


def test_too_few_steps():
    explained = found(Question(fabric=ring(6), chunks=broadcast(6, 1, 0), steps=2, rounds=4))
    assert explained.sentence == "some chunk has 3 links to cross, one per step; 2 steps are allowed"
    assert [(each.limit, each.needed) for each in explained.reliefs] == [("steps", 3)]


def test_no_path_has_no_way_out():
    fabric = Fabric.from_matrix(((0, 1), (0, 0)))
    explained = found(Question(fabric=fabric, chunks=allgather(2, 2), steps=2, rounds=4))
    assert explained == Conflict(sentence="no path leads from a holder of chunks 1 to node 0", reliefs=())


def test_what_would_do_does():
    question = Question(fabric=ring(4), chunks=allgather(4, 2), steps=2, rounds=2)
    for each in found(question).reliefs:
        changed = {
            "rounds": lambda needed: attrs.evolve(question, rounds=needed),
            "steps": lambda needed: attrs.evolve(question, steps=needed),
            "copies": lambda needed: attrs.evolve(question, chunks=allgather(4, needed)),
        }[each.limit](each.needed)
        assert type(schedule(changed, Search())).__name__ == "Scheduled"
