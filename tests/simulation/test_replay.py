"""Journals of simulated clusters are replayed: those of daemons with one line changed do not pass."""

import re
from pathlib import Path

import attrs
import pytest

from executor.agreement import Agreement
from executor.shell import Shell
from specs import journal
from specs.protocols import block_multicast, plan_switch
from specs.protocols import events as core
from specs.replay import Life, Replayed, replay
from tests.checkpoints import make_checkpoint
from tests.simulation import schedule

_SEEDS = range(8)
_awaited, _told = plan_switch.awaited, block_multicast._tell


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llama")


def _rule(name, new):
    return tuple(new if each.__name__ == name else each for each in block_multicast._RULES)


def _nothing(_plan, state):
    return state, ()


def _open_unproved(_plan, state):
    for each in sorted(state.proving - state.opened - state.closed):
        return attrs.evolve(state, opened=state.opened | {each}), (core.Open(each),)
    return state, ()


def _free_at_once(_plan, state):
    for each in sorted(state.built - state.freed):
        return attrs.evolve(state, freed=state.freed | {each}), (core.FreeStage(each),)
    return state, ()


def _next_one(plan, _state, old):
    return next(((each.new, each.continuity) for each in plan.switches if each.old == old), None)


def _boast(plan, told, state):
    for tell in _told(plan, told, state):
        built = tuple(sorted(part.pipeline for part in plan.led_by.get(tell.peer, ())))
        yield attrs.evolve(tell, report=attrs.evolve(tell.report, built=built))


def _majority(state):
    offer, awaited = plan_switch.foremost(state), _awaited(state)
    return awaited if offer is None or 2 * len(awaited) >= len(offer.nodes) else ()


async def _unbuilt(shell, pipeline):
    shell.take(core.StageBuilt(pipeline))


# What is changed in the daemon, and what the replay of the journals says of it.
_BROKEN = {
    "adopts by majority": (plan_switch, "awaited", _majority, "Adopted .*; nothing of the kind was heard of n"),
    "adopts without hearing": (plan_switch, "awaited", lambda _: (), "Adopted .*; nothing of the kind was heard of n"),
    "opens before the proof": (block_multicast, "_RULES", _rule("_open", _open_unproved), "Opened .* a right proof"),
    "frees before closing": (
        block_multicast, "_RULES", _rule("_free", _free_at_once), "StageFreed .* after its pipeline has closed"
    ),
    "never frees": (block_multicast, "_RULES", _rule("_free", _nothing), "StageFreed .* was due before it"),
    "closes before the successor is open": (
        block_multicast, "open_successor", _next_one, "Closed .* or its successor is open"
    ),
    "releases what a stage uses": (
        block_multicast, "_is_needed", lambda *_: False, "Released .* no stage before its release needs it"
    ),
    "sends before the receiver is ready": (
        block_multicast, "_is_granted", lambda *_: True, "TransferStarted .* its receiver is ready"
    ),
    "tells that it has built what it has not": (
        block_multicast, "_tell", lambda *each: tuple(_boast(*each)), "Heard n. .* n. has told nothing of the kind"
    ),
    "keeps nothing open for the next plan": (
        Agreement, "_keep_open", lambda _: None, "LearntOfPlans .* a node keeps open what a plan counts on"
    ),
    "takes a stage for built": (Shell, "_build", _unbuilt, "StageBuilt .* has not written that this happened"),
}  # fmt: skip


def _journals(seed, checkpoint, directory, patch):
    """Carry a schedule out with a daemon that is not what it should be; give what it wrote, and the plans."""
    found = []

    def keep(lives, plans):
        found.append((lives, plans))
        return replay((), plans)

    patch.setattr(schedule, "replay", keep)
    schedule.carry_out(seed, checkpoint, directory)
    (kept,) = found
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("what", _BROKEN)
def test_a_daemon_with_one_line_changed_is_caught(what, checkpoint, tmp_path):
    module, name, broken, sentence = _BROKEN[what]
    for seed in _SEEDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, broken)
            kept = _journals(seed, checkpoint, tmp_path / "state", patch)
        breaches = replay(*kept).breaches
        if breaches:
            said = [f"{each.node}, {each.sentence}" for each in breaches]
            assert any(re.search(f"^n., record [0-9]+: .*{sentence}", each) for each in said), said
            return
    pytest.fail("the replay finds nothing")


