"""Small questions about pipelines, and the slow, plain way to answer them."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product

import attrs
from hypothesis import strategies as st

from specs.decisions.layout import values
from specs.decisions.layout.answer import Answer, Replica, Stage
from specs.decisions.layout.faults import faults
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Prompt, Question, Shape
from specs.decisions.layout.values import Objective

BATCHES = (1, 4)
COUNTS = ((1,), (2,), (3,), (4,), (1, 1), (2, 1), (1, 3), (2, 2), (1, 1, 1), (2, 1, 1), (1, 1, 1, 1))  # per group


def question(**changes) -> Question:
    """Three units, two quick devices on one node and two slow ones on two, by tracks."""
    groups = (
        Group(name="quick", devices=2, per_node=2, memory_bytes=100, cost_per_hour=3),
        Group(name="slow", devices=2, per_node=1, memory_bytes=60, cost_per_hour=1),
    )
    shapes = (
        Shape(name="quick", group="quick", devices=1),
        Shape(name="pair", group="quick", devices=2),
        Shape(name="slow", group="slow", devices=1),
    )
    tracks = {"quick": (10, 20), "pair": (6, 12), "slow": (30, 40)}
    paces = tuple(
        Pace(shape=name, batch=batch, tracks=((ns[0] * batch,) * 3, (ns[1],) * 3))
        for name, ns in tracks.items()
        for batch in BATCHES
    )
    hops = tuple(Hop(source=a.name, destination=b.name, latency_ns=2, ns_per_token=1) for a in groups for b in groups)
    whole = Question(
        weight_bytes=(30, 30, 30),
        kv_bytes_per_token=(1, 1, 1),
        context_tokens=2,
        groups=groups,
        shapes=shapes,
        paces=paces,
        hops=hops,
        limits=Limits(tpot_ns=1_000, depth=4, in_flight=3),
    )
    return attrs.evolve(whole, **changes)


def limited(asked: Question, **limits) -> Question:
    return attrs.evolve(asked, limits=attrs.evolve(asked.limits, **limits))


@st.composite
def questions(draw, units_min: int = 1, units_max: int = 4) -> Question:
    """Any small question: measured runs or tracks, prompts or none, missing paces and hops."""
    units = draw(st.integers(units_min, units_max))
    devices = draw(st.sampled_from(COUNTS))
    groups = tuple(
        Group(
            name=f"g{i}",
            devices=count,
            per_node=draw(st.sampled_from((1, 2, 4))),
            memory_bytes=draw(st.integers(20, 60 * units)),
            cost_per_hour=draw(st.integers(0, 9)),
        )
        for i, count in enumerate(devices)
    )
    shapes = tuple(
        Shape(name=f"{group.name}x{size}", group=group.name, devices=size)
        for group in groups
        for size in ((1, 2) if group.per_node > 1 else (1,))
    )
    paces = [_pace(draw, shape.name, batch, units) for shape in shapes for batch in BATCHES]
    paces = [pace for pace in paces if draw(st.integers(0, 9))]
    hops = tuple(
        Hop(
            source=a.name, destination=b.name, latency_ns=draw(st.integers(0, 20)), ns_per_token=draw(st.integers(0, 3))
        )
        for a in groups
        for b in groups
        if draw(st.integers(0, 9))
    )
    prompt = None
    if draw(st.booleans()):
        chosen = tuple(_pace(draw, shape.name, 8, units) for shape in shapes)
        prompt = Prompt(chunks=draw(st.integers(1, 3)), paces=chosen)
    limits = Limits(
        tpot_ns=draw(st.sampled_from((60, 300, 2_000))),
        ttft_ns=draw(st.sampled_from((None, 400, 1_200))) if prompt else None,
        depth=draw(st.integers(1, 4)),
        in_flight=draw(st.integers(1, 3)),
        slots=draw(st.sampled_from((None, 4, 8))),
        demand_millitokens_per_second=draw(st.sampled_from((0, 10**9, 10**10, 4 * 10**10))),
    )
    return Question(
        weight_bytes=tuple(draw(st.integers(1, 40)) for _ in range(units)),
        kv_bytes_per_token=tuple(draw(st.integers(0, 3)) for _ in range(units)),
        context_tokens=draw(st.integers(1, 4)),
        groups=groups,
        shapes=shapes,
        paces=tuple(paces),
        hops=hops,
        limits=limits,
        prompt=prompt,
        round_ns=draw(st.integers(0, 5)),
    )


def _pace(draw, shape: str, batch: int, units: int) -> Pace:
    time = st.integers(1, 60)
    if draw(st.booleans()):
        tracks = tuple(tuple(draw(time) for _ in range(units)) for _ in range(draw(st.integers(1, 2))))
        return Pace(shape=shape, batch=batch, tracks=tracks, workspace_bytes=draw(st.integers(0, 9)))
    runs = tuple(tuple(draw(time) for _ in range(units - first)) for first in range(units))
    return Pace(shape=shape, batch=batch, run_ns=runs, workspace_bytes=draw(st.integers(0, 9)))


@attrs.frozen
class Outcome:
    """What one pipeline gives, with the shapes of its stages."""

    rate: int
    tpot: int
    ttft: int
    replica: Replica

    def beats(self, other: "Outcome") -> bool:
        return self.rate >= other.rate and self.tpot <= other.tpot and self.ttft <= other.ttft


def brute_force(asked: Question, objective: Objective) -> int | None:
    return optima(asked)[objective]


def optima(asked: Question) -> dict[Objective, int | None]:
    """The best value for every objective, by trying every set of pipelines; None where no answer keeps the limits.

    The checker judges every pipeline, alone on the first devices that it can be seated on, and every best answer.  Of
    pipelines with equal stages only one is kept where it is as good as the others in rate, TPOT and TTFT at once.
    """
    wanted = [each for each in Objective if each is not Objective.TTFT or asked.prompt is not None]
    alone: dict[tuple[str, ...], list[Outcome]] = {}
    for replica in _replicas(asked):
        _keep(asked, alone.setdefault(tuple(sorted(stage.shape for stage in replica.stages)), []), replica)
    best: dict[Objective, tuple[int, Answer] | None] = dict.fromkeys(wanted)
    for chosen in _together(asked, [shapes for shapes in sorted(alone) if alone[shapes]]):
        for outcomes in product(*(alone[shapes] for shapes in chosen)):
            if sum(each.rate for each in outcomes) < asked.limits.demand_millitokens_per_second:
                continue
            answer = _seated(asked, [attrs.evolve(each.replica, weight=each.rate) for each in outcomes])
            assert answer is not None
            for objective in wanted:
                reached, known = values.value(asked, answer, objective), best[objective]
                larger = objective is Objective.GOODPUT
                if known is None or (reached > known[0] if larger else reached < known[0]):
                    best[objective] = reached, answer
    for known in best.values():
        assert known is None or not list(faults(asked, known[1]))
    return {objective: None if known is None else known[0] for objective, known in best.items()}


def _keep(asked: Question, kept: list[Outcome], replica: Replica) -> None:
    answer = _seated(asked, [replica])
    if answer is None or any(faults(limited(asked, demand_millitokens_per_second=0), answer)):
        return
    rate, tpot = values.rate_millitokens_per_second(asked, replica), values.tpot_ns(asked, replica)
    new = Outcome(rate, tpot, values.ttft_ns(asked, replica) if asked.prompt else 0, replica)
    if not any(old.beats(new) for old in kept):
        kept[:] = [old for old in kept if not new.beats(old)] + [new]


def _replicas(asked: Question) -> Iterator[Replica]:
    """Every row of shapes that the devices allow, with every borders, batch and number in flight; devices unnamed."""
    for count in range(1, min(asked.units, asked.limits.depth, sum(group.devices for group in asked.groups)) + 1):
        for shapes in product(asked.shapes, repeat=count):
            used = Counter({group.name: 0 for group in asked.groups})
            for shape in shapes:
                used[shape.group] += shape.devices
            if any(used[group.name] > group.devices for group in asked.groups):
                continue
            for cuts in combinations(range(1, asked.units), count - 1):
                borders = zip(shapes, (0, *cuts), (*cuts, asked.units), strict=True)
                stages = tuple(
                    Stage(shape=s.name, devices=tuple(range(s.devices)), first_unit=a, end_unit=b)
                    for s, a, b in borders
                )
                for batch, flying in product(asked.batches, range(1, asked.limits.in_flight + 1)):
                    yield Replica(stages=stages, batch=batch, in_flight=flying, weight=1)


def _together(asked: Question, rows: list[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Every way to choose rows of shapes, again and again, for which there are devices."""

    def extend(index: int, chosen: tuple[tuple[str, ...], ...]) -> Iterator[tuple[tuple[str, ...], ...]]:
        for later in range(index, len(rows)):
            more = (*chosen, rows[later])
            if _seats(asked, [shape for row in more for shape in row]) is not None:
                yield more
                yield from extend(later, more)

    yield from extend(0, ())


