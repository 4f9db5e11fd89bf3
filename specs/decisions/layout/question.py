"""The question: a row of units, groups of equal devices, how long they take, and the limits of the service."""

from functools import cached_property
from itertools import accumulate

import attrs

from specs import fields
from specs.decisions.layout.answer import Replica
from specs.errors import InvalidProblem
from specs.units import Bytes, Nanos, Tokens


@attrs.frozen(kw_only=True)
class Group:
    """Devices that nobody can tell apart: of one kind, on nodes of equal size, linked alike to every other group.

    Device i of a group is on its node i // per_node.
    """

    name: str = fields.name()
    devices: int = fields.positive()  # how many there are to use
    per_node: int = fields.positive()
    memory_bytes: Bytes = fields.positive()  # of each device, for weights, KV and workspace
    cost_per_hour: int = fields.natural(default=0)  # of one device, in any one unit of money


@attrs.frozen(kw_only=True)
class Shape:
    """One way to compute a stage: so many devices of one node of a group, each with an equal part of every unit."""

    name: str = fields.name()
    group: str = fields.name()
    devices: int = fields.positive()


@attrs.frozen(kw_only=True)
class Pace:
    """How long a shape takes for one pass of a batch through a run of units.

    With `tracks`, the longest of the sums over the run: one track for arithmetic, one for memory traffic, ...
    With `run_ns`, exactly run_ns[first][end - first - 1], as measured.  One of the two is given.
    """

    shape: str = fields.name()
    batch: int = fields.positive()  # tokens of a pass, one of each request in it
    tracks: tuple[tuple[Nanos, ...], ...] = ()  # per track, per unit
    run_ns: tuple[tuple[Nanos, ...], ...] = ()
    workspace_bytes: Bytes = fields.natural(default=0)  # on each device of the shape, while the pass runs

    @cached_property
    def sums(self) -> tuple[tuple[int, ...], ...]:
        """Per track that is not shorter than another in every unit, the time of all units before each border."""
        kept: list[tuple[Nanos, ...]] = []
        for track in self.tracks:
            if not any(all(one <= other for one, other in zip(track, rival, strict=True)) for rival in kept):
                kept = [r for r in kept if any(one > other for one, other in zip(r, track, strict=True))] + [track]
        return tuple(tuple(accumulate(track, initial=0)) for track in kept)

    def ns(self, first: int, end: int) -> Nanos:
        """Time of a pass through units [first, end)."""
        if self.run_ns:
            return self.run_ns[first][end - first - 1]
        return Nanos(max(sums[end] - sums[first] for sums in self.sums))


@attrs.frozen(kw_only=True)
class Hop:
    """How long activations take from a stage on one group to the next stage on another, or on the same."""

    source: str = fields.name()
    destination: str = fields.name()
    latency_ns: Nanos = fields.natural()
    ns_per_token: Nanos = fields.natural()

    def ns(self, tokens: int) -> Nanos:
        """Time for the activations of so many tokens."""
        return Nanos(self.latency_ns + self.ns_per_token * tokens)


@attrs.frozen(kw_only=True)
class Prompt:
    """How a prompt is computed: in equal chunks, one behind the other through the stages."""

    chunks: int = fields.positive()
    paces: tuple[Pace, ...]  # at most one per shape, all of one batch: the tokens of a chunk


@attrs.frozen(kw_only=True)
class Limits:
    """What every answer must keep."""

    tpot_ns: Nanos = fields.positive()  # of each pipeline, with all its slots in use
    ttft_ns: Nanos | None = None  # of each pipeline that is idle
    depth: int = fields.positive()  # stages of a pipeline
    in_flight: int = fields.positive()  # batches of a pipeline that circulate at a time
    slots: int | None = None  # requests of a pipeline at a time
    demand_millitokens_per_second: int = fields.natural(default=0)  # of output, all pipelines together
    moved_units: int | None = None  # see `values.moved_units`


