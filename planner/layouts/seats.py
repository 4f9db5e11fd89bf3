"""Which devices of their groups the chosen pipelines get."""

from collections.abc import Sequence

import attrs

from specs.decisions.layout.answer import Answer, Replica
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import rate_millitokens_per_second


def seated(question: Question, replicas: Sequence[Replica]) -> Answer | None:
    """Give every stage its devices, large shapes first, in the fullest node with room; None when they do not fit.

    Weights of requests are in proportion to rates.
    """
    free = {
        group.name: [
            list(range(first, min(first + group.per_node, group.devices)))
            for first in range(0, group.devices, group.per_node)
        ]
        for group in question.groups
    }
    wanted = [
        (-len(stage.devices), index, number)
        for index, replica in enumerate(replicas)
        for number, stage in enumerate(replica.stages)
    ]
    seats: dict[tuple[int, int], tuple[int, ...]] = {}
    for size, index, number in sorted(wanted):
        nodes = free[question.shape[replicas[index].stages[number].shape].group]
        room = [(len(node), place) for place, node in enumerate(nodes) if len(node) >= -size]
        if not room:
            return None
        node = nodes[min(room)[1]]
        seats[index, number] = tuple(node[:-size])
        del node[:-size]
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
