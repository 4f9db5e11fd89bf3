"""Rules MEM and LAST: what fits where, and what may be given up."""

from bisect import bisect_right
from collections.abc import Iterator

from specs import timing
from specs.blobs import BlobId
from specs.cluster import PlaceId
from specs.invariants.facts import BlobAt, Facts
from specs.invariants.rule import Violation
from specs.plan import Pipeline, Release, Stage, StepId
from specs.units import Nanos

_ROOM, _END = 0, 1  # at one instant, what is new counts before what is old goes
_START = -1  # before the first step


def memories_suffice(facts: Facts) -> Iterator[Violation]:
    """MEM: blobs resident or reserved, KV and workspace fit in each memory at every instant.

    A blob counts from the start of its transfer, a pipeline's KV and workspace from its activation or, where it runs
    at the start, from there, both to the instant at which they are given up, that instant included.  KV is that of the
    slots in force: what a resize needs counts from it on, what it gives up to it.  No stage may declare less than all
    its slots need.

    The same must hold by the plan's order, whatever the times come out as.  Daemons let a transfer, the building of a
    stage and a resize that needs room wait for the releases and the resizes that make room at their places and stand
    before them (with a stage: before its activation).  A stage is surely freed where a release of one of its blobs
    comes, and for a resize, which waits for that too, where its pipeline closes.  So when the last step to take room is
    n, at most that is in use which the steps up to n take and those before n that it waited for do not give up: what
    is counted here at n, and no less where a step gives up what was never taken.
    """
    for pipeline in facts.pipelines.values():
        yield from _declared_enough(facts, pipeline)
    yield from _by_times(facts)
    yield from _by_order(facts)


def _by_times(facts: Facts) -> Iterator[Violation]:
    for place in dict.fromkeys((*facts.arrivals, *facts.held, *facts.stages_at)):
        room = facts.places[place].memory_bytes
        for at_ns, used in use_over_time(facts, place):
            if used > room:
                sentence = f"at {at_ns} ns it needs {used} bytes, it has {room}: {used - room} too few"
                yield Violation("MEM", f"place {place}", sentence)
                break


def use_over_time(facts: Facts, place: PlaceId) -> Iterator[tuple[Nanos, int]]:
    """Give the bytes in use at a place after each change, in the order of time; at one instant the new comes first."""
    used = 0
    for at_ns, _, change in sorted(_changes(facts, place)):
        used += change
        yield at_ns, used


def _changes(facts: Facts, place: PlaceId) -> list[tuple[Nanos, int, int]]:
    """Changes of the bytes in use at a place: (instant, _ROOM or _END, bytes)."""
    held, arrivals = facts.held.get(place, set()), facts.arrivals.get(place, {})
    releases, sizes = facts.releases.get(place, {}), facts.blob_bytes
    changes = [(Nanos(0), _ROOM, int(sizes[blob])) for blob in held]
    changes += [(step.start_ns, _ROOM, sizes[blob]) for blob, step in arrivals.items() if blob not in held]
    for blob, release in releases.items():
        if blob in held or blob in arrivals:
            changes.append((release.at_ns, _END, -sizes[blob]))
    for pipeline, stage in facts.stages_at.get(place, ()):
        if pipeline.id in facts.opened_ns:
            reserve = 0
            for at_ns, slots in facts.slots_over_time(pipeline.id):
                needed = _reserve(facts, pipeline, stage, slots)
                changes.append((at_ns, _ROOM if needed > reserve else _END, needed - reserve))
                reserve = needed
            if pipeline.id in facts.closed_by:
                changes.append((facts.closed_by[pipeline.id].at_ns, _END, -reserve))
    return changes


def _reserve(facts: Facts, pipeline: Pipeline, stage: Stage, slots: int) -> int:
    """Bytes that a stage takes while its pipeline has so many slots."""
    return timing.stage_kv_bytes(facts.llms[pipeline.llm], pipeline, stage, slots) + stage.workspace_bytes