@pytest.fixture(scope="module")
def kept(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory):
    """Give the journals and the plans of the first schedule in which a second plan was adopted after another."""
    for seed in range(40):
        with pytest.MonkeyPatch.context() as patch:
            lives, plans = _journals(seed, checkpoint, tmp_path_factory.mktemp("state") / "state", patch)
        nodes = {life.node for life in lives}
        if len(nodes) == len(lives) and all(
            {1, 2} <= {each.generation for each in life.records if isinstance(each.what, journal.Adopted)}
            for life in lives
        ):
            return lives, plans
    raise AssertionError("no schedule has another plan")


def _changed(lives, change):
    """Give the journals with the first record that the change answers for put in its place; None: taken out."""
    done, found = False, []
    for life in lives:
        records = []
        for record in life.records:
            new = record if done else change(record)
            done |= new is not record
            records += [] if new is None else [new]
        found.append(Life(node=life.node, records=tuple(records)))
    assert done
    return tuple(found)


def _first(kind, **fields):
    """Change the first record of a kind; without fields, take it out."""

    def change(record):
        if not isinstance(record.what, kind):
            return record
        return attrs.evolve(record, what=attrs.evolve(record.what, **fields)) if fields else None

    return change


def test_the_journals_of_daemons_pass(kept):
    lives, plans = kept
    found = replay(lives, plans)
    assert isinstance(found, Replayed)
    assert found.breaches == ()
    assert found.records == sum(len(life.records) for life in lives)
    assert {record.generation for life in lives for record in life.records} >= {1, 2}


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        (journal.Accepted, {}, "Accepted .* was due before it, and was not done"),
        (journal.Adopted, {"plan": "0" * 64}, "Adopted 0.* does not follow"),
        (journal.Opened, {"pipeline": "other"}, "Opened other does not follow"),
        (journal.StageBuilt, {"pipeline": "other"}, "StageBuilt other does not follow"),
        (journal.StageBuilt, {}, "StageBuilt .* its node has not written that this happened"),
        (journal.Proved, {"right": False}, "Proved .* its node has not written that this happened"),
        (journal.LearntUnderPlan, {}, "does not follow"),
        (journal.LearntOfPlans, {}, "does not follow"),
    ],
)
def test_a_journal_with_one_record_changed_does_not_pass(kept, kind, fields, sentence):
    lives, plans = kept
    breaches = replay(_changed(lives, _first(kind, **fields)), plans).breaches
    assert any(re.search(sentence, each.sentence) for each in breaches), breaches


def test_what_is_kept_open_too_late_does_not_pass(checkpoint, tmp_path):
    for seed in range(40):
        with pytest.MonkeyPatch.context() as patch:
            lives, plans = _journals(seed, checkpoint, tmp_path / f"state-{seed}", patch)
        if (late := tuple(map(_late, lives))) != lives:
            breaches = replay(late, plans).breaches
            assert any("a node keeps open what a plan counts on" in each.sentence for each in breaches), breaches
            return
    raise AssertionError("no schedule has an event under a plan while another is accepted that counts on something")


def _late(life):
    """Put what a plan counts on behind the next event of the core."""
    records = list(life.records)
    for at, record in enumerate(records[:-1]):
        events = [getattr(each.what, "event", None) for each in records[at : at + 2]]
        is_next = isinstance(records[at + 1].what, journal.LearntUnderPlan)
        if isinstance(events[0], core.CountedOn) and events[0].pipelines and is_next:
            records[at : at + 2] = [records[at + 1], record]
            return Life(node=life.node, records=tuple(records))
    return life


def test_what_cannot_be_judged_is_said(kept):
    lives, plans = kept
    some = replay(lives[1:], plans)
    assert some.breaches == ()
    assert any(each.node == lives[0].node and "no journal" in each.sentence for each in some.notes)
    first = {digest: each for digest, each in plans.items() if each.plan.generation == 1}
    assert replay(lives, first).breaches == ()
    assert any("generation 2, " in each.sentence for each in replay(lives, first).notes)
    cut = (Life(node=lives[0].node, records=lives[0].records[:5]), *lives[1:])
    assert replay(cut, plans).breaches == ()
    assert any("after its journal ends" in each.sentence for each in replay(cut, plans).notes)
