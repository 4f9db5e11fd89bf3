"""What the roles of KV hand-over do on this node, as it is kept in memory until the journal writes it down.

A hand-over takes an event with every chunk of KV and every iteration.  Most of them tell a role how far things are by
now, which later ones tell too: of those that follow one another the last of each kind is written, once it is found that
the role comes to the same state from these alone.  What a role did for an event is written with it.

So an event may be written later than it was taken, but before whatever this node did or heard next that is written:
nothing is ever written before what it came from, on this node or another.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import attrs

from specs import journal
from specs.journal import What
from specs.plan import PipelineId
from specs.protocols import kv_hand_over as source
from specs.protocols import kv_hand_over_events as ev
from specs.protocols import kv_hand_over_target as target
from specs.protocols.kv_hand_over_nouns import Chunk, SourceState, Successor, TargetState, Terms
from specs.units import Nanos


@attrs.frozen(eq=False)
class AtSource:
    """A source leader took an event."""

    terms: Terms
    event: ev.SourceEvent
    before: SourceState
    after: SourceState
    actions: tuple[ev.SourceAction, ...]


@attrs.frozen(eq=False)
class AtTarget:
    """A target leader took an event."""

    successor: Successor
    event: ev.TargetEvent
    before: TargetState
    after: TargetState
    actions: tuple[ev.TargetAction, ...]


@attrs.frozen(eq=False)
class Wrote:
    """A target stage of this node wrote a chunk."""

    chunk: Chunk


@attrs.frozen(eq=False)
class Later:
    """A record that takes a while to make."""

    make: Callable[[], What]


Note = AtSource | AtTarget | Wrote | Later
TakeNote = Callable[[Note], None]


class Line(NamedTuple):
    """Something for the journal: a record, or a note of which some may come."""

    at_unix_ns: Nanos
    generation: int
    content: What | Note


def condense(lines: Iterable[Line]) -> Iterator[Line]:
    """Give the records of some lines, in their order, except for what does not matter by itself."""
    waiting = _Waiting()
    for line in lines:
        if waiting.take(line):
            continue
        yield from waiting.give()
        waiting = _Waiting()
        if not waiting.take(line):
            yield line._replace(content=_record(line.content))
    yield from waiting.give()


def _record(content: What | Note) -> What:
    match content:
        case AtSource():
            return journal.LearntAsSource(
                pipeline=content.terms.pipeline, event=content.event, done=_deeds(content.actions)
            )
        case AtTarget():
            return journal.LearntAsTarget(
                pipeline=content.successor.pipeline, event=content.event, done=_deeds(content.actions)
            )
        case Later(make):
            return make()
    assert not isinstance(content, Wrote)
    return content


class _Waiting:
    """What may be written with what comes next, or not at all."""

    def __init__(self) -> None:
        self._last: Line | None = None
        self._chunks: dict[object, Chunk] = {}
        self._targets: dict[PipelineId, list[AtTarget]] = {}
        self._sources: dict[PipelineId, list[AtSource]] = {}

    def take(self, line: Line) -> bool:
        """Keep what does not matter by itself; tell whether this is such a line."""
        match line.content:
            case Wrote(chunk):
                key = chunk.id, chunk.path, chunk.request, chunk.seat
                before = self._chunks.get(key, chunk)
                if before is not chunk and not before.start <= chunk.start <= before.end < chunk.end:
                    return False
                self._chunks[key] = attrs.evolve(before, end=chunk.end)
            case AtTarget() as note if _is_passing_at_target(note):
                self._targets.setdefault(note.successor.pipeline, []).append(note)
            case AtSource() as note if _is_passing_at_source(note):
                self._sources.setdefault(note.terms.pipeline, []).append(note)
            case _:
                return False
        self._last = line
        return True

    def give(self) -> Iterator[Line]:
        """Give it, in the order in which stages, target leaders and source leaders hear of each other."""
        last = self._last
        if last is None:
            return
        if self._chunks:
            events = tuple(ev.ChunkCame(chunk) for chunk in self._chunks.values())
            yield last._replace(content=journal.LearntAsStage(events=events))
        for new, targets in self._targets.items():
            for event, times in _few(partial(target.step, targets[0].successor), targets, _latest_at_target):
                yield last._replace(content=journal.LearntAsTarget(pipeline=new, event=event, times=times))
        for old, sources in self._sources.items():
            for event, times in _few(partial(source.step, sources[0].terms), sources, _latest_at_source):
                yield last._replace(content=journal.LearntAsSource(pipeline=old, event=event, times=times))


def _deeds(actions: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(action for action in actions if not isinstance(action, ev.TELLING))


def _few(
    step: Callable[[Any, Any], tuple[Any, object]], notes: Sequence[Any], latest: Callable[[Any, Any], list[Any]]
) -> Iterable[tuple[Any, int]]:
    """Give, each with how often, the latest events, if the role comes to the same state from these; else all."""
    if notes[-1].after == notes[0].before:
        return
    events = latest(step, notes)
    state = notes[0].before
    for event in events:
        state, _ = step(state, event)
    if state != notes[-1].after:
        events = [note.event for note in notes]
    for event, same in itertools.groupby(events):
        yield event, len(list(same))


def _is_passing_at_source(note: AtSource) -> bool:
    """Tell whether the event told how far things are, and nothing came of it."""
    before, after = note.before.current, note.after.current
    if before is None or after is None:
        return note.after == note.before and not _deeds(note.actions)
    return (before.id, before.edition) == (after.id, after.edition) and not _deeds(note.actions)


def _latest_at_source(step: Callable[[SourceState, ev.SourceEvent], Any], notes: Sequence[AtSource]) -> list[Any]:
    latest = {type(note.event): note.event for note in notes}
    events = [latest[kind] for kind in (ev.Boundary, ev.HostingIs) if kind in latest]
    state, after = notes[0].before, notes[-1].after
    for event in events:
        state, _ = step(state, event)
    if state.current is not None and after.current is not None:
        events += [ev.Tick()] * (after.current.stalls - state.current.stalls)
    return events


def _is_passing_at_target(note: AtTarget) -> bool:
    before, after = note.before, note.after
    if _deeds(note.actions) or _settled(before) != _settled(after):
        return False
    return before.stays is after.stays or [attrs.evolve(stay, quiet=0) for stay in before.stays] == [
        attrs.evolve(stay, quiet=0) for stay in after.stays
    ]


def _settled(state: TargetState) -> tuple[object, ...]:
    return state.edition, state.over, state.closing


def _latest_at_target(step: Callable[[TargetState, ev.TargetEvent], Any], notes: Sequence[AtTarget]) -> list[Any]:
    """List who came last from each source leader, without what it had told before; then time; then every stage."""
    invited, held = {}, {}
    for note in notes:
        match note.event:
            case ev.Invited(invitation):
                invited[invitation.id] = ev.Invited(attrs.evolve(invitation, fresh=()))
            case ev.HeldIs(said):
                held[said.stage] = note.event
    state, after = notes[0].before, notes[-1].after
    for event in invited.values():
        state, _ = step(state, event)
    waited = {stay.id: stay.quiet for stay in state.stays}
    ticks = max((stay.quiet - waited.get(stay.id, 0) for stay in after.stays), default=0)
    return [*invited.values(), *[ev.Tick()] * ticks, *held.values()]
