"""What is written of a hand-over: less than happened, and from it a replay comes to the same."""

import random
from functools import cache
from types import SimpleNamespace

import attrs
import pytest

from executor.notes import AtSource, AtTarget, Later, Line, Wrote, condense
from specs import journal
from specs.protocols import kv_hand_over, kv_hand_over_target
from specs.protocols import kv_hand_over_events as ev
from specs.protocols.kv_hand_over_nouns import Current, HandOverId, Live, Path, Phase, SourceState
from specs.protocols.nouns import Handing
from specs.replay import hand_over
from specs.replay.hand_over import Breach, HandOverReplay
from specs.replay.hand_over_told import HandOverTold
from tests.protocols.hand_over_moves import Moves, terms
from tests.protocols.hand_over_world import NEW, OLD, Faults, World

PATHS = tuple(Path(old_stage=a, new_stage=b) for a, b in ((0, 0), (1, 0), (1, 1), (2, 1)))
ID = HandOverId(old=OLD, new=NEW, number=1)
ROLES = ("source", "target", "stage0", "stage1", "front")
HOMES = (
    dict(zip(ROLES, ("a", "b", "b", "c", "d"), strict=True)),
    dict.fromkeys(ROLES, "a"),
    dict(zip(ROLES, ("a", "b", "a", "b", "a"), strict=True)),
)
CORE = SimpleNamespace(handing=frozenset({Handing(pipeline=OLD, successor=NEW)}), closed=frozenset())


@attrs.frozen(kw_only=True, cache_hash=True)
class Recorded(World):
    """A world that remembers what its roles have noted."""

    notes: tuple = attrs.field(default=(), eq=False)


class Recording(Moves):
    """The roles, taking notes; all target leaders are equally patient."""

    def __init__(self, *arguments, **numbers):
        super().__init__(*arguments, **numbers)
        self.hasty = self.host

    def begin(self, faults, **numbers):
        world = self.start(faults, **numbers)
        return Recorded(**{field.name: getattr(world, field.name) for field in attrs.fields(World)})

    def note(self, world, role, content):
        return attrs.evolve(world, notes=(*world.notes, (role, content)))

    def tell_source(self, world, event, **changes):
        world = attrs.evolve(world, **changes)
        if world.source is not None and not world.ended:
            after, actions = kv_hand_over.step(self.terms, world.source, event)
            world = self.note(world, "source", AtSource(self.terms, event, world.source, after, actions))
        return super().tell_source(world, event)

    def tell_target(self, world, event, host=None):
        if world.target is not None:
            after, actions = kv_hand_over_target.step(self.host, world.target, event)
            world = self.note(world, "target", AtTarget(self.host, event, world.target, after, actions))
        return super().tell_target(world, event, host)

    def tell_stage(self, world, stage, event, content=()):
        if world.target is not None:
            _, actions = kv_hand_over_target.step_stage(NEW, stage, world.stages[stage], event)
            if isinstance(event, ev.SeatsAre):
                seats = journal.LearntAsStage(events=(event,))
                world = self.note(world, f"stage{stage}", Later(lambda: seats))
            elif isinstance(actions[0], ev.Write):
                world = self.note(world, f"stage{stage}", Wrote(event.chunk))
        return super().tell_stage(world, stage, event, content)


@cache
def happen(seed):
    """One order of events, to its end, in which messages are lost, late and repeated, and requests go."""
    chance = random.Random(seed)
    faults = Faults(losses=3, repeats=3, lates=3, aborts=1, cancels=1, missed=1, source_drains=1, target_drains=1)
    conditions = terms(PATHS, rounds_max=3, rest_tokens_max=chance.randrange(2, 16), hand_overs_max=3)
    roles = Recording(conditions, stages=2, end=20)
    world = roles.begin(faults, requests=4, old_slots=3, new_slots=3, strangers=1)
    while True:
        moves = list(roles.moves(world))
        calm = [move for move in moves if not move.is_fault]
        if not calm:
            return roles, world
        world = chance.choice(moves if chance.random() < 0.03 else calm).state


def written(world, homes):
    """Give what each node writes of it."""
    lines = {node: [] for node in dict.fromkeys(homes.values())}
    for at, (role, note) in enumerate(world.notes, start=1):
        lines[homes[role]].append(Line(at, 1, note))
    return {node: [line.content for line in condense(each)] for node, each in lines.items()}


