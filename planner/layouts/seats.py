"""Which devices of their groups the chosen pipelines get."""

from collections.abc import Sequence

import attrs
from ortools.graph.python import min_cost_flow

from planner.layouts.loads import Devices, Run, held, runs
from specs.decisions.layout.answer import Answer, Replica
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import rate_millitokens_per_second

Place = tuple[int, int]  # of a stage: pipeline, and stage in it


def seated(question: Question, replicas: Sequence[Replica]) -> Answer | None:
    """Give every stage its devices, so that few units must be loaded; None when they do not fit.

    Fewest, where groups have shapes of one device only.  Else stages that keep least of what their devices hold are
    moved away until all the others fit into the nodes.  Weights of requests are in proportion to rates.
    """
    staying = _staying(question, replicas)
    for count in range(len(staying), -1, -1):
        seats = _filled(question, replicas, dict(staying[:count]))
        if seats is not None:
            return _answer(question, replicas, seats)
    return None


def _staying(question: Question, replicas: Sequence[Replica]) -> list[tuple[Place, Devices]]:
    """Match stages with devices that hold their units, so that most is kept; those that keep most first."""
    there = held(question)
    wanted: dict[Run, list[Place]] = {}
    for index, replica in enumerate(replicas):
        for number, run in enumerate(runs(question, replica)):
            wanted.setdefault(run, []).append((index, number))
    pairs = [(run, other) for run in wanted for other in there if run.kept(other)]
    node = {key: place for place, key in enumerate([*((run, 0) for run in wanted), *((run, 1) for run in there)], 2)}
    flow = min_cost_flow.SimpleMinCostFlow()
    for run, places in wanted.items():
        flow.add_arc_with_capacity_and_unit_cost(0, node[run, 0], len(places), 0)
        flow.add_arc_with_capacity_and_unit_cost(node[run, 0], 1, len(places), 0)  # on any other devices
    for run, blocks in there.items():
        flow.add_arc_with_capacity_and_unit_cost(node[run, 1], 1, len(blocks), 0)
    arcs = [
        flow.add_arc_with_capacity_and_unit_cost(node[run, 0], node[other, 1], len(wanted[run]), -run.kept(other))
        for run, other in pairs
    ]
    stages = sum(len(places) for places in wanted.values())
    flow.set_nodes_supplies([0, 1], [stages, -stages])
    if not pairs or flow.solve() != flow.OPTIMAL:
        return []
    matched = [
        (-run.kept(other), wanted[run].pop(0), there[other].pop(0))
        for arc, (run, other) in zip(arcs, pairs, strict=True)
        for _ in range(flow.flow(arc))
    ]
    return [(place, devices) for _, place, devices in sorted(matched)]


def _filled(
    question: Question, replicas: Sequence[Replica], seats: dict[Place, Devices]
) -> dict[Place, Devices] | None:
    """Seat all other stages, large shapes first, in the fullest node with room; None when they do not fit."""
    taken = {
        (question.shape[replicas[index].stages[number].shape].group, device)
        for (index, number), devices in seats.items()
        for device in devices
    }
    free = {
        group.name: [
            [d for d in range(first, min(first + group.per_node, group.devices)) if (group.name, d) not in taken]
            for first in range(0, group.devices, group.per_node)
        ]
        for group in question.groups
    }
    wanted = [
        (-len(stage.devices), index, number)
        for index, replica in enumerate(replicas)
        for number, stage in enumerate(replica.stages)
        if (index, number) not in seats
    ]
    found = dict(seats)
    for size, index, number in sorted(wanted):
        nodes = free[question.shape[replicas[index].stages[number].shape].group]
        room = [(len(node), place) for place, node in enumerate(nodes) if len(node) >= -size]
        if not room:
            return None
        node = nodes[min(room)[1]]
        found[index, number] = tuple(node[:-size])
        del node[:-size]
    return found


def _answer(question: Question, replicas: Sequence[Replica], seats: dict[Place, Devices]) -> Answer:
    return Answer(
        replicas=tuple(
            attrs.evolve(
                replica,
                stages=tuple(
                    attrs.evolve(stage, devices=seats[index, number]) for number, stage in enumerate(replica.stages)
                ),
                weight=max(1, rate_millitokens_per_second(question, replica)),
            )
            for index, replica in enumerate(replicas)
        )
    )
