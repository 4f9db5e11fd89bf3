"""Silence and suspicion, by a clock of our own."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.hearing import JOIN_NS, Hearing
from specs.timing import detection_ns

DEADLINE = 10**9


@pytest.fixture
def hearing():
    made = Hearing()
    made.adopt(("n1", "n2"), DEADLINE, (), 0)
    return made


def look(hearing, until, since=0, lost=()):
    """Look as often as a daemon does; give the last answer."""
    found = []
    for now in range(since, until + 1, DEADLINE // 5):
        found = hearing.silent(lost, now)
    return found


def test_a_peer_that_never_came_is_given_longer(hearing):
    assert look(hearing, JOIN_NS) == []
    assert look(hearing, JOIN_NS + DEADLINE // 5, since=JOIN_NS) == ["n1", "n2"]
    assert hearing.silent(("n1",), JOIN_NS + DEADLINE // 5) == ["n2"]


def test_one_that_was_heard_is_given_the_deadline(hearing):
    hearing.heard("n1", 0)
    assert look(hearing, DEADLINE) == []
    assert look(hearing, 2 * DEADLINE, since=DEADLINE) == ["n1"]
    hearing.heard("n1", 2 * DEADLINE)
    assert look(hearing, 3 * DEADLINE, since=2 * DEADLINE) == []


def test_a_process_that_slept_accuses_nobody(hearing):
    hearing.heard("n1", 0)
    assert hearing.silent((), 5 * DEADLINE) == []
    assert look(hearing, 7 * DEADLINE, since=5 * DEADLINE) == ["n1"]


def test_a_broken_connection_is_suspicion_until_the_peer_is_heard(hearing):
    assert hearing.broke("n1")
    assert not hearing.broke("n1")
    assert hearing.suspects == {"n1"}
    hearing.heard("n1", 5)
    assert hearing.suspects == set()
    assert hearing.broke("n1")


def test_silence_goes_on_when_a_plan_is_adopted(hearing):
    hearing.heard("n1", 0)
    hearing.adopt(("n1", "n2", "n3"), DEADLINE, (), DEADLINE)
    assert look(hearing, 2 * DEADLINE, since=DEADLINE) == ["n1"]
    assert look(hearing, JOIN_NS + DEADLINE // 5, since=2 * DEADLINE) == ["n1", "n2"]
    assert look(hearing, JOIN_NS + 2 * DEADLINE, since=JOIN_NS + DEADLINE // 5) == ["n1", "n2", "n3"]


def test_one_that_was_lost_is_expected_anew(hearing):
    hearing.heard("n1", 0)
    hearing.broke("n2")
    hearing.adopt(("n1",), DEADLINE, ("n1",), 3 * DEADLINE)
    assert hearing.suspects == set(), "n2 is in the cluster no more"
    assert look(hearing, 3 * DEADLINE + JOIN_NS, since=3 * DEADLINE) == []
    assert look(hearing, 4 * DEADLINE + JOIN_NS, since=3 * DEADLINE + JOIN_NS) == ["n1"]


def test_one_that_was_lost_and_speaks_again_is_named(hearing):
    hearing.heard("n1", 0)
    assert hearing.again((), DEADLINE) == []
    assert hearing.again(("n1", "n2"), 2 * DEADLINE) == []
    hearing.heard("n1", 2 * DEADLINE)
    assert hearing.again(("n1", "n2"), 2 * DEADLINE) == ["n1"]


@given(
    deadline=st.integers(2, 1000),
    words=st.lists(st.integers(0, 3000), min_size=1, max_size=5),
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_silence_is_noticed_within_the_bound_and_never_before_the_deadline(deadline, words, gaps):
    hearing = Hearing()
    hearing.adopt(("n1",), deadline, (), 0)
    now, last = 0, None
    for gap in itertools.cycle(gaps):
        if now >= min(words, default=JOIN_NS):
            words.remove(min(words))
            hearing.heard("n1", now)
            last = now
        named = hearing.silent((), now) == ["n1"]
        assert named == (last is not None and now - last > deadline)
        if named:
            assert now - last <= detection_ns(deadline)
            return
        now += max(1, int(gap * (deadline // 2)))
