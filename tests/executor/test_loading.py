"""What the plan before left in memory is taken over by what it is, however blobs are called and cut."""

import asyncio
from pathlib import Path

import attrs
import pytest
import torch

from executor.checkpoint import fill
from executor.errors import NotHere, OutOfMemory
from executor.loading import Before, Loading
from executor.store import Store
from specs.blobs import Blob, packed_bytes
from specs.protocols.nouns import Copy
from tests.builders import a_problem
from tests.plans import a_chain

HERE = "n0/gpu0"
CPU = {HERE: torch.device("cpu")}


class FakeFiles:
    def put(self, llm, contents):
        pass

    def knows(self, llm):
        return True


def cut(llm, name, first, end):
    return Blob(id=name, llm=llm.id, first_tensor=first, end_tensor=end, bytes=packed_bytes(llm, first, end))


@attrs.define
class World:
    """A node that holds an LLM in two blobs, by a plan before."""

    checkpoint: Path
    problem: object
    plan: object
    before: Before

    def load(self, blobs, memory=2**30, checkpoints=None):
        """Load these blobs; give the store."""
        store = Store({HERE: memory}, CPU, self.before.store)
        loading = Loading(
            node="n0",
            problem=self.problem,
            plan=attrs.evolve(self.plan, blobs=tuple(blobs), pipelines=()),
            checkpoints=checkpoints or {},
            files=FakeFiles(),
            store=store,
            before=self.before,
        )
        asyncio.run(loading.load([Copy(blob=blob.id, place=HERE) for blob in blobs]))
        return store


@pytest.fixture
def world(checkpoint, llm):
    problem = a_problem(2, llm=llm)
    middle = len(llm.tensors) // 2
    halves = cut(llm, "left", 0, middle), cut(llm, "right", middle, len(llm.tensors))
    plan = attrs.evolve(a_chain(2)[1], blobs=halves)
    store = Store({HERE: 2**30}, CPU)
    for blob in halves:
        fill(checkpoint, llm, blob, store.reserve(blob, HERE))
        store.hold(blob, HERE)
    return World(checkpoint, problem, plan, Before(problem=problem, plan=plan, store=store))


def whole_bytes(world):
    return sum(blob.bytes for blob in world.plan.blobs)


def right_bytes(world, llm, blob):
    fresh = bytearray(blob.bytes)
    fill(world.checkpoint, llm, blob, memoryview(fresh))
    return bytes(fresh)


def test_the_same_run_of_tensors_stays_where_it_is(world, llm):
    left = attrs.evolve(world.plan.blobs[0], id="another-name")
    store = world.load([left])
    assert store.room(left.id, HERE) is world.before.store.room("left", HERE)
    assert store.used_bytes(HERE) == whole_bytes(world)
    world.before.store.clear()
    assert store.used_bytes(HERE) == left.bytes


def test_another_cut_is_put_together_in_memory(world, llm):
    count = len(llm.tensors)
    blobs = [cut(llm, "whole", 0, count), cut(llm, "inner", 1, 3), cut(llm, "across", count // 2 - 1, count // 2 + 1)]
    store = world.load(blobs)
    for blob in blobs:
        assert bytes(store.contents(blob.id, HERE)) == right_bytes(world, llm, blob)
    assert store.used_bytes(HERE) == whole_bytes(world) + sum(blob.bytes for blob in blobs)
    world.before.store.clear()
    assert store.used_bytes(HERE) == sum(blob.bytes for blob in blobs)


def test_what_is_not_here_is_refused_and_leaves_nothing(world, llm):
    world.before.store.release("right", HERE)
    left, across = world.plan.blobs[0], cut(llm, "across", 0, len(llm.tensors))
    with pytest.raises(NotHere, match="holds across, but it does not"):
        world.load([left, across])
    assert world.before.store.used_bytes(HERE) == left.bytes
    world.load([across], checkpoints={llm.id: world.checkpoint})


def test_what_does_not_fit_beside_the_old_is_refused_and_leaves_nothing(world, llm):
    whole = cut(llm, "whole", 0, len(llm.tensors))
    with pytest.raises(OutOfMemory):
        world.load([world.plan.blobs[0], whole], memory=whole_bytes(world) + whole.bytes - 1)
    assert world.before.store.used_bytes(HERE) == whole_bytes(world)


def test_another_tensor_is_not_taken_for_the_same(world, llm):
    first, *rest = llm.tensors
    other = attrs.evolve(llm, tensors=(attrs.evolve(first, digest="f" * 64), *rest))
    world.problem = attrs.evolve(world.problem, llms=(other,))
    with pytest.raises(NotHere):
        world.load([world.plan.blobs[0]])
    world.load([world.plan.blobs[1]])
