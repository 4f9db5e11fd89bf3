"""What is wrong with a schedule in steps and rounds; nouns that contradict themselves."""

import attrs
import pytest

from specs.decisions.rounds.answer import Answer, Send, faults, value
from specs.decisions.rounds.collectives import allgather, alltoall, broadcast, gather, scatter
from specs.decisions.rounds.question import Chunks, Fabric, Link, Question, Shared
from specs.errors import InvalidProblem, MalformedDocument

LINE = Fabric.from_matrix(((0, 2, 0), (0, 0, 1), (0, 0, 0)))


def send(step: int, source: int, destination: int, chunk: int) -> Send:
    return Send(step=step, source=source, destination=destination, chunk=chunk)


QUESTION = Question(fabric=LINE, chunks=broadcast(3, 2, 0), steps=2, rounds=3)
ANSWER = Answer(rounds=(1, 2), sends=(send(0, 0, 1, 0), send(0, 0, 1, 1), send(1, 1, 2, 0), send(1, 1, 2, 1)))


def with_sends(*sends: Send) -> Answer:
    return attrs.evolve(ANSWER, sends=sends)


def test_a_right_answer_has_no_fault():
    assert list(faults(QUESTION, ANSWER)) == []
    assert value(ANSWER) == 3


@pytest.mark.parametrize(
    ("answer", "sentences"),
    [
        (
            attrs.evolve(ANSWER, rounds=(1, 2, 1)),
            [
                "the schedule has 3 steps; 2 are asked for",
                "the schedule takes 4 rounds; 3 are allowed",
            ],
        ),
        (attrs.evolve(ANSWER, rounds=(1, 3)), ["the schedule takes 4 rounds; 3 are allowed"]),
        (
            attrs.evolve(ANSWER, rounds=(0, 2)),
            [
                "step 0 lasts 0 rounds; a step lasts at least 1",
                "0>1 carries 2 chunks in step 0; its limit in 0 rounds is 0",
            ],
        ),
        (attrs.evolve(ANSWER, rounds=(1, 1)), ["1>2 carries 2 chunks in step 1; its limit in 1 rounds is 1"]),
        (with_sends(*ANSWER.sends[:3]), ["chunk 1 never arrives at node 2, where it is wanted"]),
        (
            with_sends(*ANSWER.sends[:3], send(0, 1, 2, 1)),
            ["chunk 1 over 1>2 in step 0: node 1 does not hold the chunk then"],
        ),
        (
            with_sends(*ANSWER.sends, send(1, 0, 1, 1)),
            ["chunk 1 over 0>1 in step 1: node 1 holds the chunk already or receives it twice"],
        ),
        (
            with_sends(*ANSWER.sends[:3], send(2, 1, 2, 1)),
            [
                "chunk 1 over 1>2 in step 2: the schedule has 2 steps, from 0",
                "chunk 1 never arrives at node 2, where it is wanted",
            ],
        ),
        (with_sends(*ANSWER.sends, send(1, 1, 2, 2)), ["chunk 2 over 1>2 in step 1: there are 2 chunks, from 0"]),
        (with_sends(*ANSWER.sends, send(1, 0, 2, 1)), ["chunk 1 over 0>2 in step 1: there is no link 0>2"]),
    ],
)
def test_each_fault_is_named(answer, sentences):
    assert list(faults(QUESTION, answer)) == sentences


def test_a_shared_capacity_counts_all_its_links():
    port = Shared(name="port", links=((0, 1), (0, 2)), chunks_per_round=1)
    fabric = Fabric.from_matrix(((0, 1, 1), (0, 0, 0), (0, 0, 0)), shared=(port,))
    question = Question(fabric=fabric, chunks=broadcast(3, 1, 0), steps=1, rounds=2)
    answer = Answer(rounds=(2,), sends=(send(0, 0, 1, 0), send(0, 0, 2, 0)))
    assert list(faults(question, answer)) == []
    found = list(faults(question, attrs.evolve(answer, rounds=(1,))))
    assert found == ["port carries 2 chunks in step 0; its limit in 1 rounds is 1"]


def test_the_textbook_collectives():
    assert broadcast(3, 2, 1) == (Chunks(count=2, held_by=(1,), wanted_at=(0, 1, 2)),)
    assert [(each.held_by, each.targets) for each in allgather(3, 1)] == [
        ((0,), (1, 2)),
        ((1,), (0, 2)),
        ((2,), (0, 1)),
    ]
    assert [(each.held_by, each.targets) for each in gather(3, 1, 0)] == [((0,), ()), ((1,), (0,)), ((2,), (0,))]
    assert [(each.held_by, each.targets) for each in scatter(3, 1, 0)] == [((0,), ()), ((0,), (1,)), ((0,), (2,))]
    assert len(alltoall(4, 3)) == 12
    assert all(each.count == 3 and len(each.targets) == 1 for each in alltoall(4, 3))


def test_a_fabric_that_contradicts_itself_is_refused():
    link = Link(source=0, destination=1, chunks_per_round=1)
    for links, shared, sentence in (
        ((attrs.evolve(link, destination=0),), (), "two different nodes"),
        ((attrs.evolve(link, destination=2),), (), "two different nodes"),
        ((link, link), (), "0>1 is there twice"),
        ((link,), (Shared(name="bus", links=((1, 0),), chunks_per_round=1),), "no link 1>0"),
        ((link,), (Shared(name="0>1", links=((0, 1),), chunks_per_round=1),), "0>1 is there twice"),
    ):
        with pytest.raises(InvalidProblem, match=sentence):
            Fabric(nodes=2, links=links, shared=shared)
    with pytest.raises(MalformedDocument, match="chunks_per_round"):
        attrs.evolve(link, chunks_per_round=0)


def test_chunks_that_nobody_holds_or_of_unknown_nodes_are_refused():
    for held_by, wanted_at, sentence in (
        ((), (1,), "nobody holds them"),
        ((0,), (3,), "of the fabric"),
        ((1, 0), (2,), "ascending"),
    ):
        with pytest.raises(InvalidProblem, match=sentence):
            attrs.evolve(QUESTION, chunks=(Chunks(count=1, held_by=held_by, wanted_at=wanted_at),))