def _seated(asked: Question, replicas: list[Replica]) -> Answer | None:
    seats = _seats(asked, [stage.shape for replica in replicas for stage in replica.stages])
    if seats is None:
        return None
    each = iter(seats)
    return Answer(
        replicas=tuple(
            attrs.evolve(r, stages=tuple(attrs.evolve(stage, devices=next(each)) for stage in r.stages))
            for r in replicas
        )
    )


def _seats(asked: Question, shapes: list[str]) -> list[tuple[int, ...]] | None:
    """Devices for stages of these shapes, each stage on one node, by trying every node for each; None: no room."""

    def seat(index: int, free: frozenset[tuple[str, int]]) -> list[tuple[int, ...]] | None:
        if index == len(shapes):
            return []
        shape = asked.shape[shapes[index]]
        group = asked.group[shape.group]
        for node in range(-(-group.devices // group.per_node)):
            mine = range(node * group.per_node, min((node + 1) * group.per_node, group.devices))
            has = [device for device in mine if (group.name, device) in free][: shape.devices]
            if len(has) == shape.devices:
                later = seat(index + 1, free - {(group.name, device) for device in has})
                if later is not None:
                    return [tuple(has), *later]
        return None

    return seat(0, frozenset((group.name, device) for group in asked.groups for device in range(group.devices)))
