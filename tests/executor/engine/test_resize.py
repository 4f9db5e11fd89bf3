"""Slots come into force and go out of it while requests are served: the same tokens, and memory that really goes."""

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.engine.batch import Batch, Row
from executor.engine.batcher import Batcher
from executor.engine.iteration import Limits
from executor.engine.local import step
from tests import checkpoints
from tests.executor.engine import oracle

SLOTS, CONTEXT = 4, 64
PROMPTS = [tuple(3 + (7 * number + position) % 300 for position in range(1 + 9 * number % 41)) for number in range(9)]
# What happens before each step: nothing, mostly; or so many slots.
RESIZES = st.lists(st.one_of(st.none(), st.none(), st.integers(1, SLOTS)), max_size=60)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoints.make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def shared(llama):
    return oracle.skeleton(llama)


@pytest.fixture(scope="module")
def expected(llama):
    return [oracle.greedy(llama, prompt, 5) for prompt in PROMPTS]


class Serving:
    """Stages whose budgets follow the slots in force: down when the batcher fits, up before it has more."""

    def __init__(self, shared, cuts):
        self.stages = oracle.stages(shared, cuts, slots=SLOTS, context_tokens=CONTEXT)
        limits = Limits(slots=SLOTS, context_tokens=CONTEXT, tokens_per_iteration=30, in_flight_max=len(self.stages))
        self.batcher = Batcher(limits)
        self.under_way = deque()
        self.tokens = {request.id: [] for request in oracle.requests(PROMPTS)}
        self.wanted = SLOTS

    def resize(self, slots):
        self.wanted = slots
        if slots < self.batcher.slots:
            self.batcher.resize(slots)
        self.follow()

    def follow(self):
        """Gives the stages what the batcher says that they need at most; they refuse to have less than they use."""
        if self.batcher.slots > self.wanted or not self.batcher.fits:
            return
        for stage in self.stages:
            stage.cache.resize(self.wanted * CONTEXT)
        self.batcher.resize(self.wanted)

    def step(self):
        before = self.batcher.running
        for name, sampled in step(self.stages, self.batcher, self.under_way).items():
            self.tokens[name].append(sampled.token)
        assert self.batcher.running <= max(before, self.batcher.slots), "nobody joins where there is no slot"
        self.follow()
        if self.batcher.fits:
            assert all(stage.cache.written_tokens <= self.batcher.slots * CONTEXT for stage in self.stages)


@pytest.mark.parametrize("cuts", [(0, 6), (0, 2, 4, 6)], ids=["one stage", "three stages"])
def test_tokens_through_resizes_are_those_of_the_reference(shared, expected, cuts):
    @settings(max_examples=6, deadline=None)
    @given(resizes=RESIZES, opens_with=st.integers(1, SLOTS))
    def check(resizes, opens_with):
        serving = Serving(shared, cuts)
        serving.resize(opens_with)
        for request in oracle.requests(PROMPTS, max_tokens=5):
            serving.batcher.add(request)
        for slots in resizes:
            if slots is not None:
                serving.resize(slots)
            serving.step()
        while serving.batcher.running + serving.batcher.waiting:
            serving.step()
        assert list(serving.tokens.values()) == expected

    check()


def test_an_idle_pipeline_gives_its_pages_back(shared):
    """No request comes whose iteration could tell the stages which slots are free."""
    serving = Serving(shared, (0, 2, 4, 6))
    for request in oracle.requests([(5, 6)] * SLOTS, max_tokens=5):
        serving.batcher.add(request)
    while not all(serving.tokens[f"r{number}"] for number in range(SLOTS)):
        serving.step()
    serving.batcher.pause()
    while not serving.batcher.boundary:
        serving.step()
    serving.batcher.take_out([held.request.id for held in serving.batcher.running_requests()])
    serving.batcher.go_on()
    assert [stage.cache.written_tokens for stage in serving.stages] == [SLOTS * CONTEXT] * 3
    assert serving.batcher.next_iteration() is None, "nothing is to be done"
    serving.resize(1)
    assert not serving.batcher.fits
    serving.step()
    assert serving.batcher.fits
    assert [stage.cache.written_tokens for stage in serving.stages] == [0] * 3
    assert [stage.cache.kv_tokens for stage in serving.stages] == [CONTEXT] * 3
    assert serving.batcher.next_iteration() is None


def test_a_batch_without_rows_frees_slots_and_passes_nothing_on(shared):
    first, last = oracle.stages(shared, (0, 3, 6), slots=2)
    for stage in (first, last):
        stage.cache.commit(0, 1)
        stage.cache.commit(1, 1)
    hidden = first.run(Batch(rows=(), freed=(1,)), torch.tensor([], dtype=torch.long))
    assert hidden.shape == (0, shared.hidden_size)
    assert last.run(Batch(rows=(), freed=(0, 1)), hidden).shape == (0, shared.vocabulary_size)
    assert [stage.cache.written_tokens for stage in (first, last)] == [64, 0]
    first.run(Batch(rows=(Row(slot=1, start=0, tokens=1, wants_logits=False),)), torch.tensor([3]))
    assert first.cache.written_tokens == 2 * 64
