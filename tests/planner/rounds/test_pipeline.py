"""Batches in a pipeline: rate, length, and the closed form of the one-port multicast."""

import pytest

from planner.multicast import multicast_ticks
from planner.rounds.pipeline import Batches, pipelined
from planner.rounds.schedule import schedule
from planner.search import Search
from specs.bounds import multicast_ticks_bound
from specs.decisions.rounds.answer import Answer, Send, faults, value
from specs.decisions.rounds.bounds import growth_rounds_bound, toll
from specs.decisions.rounds.collectives import allgather, alltoall, broadcast
from specs.decisions.rounds.question import Fabric, Question
from tests.planner.rounds.fabrics import DGX1, ring, switch


def broadcast_on_a_dgx1(copies: int, root: int = 0) -> Batches:
    return Batches(fabric=DGX1, one_copy=broadcast(8, 1, root), copies=copies, per_batch=6, rounds_per_step=1)


@pytest.mark.parametrize("copies", [12, 13, 19, 20, 66, 67])
def test_a_broadcast_from_node_0_of_a_dgx1_ends_as_early_as_any(copies):
    """R rounds can take 6 R - 11 chunks and no more: see the next test."""
    found = pipelined(broadcast_on_a_dgx1(copies), Search(), steps_max=6)
    assert list(faults(found.question, found.answer)) == []
    assert value(found.answer) == -(-(copies + 11) // 6)


def test_a_broadcast_of_one_chunk_more_is_impossible():
    for rounds in (4, 7):
        question = Question(fabric=DGX1, chunks=broadcast(8, 6 * rounds - 10, 0), steps=rounds, rounds=rounds)
        outcome = schedule(question, Search())
        priced = [toll(question, witness) for witness in outcome.proof.witnesses]
        assert any(each.due > sum(each.per_round) for each in priced)


@pytest.mark.parametrize("root", [1, 6])
def test_every_root_sends_six_chunks_per_round(root):
    found = pipelined(broadcast_on_a_dgx1(60, root), Search(), steps_max=6)
    assert value(found.answer) <= 60 // 6 + 3


def test_other_collectives_in_a_pipeline():
    """A batch of six chunks per node every seven rounds; three chunks per pair every eight."""
    batches = Batches(fabric=DGX1, one_copy=allgather(8, 1), copies=18, per_batch=6, rounds_per_step=7)
    found = pipelined(batches, Search(), steps_max=4)
    assert value(found.answer) == (3 + found.batch_steps - 1) * 7
    batches = Batches(fabric=DGX1, one_copy=alltoall(8, 1), copies=7, per_batch=3, rounds_per_step=8)
    found = pipelined(batches, Search(), steps_max=4)
    assert value(found.answer) <= (3 + found.batch_steps - 1) * 8


def test_fewer_copies_than_a_batch_is_one_batch():
    batches = Batches(fabric=ring(4), one_copy=broadcast(4, 1, 0), copies=1, per_batch=1, rounds_per_step=1)
    assert value(pipelined(batches, Search(), steps_max=3).answer) == 2


def test_more_than_the_cut_lets_in_is_not_found():
    batches = Batches(fabric=ring(4), one_copy=broadcast(4, 1, 0), copies=9, per_batch=3, rounds_per_step=1)
    assert pipelined(batches, Search(), steps_max=5) is None
    one_way = Fabric.from_matrix(((0, 0), (1, 0)))
    batches = Batches(fabric=one_way, one_copy=broadcast(2, 1, 0), copies=1, per_batch=1, rounds_per_step=1)
    assert pipelined(batches, Search(), steps_max=5) is None


@pytest.mark.parametrize(("nodes", "blocks"), [(2, 5), (3, 4), (6, 3), (8, 8), (13, 7)])
def test_the_optimal_multicast_is_a_schedule_of_a_switch(nodes, blocks):
    """`planner.multicast` in this question's words: one port per node, ticks are steps of one round."""
    ticks = multicast_ticks_bound(nodes, 1, blocks)
    question = Question(fabric=switch(nodes, 1), chunks=broadcast(nodes, blocks, 0), steps=ticks, rounds=ticks)
    sends = sorted(
        Send(step=each.tick, source=each.source, destination=each.destination, chunk=each.block)
        for each in multicast_ticks(nodes, 1, blocks)
    )
    assert list(faults(question, Answer(rounds=(1,) * ticks, sends=tuple(sends)))) == []


@pytest.mark.parametrize(("nodes", "blocks"), [(3, 2), (4, 3), (5, 2), (8, 3), (13, 7), (64, 16)])
def test_growth_proves_the_closed_form_of_the_multicast(nodes, blocks):
    ticks = multicast_ticks_bound(nodes, 1, blocks) - 1
    question = Question(fabric=switch(nodes, 1), chunks=broadcast(nodes, blocks, 0), steps=ticks, rounds=ticks)
    assert growth_rounds_bound(question) == ticks + 1


def test_the_closed_form_of_the_binomial_pipeline():
    """RDMC's B + ceil(log2 n) - 1, for every size that it was published for."""
    for nodes in range(2, 65):
        for blocks in range(1, 257):
            assert multicast_ticks_bound(nodes, 1, blocks) == blocks + (nodes - 1).bit_length() - 1
