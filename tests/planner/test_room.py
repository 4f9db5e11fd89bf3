"""What fits where, by sums that can be done by hand."""

import attrs
import pytest

from planner.blocks import cut
from planner.explain.impossible import impossible
from planner.promises import keep
from planner.room import rooms
from planner.stages import Sizes
from specs.cluster import PlaceKind
from specs.problem import Holding, Target
from tests.builders import a_cluster, a_problem, an_llm
from tests.place_graphs import islands

BLOCKS = 4
NAMES = ("one", "two")


def sized(problem, llm):
    """Bytes of the LLM's blobs, and of its pipeline on one device."""
    sizes = Sizes.of(problem, llm)
    return sum(blob.bytes for blob in cut(llm, BLOCKS)), sizes.bytes_of(sizes.local("n0/gpu0"), "n0/gpu0")


def blobs_of(problem):
    return {llm.id: cut(llm, BLOCKS) for llm in problem.llms}


def conflicts_of(problem):
    return impossible(problem, blobs_of(problem), keep(problem, blobs_of(problem)))


def two_llms(memory_bytes, held=(), wanted=()):
    """Two LLMs, of which node 0 holds and wants some; node 1 holds all that are wanted."""
    base = a_problem(2, cluster=a_cluster(2, memory_bytes=memory_bytes))
    (workload,) = base.workloads
    holdings = [(name, "n0/gpu0") for name in held] + [(name, "n1/gpu0") for name in wanted]
    return attrs.evolve(
        base,
        llms=tuple(an_llm(name=name) for name in NAMES),
        workloads=tuple(attrs.evolve(workload, llm=name) for name in NAMES),
        holdings=tuple(Holding(llm=name, place=place) for name, place in holdings),
        targets=tuple(Target(llm=name, place="n0/gpu0") for name in wanted),
    )


WEIGHTS, SERVING = sized(two_llms(1), an_llm(name="one"))


def test_each_llm_gets_an_equal_share_of_what_is_left():
    problem = two_llms(2 * WEIGHTS + 2 * SERVING + 1001, wanted=NAMES)
    room = rooms(problem, blobs_of(problem))["n0/gpu0"]
    assert (room.llms, room.serving, room.left_bytes, room.share_bytes) == (NAMES, NAMES, 1001, 500)


@pytest.mark.parametrize(
    ("spare", "serving", "left"),
    [(0, ("two",), 0), (SERVING - 1, ("two",), SERVING - 1), (SERVING, ("two", "one"), 0)],
)
def test_what_is_wanted_serves_before_what_is_only_held(spare, serving, left):
    problem = two_llms(2 * WEIGHTS + SERVING + spare, held=("one",), wanted=("two",))
    room = rooms(problem, blobs_of(problem))["n0/gpu0"]
    assert (room.serving, room.left_bytes) == (serving, left)


def test_what_cannot_be_given_up_is_missing():
    problem = two_llms(2 * WEIGHTS + SERVING - 7, held=("one",), wanted=("two",))
    room = rooms(problem, blobs_of(problem))["n0/gpu0"]
    assert (room.left_bytes, room.share_bytes) == (-7, 0)
    assert list(conflicts_of(problem)) == []


def test_stores_serve_nothing():
    base = a_problem(2, cluster=islands(2))
    problem = attrs.evolve(base, holdings=(Holding(llm="llm", place="n0/ssd"),), targets=base.targets[:1])
    room = rooms(problem, {"llm": cut(base.llms[0], 2)})["n0/ssd"]
    (store,) = [place for place in problem.cluster.places if place.id == "n0/ssd"]
    assert store.kind is PlaceKind.SSD
    assert room.serving == ()
    assert room.left_bytes == store.memory_bytes - sum(blob.bytes for blob in cut(base.llms[0], 2))


@pytest.mark.parametrize("missing", [0, 1])
def test_impossible_begins_at_the_first_byte(missing):
    wanted = two_llms(2 * WEIGHTS + 2 * SERVING - missing, wanted=NAMES)
    at_target = [each for each in conflicts_of(wanted) if each.where == "n0/gpu0"]
    assert len(at_target) == missing
    held = two_llms(2 * WEIGHTS - missing, held=NAMES)
    conflicts = list(conflicts_of(held))
    assert [each.sentence.startswith("is said to hold") for each in conflicts] == [True] * missing
    assert all(each.sentence.endswith(": 1 bytes are missing") for each in (*at_target, *conflicts))
