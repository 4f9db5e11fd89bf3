"""Requests go on in other stages from keys and values that were copied there, token for token."""

from collections import deque

import attrs
import pytest

from executor.engine.batcher import Batcher
from executor.engine.iteration import Limits
from executor.engine.local import step
from tests import checkpoints
from tests.executor.engine import oracle

CUTS = {"three stages": (0, 2, 4, 6), "one stage": (0, 6)}
STRANGERS = 4
# Grouped heads, sliding windows beside whole contexts, soft caps, heads of their own.
QUICK = ("mistral", "gemma2", "gpt_neox")
FAMILIES = [pytest.param(family, marks=() if family in QUICK else pytest.mark.slow) for family in checkpoints.FAMILIES]


def batcher_of(stages):
    cache = stages[0].cache
    return Batcher(
        Limits(
            slots=cache.slots,
            context_tokens=cache.context_tokens,
            tokens_per_iteration=30,
            in_flight_max=len(stages),
        )
    )


def copy(old, new, slot, seat, first, end):
    """Positions [first, end) of every layer, from the stage that has it to the stage that will."""
    for source in (stage.cache for stage in old):
        for target in (stage.cache for stage in new):
            start = max(source.layers.start, target.layers.start)
            layers = range(start, min(source.layers.stop, target.layers.stop))
            if layers:
                target.write(layers, seat, first, source.read(layers, slot, first, end))


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_after_a_hand_over_are_those_of_the_reference(tmp_path, family, cuts):
    """As it is done: the old stages decode while the first positions are copied, then pause for the rest.

    The new stages serve strangers meanwhile, who end: their iterations and pages touch no guest's slot.
    """
    directory = checkpoints.make_checkpoint(tmp_path, family)
    expected = [oracle.greedy(directory, prompt, 16) for prompt in oracle.PROMPTS]
    shared = oracle.skeleton(directory)
    old, new = oracle.stages(shared, (0, 3, 6)), oracle.stages(shared, cuts, slots=8)
    before, after = batcher_of(old), batcher_of(new)
    under_way, elsewhere = deque(), deque()
    tokens = {request.id: [] for request in oracle.requests()}

    def serve(stages, batcher, iterations):
        for name, sampled in step(stages, batcher, iterations).items():
            if name in tokens:
                tokens[name].append(sampled.token)

    for request in oracle.requests(max_tokens=16):
        before.add(request)
    for number, stranger in enumerate(oracle.requests([(5, 6, 7)] * STRANGERS, max_tokens=3)):
        after.add(attrs.evolve(stranger, id=f"stranger{number}"))
    serve(new, after, elsewhere)
    while min(map(len, tokens.values())) < 6:
        serve(old, before, under_way)
    seats, copied = {}, {}
    for held in reversed(before.running_requests()):
        seat = after.reserve(held.request.id, held.request.prompt_tokens + held.request.max_tokens)
        assert seat is not None
        seats[held.request.id], copied[held.request.id] = seat, held.computed
        for stage in new:
            stage.cache.release([seat])
        copy(old, new, held.slot, seat, 0, held.computed)
    while after.running:
        serve(new, after, elsewhere)
    while min(map(len, tokens.values())) < 10:
        serve(old, before, under_way)
    before.pause()
    while not before.boundary:
        serve(old, before, under_way)
    last = before.running_requests()
    for left, held in enumerate(last):  # some positions are not copied but computed again
        seat, first, end = seats[held.request.id], copied[held.request.id], held.computed - left
        assert seat != held.slot
        assert first < end < len(held.request.tokens)
        copy(old, new, held.slot, seat, first, end)
        after.seat(held.request, seat, end)
    assert before.take_out([held.request.id for held in last]) == tuple(held.request for held in last)
    assert before.running == 0
    while after.running:
        serve(new, after, elsewhere)
    assert list(tokens.values()) == expected