def _by_order(facts: Facts) -> Iterator[Violation]:
    for place in dict.fromkeys((*facts.held, *facts.arrivals, *facts.releases, *facts.stages_at)):
        room, used = facts.places[place].memory_bytes, 0
        closed = _closed_by_then(facts, place)
        for step, change in sorted(_changes_by_order(facts, place)):
            used += change
            needed = used - closed.get(step, 0)
            if change > 0 and needed > room:
                sentence = f"by the order of steps it may need {needed} bytes at step {max(step, 0)}, it has {room}"
                yield Violation("MEM", f"place {place}", f"{sentence}: {needed - room} too few")
                break


def _changes_by_order(facts: Facts, place: PlaceId) -> list[tuple[int, int]]:
    """Changes of the bytes that may be in use at a place: (step, bytes); before the first step is _START."""
    held, arrivals = facts.held.get(place, set()), facts.arrivals.get(place, {})
    releases, sizes = facts.releases.get(place, {}), facts.blob_bytes
    changes = [(_START, int(sizes[blob])) for blob in held]
    changes += [(_START if blob in held else step.id, sizes[blob]) for blob, step in arrivals.items()]
    changes += [(release.id, -sizes[blob]) for blob, release in releases.items()]
    for pipeline, stage in facts.stages_at.get(place, ()):
        if pipeline.id not in facts.opened_ns:
            continue
        opening = _START if pipeline.id in facts.running else facts.activations[pipeline.id].id
        reserve = _reserve(facts, pipeline, stage, facts.slots_at_first[pipeline.id])
        changes.append((opening, reserve))
        for step in facts.resizes[pipeline.id]:
            needed = _reserve(facts, pipeline, stage, step.slots)
            changes.append((step.id, needed - reserve))
            reserve = needed
        freed = _freed_by(facts, place, pipeline, stage)
        if freed is not None:
            changes.append((freed, -reserve))
    return changes


def _freed_by(facts: Facts, place: PlaceId, pipeline: Pipeline, stage: Stage) -> StepId | None:
    """The first release of what a stage computes with: it waits until the stage is freed."""
    releases = facts.releases.get(place, {})
    return min((releases[blob].id for blob in facts.needs(pipeline.llm, stage) if blob in releases), default=None)


def _closed_by_then(facts: Facts, place: PlaceId) -> dict[int, int]:
    """For each resize at a place that waits for room: bytes of stages whose pipelines have closed, before a release."""
    stages = facts.stages_at.get(place, ())
    growing = [
        step.id
        for pipeline in dict.fromkeys(pipeline.id for pipeline, _ in stages)
        for step in facts.resizes[pipeline]
        if step.slots > facts.slots_at(pipeline, step.id)
    ]
    found: dict[int, int] = dict.fromkeys(growing, 0)
    for pipeline, stage in stages if growing else ():
        closing = facts.closed_by.get(pipeline.id)
        if closing is None or pipeline.id not in facts.opened_ns:
            continue
        reserve = _reserve(facts, pipeline, stage, facts.slots_at_end(pipeline.id))
        freed = _freed_by(facts, place, pipeline, stage)
        for step in growing:
            if closing.id < step and (freed is None or step < freed):
                found[step] += reserve
    return found


def _declared_enough(facts: Facts, pipeline: Pipeline) -> Iterator[Violation]:
    llm = facts.llms[pipeline.llm]
    tokens = pipeline.slots * pipeline.request_tokens_max
    for index, stage in enumerate(pipeline.stages):
        where = f"pipeline {pipeline.id} stage {index}"
        kv = timing.kv_bytes(llm, stage.first_unit, stage.end_unit, tokens)
        if stage.kv_bytes < kv:
            yield Violation(
                "MEM", where, f"it sets aside {stage.kv_bytes} bytes of KV, {tokens} tokens of its units need {kv}"
            )
        workspace = timing.workspace_bytes(llm, stage.end_unit, pipeline.slots, pipeline.iteration_tokens_max)
        if stage.workspace_bytes < workspace:
            yield Violation(
                "MEM",
                where,
                f"it sets aside {stage.workspace_bytes} bytes of workspace, an iteration needs {workspace}",
            )


