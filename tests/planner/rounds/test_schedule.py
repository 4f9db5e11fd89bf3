"""Schedules against brute force, against Z3, and on the instances of the literature."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

import planner.rounds.proof
import planner.rounds.schedule
from planner.rounds.deliveries import priced_by_deliveries
from planner.rounds.schedule import Impossible, Scheduled, Undecided, schedule
from planner.rounds.symmetry import free_group
from planner.search import Search
from specs.decisions.rounds.answer import faults, value
from specs.decisions.rounds.certificate import Certificate, Method, certificate_faults
from specs.decisions.rounds.collectives import allgather, alltoall, broadcast, gather, scatter
from specs.decisions.rounds.question import Chunks, Fabric, Question
from tests.planner.rounds.brute_force import least_rounds
from tests.planner.rounds.fabrics import DGX1, questions, ring, switch, two_rings_of_four
from tests.planner.rounds.z3_encoding import is_satisfiable


def assert_optimal(question: Question, rounds: int | None) -> None:
    """`rounds` is the optimum, None when there is no schedule: found, and proved."""
    outcome = schedule(question, Search())
    if rounds is None:
        assert isinstance(outcome, Impossible)
        assert outcome.proof.rounds is None or outcome.proof.rounds > question.rounds
    else:
        assert isinstance(outcome, Scheduled)
        assert list(faults(question, outcome.answer)) == []
        assert value(outcome.answer) == rounds
        assert outcome.gap == 0
        assert outcome.word is None
    assert outcome.proof.method is not Method.SOLVER
    assert list(certificate_faults(question, outcome.proof)) == []


@settings(max_examples=120, deadline=None)
@given(st.one_of(questions(nodes_max=3, chunks_max=4), questions(nodes_max=4, chunks_max=2)))
def test_the_optimum_is_that_of_brute_force_and_proved(question):
    assert_optimal(question, least_rounds(question))


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(st.one_of(questions(nodes_max=3, chunks_max=4, steps_max=4), questions(nodes_max=5, chunks_max=2)))
def test_the_optimum_is_that_of_brute_force_and_proved_on_more(question):
    assert_optimal(question, least_rounds(question))


CORPUS = [
    (fabric, chunks, steps, rounds)
    for fabric, chunks in (
        (ring(4), allgather(4, 1)),
        (ring(4), allgather(4, 2)),
        (ring(5), broadcast(5, 3, 0)),
        (ring(4), alltoall(4, 1)),
        (switch(4, 1), allgather(4, 1)),
        (switch(5, 1), broadcast(5, 2, 0)),
        (switch(4, 2), scatter(4, 2, 1)),
        (ring(4), gather(4, 2, 3)),
    )
    for steps, rounds in ((1, 2), (2, 2), (2, 3), (3, 3), (3, 4))
]
CORPUS += [(DGX1, chunks, 2, 2) for chunks in (allgather(8, 1), allgather(8, 2), broadcast(8, 3, 0), gather(8, 2, 0))]


@pytest.mark.parametrize(("fabric", "chunks", "steps", "rounds"), CORPUS)
def test_z3_agrees(fabric, chunks, steps, rounds):
    question = Question(fabric=fabric, chunks=chunks, steps=steps, rounds=rounds)
    outcome = schedule(question, Search())
    assert isinstance(outcome, Scheduled) == is_satisfiable(question)
    assert list(certificate_faults(question, outcome.proof)) == []


def test_the_corpus_for_z3_has_both_verdicts():
    verdicts = [
        type(schedule(Question(fabric=fabric, chunks=chunks, steps=steps, rounds=rounds), Search()))
        for fabric, chunks, steps, rounds in CORPUS[:40]
    ]
    assert min(verdicts.count(Scheduled), verdicts.count(Impossible)) > 10
    assert verdicts.count(Undecided) == 0


@pytest.mark.parametrize(
    ("chunks", "steps", "rounds", "least"),
    [
        (allgather(8, 1), 2, 2, 2),
        (allgather(8, 2), 2, 3, 3),
        (allgather(8, 3), 2, 4, None),
        (allgather(8, 3), 3, 4, 4),
        (allgather(8, 6), 3, 7, 7),
        (gather(8, 6, 0), 3, 7, 7),
        (gather(8, 6, 0), 2, 7, 7),
        (broadcast(8, 7, 0), 3, 3, 3),
        (broadcast(8, 8, 0), 3, 3, None),
        (alltoall(8, 3), 8, 8, 8),
        (alltoall(8, 3), 2, 8, 8),
        (alltoall(8, 3), 2, 7, None),
        (allgather(8, 1), 1, 9, None),
    ],
    ids=lambda value: f"{len(value)}x{value[0].count}" if isinstance(value, tuple) else str(value),
)
def test_the_instances_of_a_dgx1(chunks, steps, rounds, least):
    assert_optimal(Question(fabric=DGX1, chunks=chunks, steps=steps, rounds=rounds), least)


def test_shared_uplinks_are_priced_by_whole_deliveries(monkeypatch):
    """A chunk that enters a ring of four once reaches three of its nodes in the next step: halves would do better."""
    fabric = two_rings_of_four()
    question = Question(fabric=fabric, chunks=allgather(8, 1), steps=2, rounds=100)
    assert_optimal(question, 8)
    outcome = schedule(question, Search())
    assert isinstance(outcome, Scheduled)
    assert outcome.gap == 0
    monkeypatch.setattr(planner.rounds.proof, "priced_by_deliveries", lambda *_, **__: None)
    without = schedule(question, Search())
    assert isinstance(without, Scheduled)
    assert without.gap == 1


@settings(max_examples=60, deadline=None)
@given(questions(nodes_max=4, chunks_max=2))
def test_prices_of_deliveries_refute_no_division_that_has_a_schedule(question):
    found = schedule(question, Search())
    if isinstance(found, Scheduled):
        group = free_group(question)
        priced = priced_by_deliveries(question, group, Search(), found.answer.rounds)
        assert priced is None or priced.value <= 1 + 1e-6


def test_one_round_less_is_impossible_and_one_more_is_not():
    question = Question(fabric=DGX1, chunks=allgather(8, 4), steps=2, rounds=6)
    assert_optimal(question, 6)
    assert_optimal(attrs.evolve(question, rounds=5), None)
    assert_optimal(attrs.evolve(question, rounds=7), 6)


def test_loops_and_detours_over_holders_are_left_out():
    # Two holders and a single target: a flow may wander, the schedule must not.
    kind = Chunks(count=5, held_by=(0, 2), wanted_at=(3,))
    assert_optimal(Question(fabric=ring(5), chunks=(kind,), steps=4, rounds=4), 4)


def test_nothing_to_move_takes_one_round_per_step():
    kind = Chunks(count=2, held_by=(0,), wanted_at=(0,))
    assert_optimal(Question(fabric=ring(3), chunks=(kind,), steps=2, rounds=2), 2)


def test_no_path_is_impossible_in_any_number_of_rounds():
    fabric = Fabric.from_matrix(((0, 1, 0), (0, 0, 0), (0, 0, 0)))
    outcome = schedule(Question(fabric=fabric, chunks=broadcast(3, 1, 0), steps=5, rounds=99), Search())
    assert isinstance(outcome, Impossible)
    assert outcome.proof.rounds is None


def test_without_time_nothing_is_claimed():
    question = Question(fabric=DGX1, chunks=allgather(8, 6), steps=3, rounds=7)
    outcome = schedule(question, Search(steps_max=0))
    assert isinstance(outcome, Undecided)
    assert list(certificate_faults(question, outcome.proof)) == []


def test_a_solvers_word_is_named_so(monkeypatch):
    """With proofs taken away, what CP-SAT says of fewer rounds stands, but apart from what is proved."""
    monkeypatch.setattr(
        planner.rounds.schedule,
        "strongest_proof",
        lambda question, *_: Certificate(rounds=question.steps, method=Method.CLOSED_FORM),
    )
    outcome = schedule(Question(fabric=DGX1, chunks=broadcast(8, 8, 0), steps=3, rounds=4), Search())
    assert isinstance(outcome, Scheduled)
    assert (outcome.gap, outcome.word.rounds, outcome.word.method) == (1, 4, Method.SOLVER)
    assert outcome.word.solver.startswith("ortools/")
    outcome = schedule(Question(fabric=DGX1, chunks=broadcast(8, 8, 0), steps=3, rounds=3), Search())
    assert isinstance(outcome, Impossible)
    assert outcome.proof.method is Method.SOLVER


def test_an_undecided_solver_excludes_nothing(monkeypatch):
    def undecided(self, model, *, share=1.0, at_best=None):
        return cp_model.CpSolver(), cp_model.UNKNOWN

    monkeypatch.setattr(Search, "cp_sat", undecided)
    question = Question(fabric=DGX1, chunks=allgather(8, 1), steps=2, rounds=2)
    assert isinstance(schedule(question, Search()), Undecided)


def test_the_same_question_gives_the_same_schedule():
    question = Question(fabric=DGX1, chunks=allgather(8, 2), steps=3, rounds=3)
    assert schedule(question, Search()) == schedule(question, Search())