@attrs.frozen(kw_only=True)
class Question:
    """Which pipelines?  Raises InvalidProblem when its parts contradict each other."""

    weight_bytes: tuple[Bytes, ...]  # per unit
    kv_bytes_per_token: tuple[Bytes, ...]  # per unit
    context_tokens: Tokens = fields.positive()  # of KV that each slot reserves
    groups: tuple[Group, ...]
    shapes: tuple[Shape, ...]
    paces: tuple[Pace, ...]  # at most one per shape and batch
    hops: tuple[Hop, ...]  # at most one per pair of groups; a pair without a hop cannot follow one another
    limits: Limits
    prompt: Prompt | None = None
    round_ns: Nanos = fields.natural(
        default=0
    )  # added once per pass: sampling, and the token's way back to the first stage
    running: tuple[Replica, ...] = ()  # what is there now

    def __attrs_post_init__(self) -> None:
        if fault := next(iter(_contradictions(self)), None):
            raise InvalidProblem(fault)

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.weight_bytes)

    @cached_property
    def group(self) -> dict[str, Group]:
        """Each group by its name."""
        return {group.name: group for group in self.groups}

    @cached_property
    def shape(self) -> dict[str, Shape]:
        """Each shape by its name."""
        return {shape.name: shape for shape in self.shapes}

    @cached_property
    def pace(self) -> dict[tuple[str, int], Pace]:
        """Each pace by its shape and batch."""
        return {(pace.shape, pace.batch): pace for pace in self.paces}

    @cached_property
    def prompt_pace(self) -> dict[str, Pace]:
        """Each pace of a prompt's chunk by its shape."""
        return {} if self.prompt is None else {pace.shape: pace for pace in self.prompt.paces}

    @cached_property
    def hop(self) -> dict[tuple[str, str], Hop]:
        """Each hop by its groups."""
        return {(hop.source, hop.destination): hop for hop in self.hops}

    @cached_property
    def batches(self) -> tuple[int, ...]:
        """Every batch for which some shape has a pace, ascending."""
        return tuple(sorted({pace.batch for pace in self.paces}))

    @cached_property
    def weight_sums(self) -> tuple[int, ...]:
        """Weights of all units before each border."""
        return tuple(accumulate(self.weight_bytes, initial=0))

    @cached_property
    def kv_sums(self) -> tuple[int, ...]:
        """KV per token of all units before each border."""
        return tuple(accumulate(self.kv_bytes_per_token, initial=0))


def _contradictions(question: Question) -> "list[str]":
    """Say what does not fit together."""
    found = []
    if not question.units or question.units != len(question.kv_bytes_per_token):
        found.append("weights and KV are given for the same units, at least one")
    if min((*question.weight_bytes, *question.kv_bytes_per_token), default=0) < 0:
        found.append("weights and KV are 0 or more")
    for what, names in (
        ("group", [group.name for group in question.groups]),
        ("shape", [shape.name for shape in question.shapes]),
        ("pace of shape and batch", [f"{pace.shape} {pace.batch}" for pace in question.paces]),
        ("hop", [f"{hop.source}>{hop.destination}" for hop in question.hops]),
        ("pace of a prompt on shape", list(question.prompt_pace) and [p.shape for p in _prompt_paces(question)]),
    ):
        found += [f"{what} {name} is given twice" for name in sorted(set(names)) if names.count(name) > 1]
    for shape in question.shapes:
        if shape.group not in question.group:
            found.append(f"shape {shape.name} is of group {shape.group}, which is not described")
        elif shape.devices > question.group[shape.group].per_node:
            has = question.group[shape.group].per_node
            found.append(f"shape {shape.name} has {shape.devices} devices on one node; a node has {has}")
    for hop in question.hops:
        found += [f"a hop names group {end}" for end in (hop.source, hop.destination) if end not in question.group]
    for pace in (*question.paces, *_prompt_paces(question)):
        found += _pace_faults(question, pace)
    if len({pace.batch for pace in _prompt_paces(question)}) > 1:
        found.append("paces of a prompt are for chunks of different size")
    if question.limits.ttft_ns is not None and question.prompt is None:
        found.append("a limit of TTFT is given, but not how long prompts take")
    return found


def _prompt_paces(question: Question) -> tuple[Pace, ...]:
    return () if question.prompt is None else question.prompt.paces


def _pace_faults(question: Question, pace: Pace) -> list[str]:
    where = f"pace of {pace.shape} at batch {pace.batch}"
    if pace.shape not in question.shape:
        return [f"{where}: the shape is not described"]
    if bool(pace.tracks) == bool(pace.run_ns):
        return [f"{where}: either tracks or times of runs are needed"]
    wanted = [question.units] * len(pace.tracks) or list(range(question.units, 0, -1))
    rows = pace.tracks or pace.run_ns
    if [len(row) for row in rows] != wanted:
        return [f"{where}: a time for each of {question.units} units is needed"]
    return [f"{where}: times are 0 or more"] if any(ns < 0 for row in rows for ns in row) else []