def copies_remain(facts: Facts) -> Iterator[Violation]:
    """LAST: a release gives up only what its place holds, what nothing there needs any more and what remains elsewhere.

    A step that needs the blob must be over by its times and stand before the release in the plan.
    """
    releases = [step for step in facts.plan.steps if isinstance(step, Release)]
    if not releases:
        return
    keepers = {(target.llm, target.place): "a target" for target in facts.problem.targets}
    keepers |= {(resident.llm, resident.place): "a resident" for resident in facts.plan.residents}
    users = _users(facts)
    held_from = _held_from(facts)
    gone: dict[BlobId, int] = {}
    for release in sorted(releases, key=lambda step: (step.at_ns, step.id)):
        where = f"release {release.id}"
        if not _holds(facts, release):
            yield Violation("LAST", where, f"{release.place} does not hold {release.blob} at {release.at_ns} ns")
            continue
        llm = facts.blobs[release.blob].llm
        keeper = keepers.get((llm, release.place))
        if keeper is not None:
            yield Violation("LAST", where, f"{release.place} is {keeper} of {llm}: it must keep it")
        for user in users.get((release.blob, release.place), ()):
            yield from _still_used(release, user)
        holders = bisect_right(held_from[release.blob], release.at_ns) - gone.get(release.blob, 0)
        if holders < 2:
            yield Violation("LAST", where, f"it gives up the last copy of {release.blob} in the cluster")
        gone[release.blob] = gone.get(release.blob, 0) + 1


def _holds(facts: Facts, release: Release) -> bool:
    blob, place = release.blob, release.place
    if facts.releases[place][blob] is not release:
        return False
    if blob in facts.held.get(place, ()):
        return True
    arrival = facts.arrivals.get(place, {}).get(blob)
    return arrival is not None and arrival.end_ns <= release.at_ns and arrival.id < release.id


def _held_from(facts: Facts) -> dict[BlobId, list[Nanos]]:
    """For each blob, the instants at which places come to hold it, in ascending order."""
    found: dict[BlobId, list[Nanos]] = {blob.id: [] for blob in facts.plan.blobs}
    for held in facts.held.values():
        for blob in held:
            found[blob].append(Nanos(0))
    for place, arrived in facts.arrivals.items():
        held = facts.held.get(place, set())
        for blob, arrival in arrived.items():
            if blob not in held:
                found[blob].append(arrival.end_ns)
    for instants in found.values():
        instants.sort()
    return found


_User = tuple[str, Nanos, Nanos | None, int | None]  # name, from, until (None: for ever), the step that ends the use


def _users(facts: Facts) -> dict[BlobAt, list[_User]]:
    """Who needs a blob at a place: transfers from it, pipelines that compute with it."""
    users: dict[BlobAt, list[_User]] = {}
    for hop in facts.hops:
        step = hop.transfer
        user = (f"transfer {step.id}", Nanos(0), step.end_ns, step.id)
        users.setdefault((step.blob, hop.source), []).append(user)
    for pipeline in facts.pipelines.values():
        if pipeline.id not in facts.opened_ns:
            continue
        closed_by = facts.closed_by.get(pipeline.id)
        until, by = (None, None) if closed_by is None else (closed_by.at_ns, closed_by.id)
        user_pipeline = (f"pipeline {pipeline.id}", facts.opened_ns[pipeline.id], until, by)
        for stage in pipeline.stages:
            for blob in facts.needs(pipeline.llm, stage):
                users.setdefault((blob, stage.place), []).append(user_pipeline)
    return users


def _still_used(release: Release, user: _User) -> Iterator[Violation]:
    name, from_ns, until_ns, ended_by = user
    if release.at_ns < from_ns:  # an activation after the release: rule EARLY
        return
    until = "to the end" if until_ns is None else f"until {until_ns} ns"
    if until_ns is None or release.at_ns < until_ns:
        sentence = f"at {release.at_ns} ns it gives up {release.blob} at {release.place}; {name} needs it there {until}"
        yield Violation("LAST", f"release {release.id}", sentence)
    elif ended_by is not None and release.id < ended_by:
        sentence = f"it stands before step {ended_by}, which ends the need of {name} for {release.blob}"
        yield Violation("LAST", f"release {release.id}", sentence)