def a_replay(roles, homes, told):
    replay = HandOverReplay(told)
    stages = tuple(homes[f"stage{number}"] for number in range(2))
    known = {OLD: (homes["source"],), NEW: (homes["target"], *stages)}
    replay._known = {name: SimpleNamespace(pipeline=name, llm=None, homes=each) for name, each in known.items()}
    replay._ways = {(OLD, NEW): object()}
    return replay


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Go by the terms of the small world, whose stages are not those of a plan."""
    roles = Recording(terms(PATHS, rounds_max=3, rest_tokens_max=4, hand_overs_max=3), stages=2, end=20)
    monkeypatch.setattr(hand_over, "terms_of", lambda *_: roles.terms)
    monkeypatch.setattr(hand_over, "successor_of", lambda _: roles.host)
    return monkeypatch, roles


def replay_all(roles, journals, homes):
    """Replay the journals together, each as far as what it hears was told."""
    told = HandOverTold()
    replays = {node: a_replay(roles, homes, told) for node in journals}
    left = {node: list(records) for node, records in journals.items()}
    while any(left.values()):
        before = sum(map(len, left.values()))
        for node, records in left.items():
            while records and is_told(replays[node], records[0]):
                replays[node].take(records.pop(0), CORE)
        assert sum(map(len, left.values())) < before, {node: records[:1] for node, records in left.items()}
    assert told_all(journals, told)
    return replays


def is_told(replay, record):
    match record:
        case journal.LearntAsTarget(event=ev.Resumed()):
            return True  # fronts of the small world do not rename requests
    return replay.awaits(record) is None


def told_all(journals, told):
    records = (each for some in journals.values() for each in some if isinstance(each, journal.LearntAsStage))
    chunks = (event.chunk for each in records for event in each.events if isinstance(event, ev.ChunkCame))
    return all(map(told.was_to_be_copied, chunks))


@pytest.mark.parametrize("homes", HOMES, ids=["apart", "together", "crossed"])
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_what_is_written_is_replayed_to_the_same_end(seed, homes, small):
    monkeypatch, _ = small
    roles, world = happen(seed)
    monkeypatch.setattr(hand_over, "terms_of", lambda *_: roles.terms)
    journals = written(world, homes)
    count = sum(map(len, journals.values()))
    assert 0 < count < len(world.notes)
    replays = replay_all(roles, journals, homes)
    ended = {type(note): note for role, note in world.notes if role in ("source", "target")}
    assert replays[homes["source"]]._sources[OLD] == ended[AtSource].after
    assert replays[homes["target"]]._targets[NEW] == ended[AtTarget].after


# --- what does not follow ---------------------------------------------------------------------------------------------


WHOLE = {ev.Halt, ev.HandOut, ev.TakeOver, ev.GiveBack}


def kept(small):
    """Give the journal of one node that has all roles, with a hand-over that went well, and how to replay it."""
    monkeypatch, _ = small
    roles, world = next(each for each in map(happen, range(60)) if deeds_of(each[1]) >= WHOLE)
    monkeypatch.setattr(hand_over, "terms_of", lambda *_: roles.terms)
    records = written(world, HOMES[1])["a"]

    def replay(changed):
        replayed = a_replay(roles, HOMES[1], HandOverTold())
        for record in changed:
            if not is_told(replayed, record):
                raise Breach(replayed.awaits(record).rule)
            replayed.take(record, CORE)
        assert told_all({"a": changed}, replayed._told)

    replay(records)
    return records, replay


def deeds_of(world):
    return {type(action) for _, note in world.notes for action in getattr(note, "actions", ())}


def with_done(kind, done):
    """Change what was done in the first record of a role in which something of the kind was."""

    def change(record):
        deeds = getattr(record, "done", ())
        return attrs.evolve(record, done=done(deeds)) if any(isinstance(each, kind) for each in deeds) else record

    return change


def with_live(event, **changes):
    live = tuple(attrs.evolve(each, computed=each.computed + 1, tokens=each.tokens + 1) for each in event.live)
    return attrs.evolve(event, live=live, **changes)


def further(chunks):
    return tuple(attrs.evolve(each, chunk=attrs.evolve(each.chunk, start=each.chunk.start + 1)) for each in chunks)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_done(ev.Halt, lambda _: ()), "Halt was due, and was not done; iterations stop when a round is whole"),
        (with_done(ev.HandOut, lambda _: ()), "HandOut was due"),
        (with_done(ev.TakeOver, lambda done: done[1:]), "TakeOver was due|TakeOver was done as it was not due"),
        (with_done(ev.TakeOver, lambda done: (*done, done[0])), "TakeOver was done as it was not due; .* once"),
        (with_done(ev.GiveBack, lambda done: (*done, done[0])), "GiveBack was done .* every stage has closed it"),
    ],
)
def test_what_a_role_does_is_what_its_protocol_says(small, change, sentence):
    records, replay = kept(small)
    changed = [change(record) for record in records]
    assert changed != records
    with pytest.raises(Breach, match=sentence):
        replay(changed)


def test_what_is_written_to_a_seat_continues_what_it_has(small):
    records, replay = kept(small)
    chunks = next(
        each for each in records if isinstance(each, journal.LearntAsStage) and isinstance(each.events[0], ev.ChunkCame)
    )
    at = records.index(chunks)
    with pytest.raises(Breach, match="nothing is written to a seat that is not open for it"):
        replay([*records[:at], attrs.evolve(chunks, events=further(chunks.events)), *records[at + 1 :]])
    with pytest.raises(Breach, match="nothing is written to a seat"):  # once more, when it is closed
        replay([*records, chunks])
    with pytest.raises(Breach):  # somebody has what was never written
        replay([*records[:at], *records[at + 1 :]])


def test_a_front_moves_a_request_from_one_attempt_to_the_next(small):
    replay = a_replay(small[1], HOMES[1], HandOverTold())
    move = journal.Moved(attempt="n:1:2", before="n:1:1", pipeline=NEW, tokens=3, digest="0" * 64, was_left=True)
    replay.take(move, CORE)
    for changes, sentence in (
        ({"before": "n:1:1"}, "n:1:1 is not over; two pipelines never have attempts of one request"),
        ({"attempt": "n:1:2"}, "two pipelines never"),
        ({"was_left": False}, "two pipelines never"),
        ({"tokens": 2}, "all the tokens that it has"),
        ({"resumes": ID}, "handed over to it"),
    ):
        with pytest.raises(Breach, match=sentence):
            replay.take(attrs.evolve(move, **{"attempt": "n:1:3", "before": "n:1:2", **changes}), CORE)
    with pytest.raises(Breach, match="goes on, once"):
        replay.take(journal.TookOver(attempt="n:1:2", digest="0" * 64), CORE)


def test_a_source_is_bound_to_the_core_and_to_what_it_said(small):
    records, replay = kept(small)
    sources = [n for n, each in enumerate(records) if isinstance(each, journal.LearntAsSource)]
    at = max(n for n in sources if isinstance(records[n].event, ev.Boundary) and records[n].done)
    grown = attrs.evolve(records[at], event=with_live(records[at].event), done=())
    with pytest.raises(Breach, match="a request comes to what is under way"):
        replay([*records[: at + 1], grown])
    replayed = a_replay(small[1], HOMES[1], HandOverTold())
    live = Live(request="r0", slot=0, computed=3, tokens=4, under_way=1, samples=True)
    rest = Current(id=ID, phase=Phase.REST)
    replayed._sources[OLD] = SourceState(live=(live,), is_heeded=True, is_quiet=True, current=rest)
    ended = ev.Boundary((attrs.evolve(live, computed=4, tokens=5, under_way=0, samples=False),), True, True)
    with pytest.raises(Breach, match="no iteration ends after the last boundary"):
        replayed.take(journal.LearntAsSource(pipeline=OLD, event=ended), CORE)
    closed = SimpleNamespace(handing=CORE.handing, closed=frozenset({NEW}))
    for core in (SimpleNamespace(handing=frozenset(), closed=frozenset()), closed):
        with pytest.raises(Breach, match="only to a successor that is open"):
            a_replay(small[1], HOMES[1], HandOverTold()).take(records[0], core)
