"""Small questions about pipelines, and the slow, plain way to answer them."""

from collections.abc import Iterator
from itertools import combinations, pairwise, product

import attrs
from hypothesis import strategies as st

from specs.decisions.layout import values
from specs.decisions.layout.answer import Answer, Replica, Stage
from specs.decisions.layout.faults import faults
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Prompt, Question, Shape
from specs.decisions.layout.values import Objective

BATCHES = (1, 4)


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
def questions(draw, units_max: int = 4, devices_max: int = 4) -> Question:
    """Any small question: measured runs or tracks, prompts or none, missing paces and hops."""
    units = draw(st.integers(1, units_max))
    kinds = draw(st.integers(1, 2))
    devices = [draw(st.integers(1, devices_max - 1))]
    if kinds == 2:
        devices.append(draw(st.integers(1, max(1, devices_max - devices[0]))))
    groups = tuple(
        Group(
            name=f"g{i}",
            devices=count,
            per_node=draw(st.sampled_from((1, 2, 4))),
            memory_bytes=draw(st.integers(20, 120)),
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
        tpot_ns=draw(st.sampled_from((60, 150, 1_000))),
        ttft_ns=draw(st.sampled_from((None, 200, 600))) if prompt else None,
        depth=draw(st.integers(1, 4)),
        in_flight=draw(st.integers(1, 2)),
        slots=draw(st.sampled_from((None, 4))),
        demand_millitokens_per_second=draw(st.sampled_from((0, 10_000_000_000, 40_000_000_000))),
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


def brute_force(asked: Question, objective: Objective) -> int | None:
    """Try every set of pipelines over named devices, judged by the checker alone."""
    unlimited = limited(asked, demand_millitokens_per_second=0)
    alone: dict[frozenset, list[Replica]] = {}
    for replica in _replicas(asked):
        if not any(faults(unlimited, Answer(replicas=(replica,)))):
            used = frozenset(
                (asked.shape[stage.shape].group, device) for stage in replica.stages for device in stage.devices
            )
            alone.setdefault(used, []).append(replica)
    best = None
    for chosen in _disjoint(sorted(alone, key=sorted)):
        for replicas in product(*(_undominated(asked, alone[used]) for used in chosen)):
            weighed = tuple(
                attrs.evolve(replica, weight=max(1, values.rate_millitokens_per_second(asked, replica)))
                for replica in replicas
            )
            answer = Answer(replicas=weighed)
            if any(faults(asked, answer)):
                continue
            reached = values.value(asked, answer, objective)
            better = best is None or (reached > best if objective is Objective.GOODPUT else reached < best)
            best = reached if better else best
    return best


def _undominated(asked: Question, replicas: list[Replica]) -> list[Replica]:
    """One pipeline for each different (rate, TPOT, TTFT) that no other of the same devices beats in all."""
    marks = {}
    for replica in replicas:
        ttft = values.ttft_ns(asked, replica) if asked.prompt else 0
        mark = (-values.rate_millitokens_per_second(asked, replica), values.tpot_ns(asked, replica), ttft)
        marks.setdefault(mark, replica)
    return [
        r for m, r in marks.items() if not any(o != m and all(a <= b for a, b in zip(o, m, strict=True)) for o in marks)
    ]


def _disjoint(sets: list[frozenset]) -> Iterator[tuple[frozenset, ...]]:
    def extend(index: int, chosen: tuple[frozenset, ...], used: frozenset) -> Iterator[tuple[frozenset, ...]]:
        if chosen:
            yield chosen
        for later in range(index, len(sets)):
            if not sets[later] & used:
                yield from extend(later + 1, (*chosen, sets[later]), used | sets[later])

    yield from extend(0, (), frozenset())


def _replicas(asked: Question) -> Iterator[Replica]:
    """Every row of stages over named devices with every batch and number in flight."""
    for count in range(1, min(asked.units, asked.limits.depth) + 1):
        for cuts in combinations(range(1, asked.units), count - 1):
            borders = (0, *cuts, asked.units)
            for stages in product(*(_stages(asked, a, b) for a, b in pairwise(borders))):
                used = [(asked.shape[s.shape].group, d) for s in stages for d in s.devices]
                if len(set(used)) == len(used):
                    for batch, flying in product(asked.batches, range(1, asked.limits.in_flight + 1)):
                        yield Replica(stages=stages, batch=batch, in_flight=flying, weight=1)


def _stages(asked: Question, first: int, end: int) -> list[Stage]:
    return [
        Stage(shape=shape.name, devices=devices, first_unit=first, end_unit=end)
        for shape in asked.shapes
        for devices in combinations(range(asked.group[shape.group].devices), shape.devices)
        if len({device // asked.group[shape.group].per_node for device in devices}) == 1
    ]
