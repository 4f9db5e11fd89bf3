"""The least that one chunk pays for its whole delivery, when every link has a price in every step.

The chunk moves through the fabric unrolled in time: it stays where it is for nothing, and pays the price of a link in a
step each time it is sent there.  What is sought is the cheapest set of sends that brings it from its holders to all its
targets (a Steiner arborescence of the unrolled fabric).  `cheapest_delivery` gives that cost exactly for a few
targets that cannot be reached for nothing, and something not above it for many.
"""

from collections.abc import Callable, Sequence

import attrs

from specs.decisions.rounds.question import Chunks, Fabric, LinkEnds, Node

# With more targets than this the exact cost takes too long: 3^targets x nodes x steps.
EXACT_TARGETS_MAX = 8

PriceOf = Callable[[LinkEnds, int], int]  # of one chunk over a link in a step from 0; at least 0


@attrs.frozen
class Unaffordable:
    """There is no delivery in so few steps at any price."""


def cheapest_delivery(fabric: Fabric, chunks: Chunks, steps: int, price: PriceOf) -> int | Unaffordable:
    """Give an amount that no delivery of one of the chunks costs less than; the least cost itself for few targets.

    Targets to which the holders can send for nothing are left out.  That changes no cost: a delivery to all is one to
    the others, and to what serves the others those sends can be added.
    """
    costly = dear_targets(fabric, chunks, steps, price)
    if not costly:
        return 0
    chunks = attrs.evolve(chunks, wanted_at=costly)
    if len(costly) <= EXACT_TARGETS_MAX:
        return _exact(fabric, chunks, steps, price)
    return _by_cuts(fabric, chunks, steps, price)


def dear_targets(fabric: Fabric, chunks: Chunks, steps: int, price: PriceOf) -> tuple[Node, ...]:
    """Give the targets that cannot be reached in time over sends that cost nothing."""
    held = set(chunks.held_by)
    for step in range(steps):
        held |= {link.destination for link in fabric.links if link.source in held and not price(link.ends, step)}
    return tuple(target for target in chunks.targets if target not in held)


# --- exact, by subsets of targets ------------------------------------------------------------------------------------

_Costs = list[int | None]  # by set of targets as bits: the least cost to serve them; None: impossible


def _exact(fabric: Fabric, chunks: Chunks, steps: int, price: PriceOf) -> int | Unaffordable:
    """Work backwards in time (Dreyfus and Wagner's recurrence on the unrolled fabric).

    costs[v][T]: a chunk that v holds after the step serves the targets T.  After the last step it serves v alone.
    Before it, T is divided: some targets are served from v's copy as it stays, the others by copies sent now.
    """
    bit = {target: 1 << index for index, target in enumerate(chunks.targets)}
    everything = (1 << len(bit)) - 1
    costs: list[_Costs] = [
        [0 if targets & ~bit.get(node, 0) == 0 else None for targets in range(everything + 1)]
        for node in range(fabric.nodes)
    ]
    for step in reversed(range(steps)):
        sent: list[_Costs] = [[None] * (everything + 1) for _ in range(fabric.nodes)]
        for link in fabric.links:
            onward, best, paid = costs[link.destination], sent[link.source], price(link.ends, step)
            for targets, cost in enumerate(onward):
                if cost is not None and targets and _less(cost + paid, best[targets]):
                    best[targets] = cost + paid
        costs = [_divided(costs[node], sent[node]) for node in range(fabric.nodes)]
    together = costs[chunks.held_by[0]]
    for holder in chunks.held_by[1:]:
        together = _divided(together, costs[holder])
    least = together[everything]
    return Unaffordable() if least is None else least


def _divided(staying: _Costs, sending: _Costs) -> _Costs:
    """Serve every set by dividing it between what stays and any number of parts of `sending`."""
    costs = list(staying)
    for targets in range(1, len(costs)):
        best = costs[targets]
        part = targets
        while part:
            paid, rest = sending[part], costs[targets ^ part]
            if paid is not None and rest is not None and (best is None or paid + rest < best):
                best = paid + rest
            part = (part - 1) & targets
        costs[targets] = best
    return costs


def _less(cost: int, other: int | None) -> bool:
    return other is None or cost < other


# --- from below, by cuts ---------------------------------------------------------------------------------------------

_Moment = tuple[Node, int]  # a node before a step; the last moment of a node is after the last step


def _by_cuts(fabric: Fabric, chunks: Chunks, steps: int, price: PriceOf) -> int | Unaffordable:
    """Pack cuts of the unrolled fabric (Wong's dual ascent).

    Take a target and the set W of moments from which it can be reached over sends whose price is used up.  While no
    holder's first moment is in W, every delivery uses some send that enters W.  So let every such send give up the
    least price that is left of any of them, and count this amount once: a delivery pays each send at most once its
    price, so the amounts counted sum to no more than what any delivery pays.  Staying is free; W is closed under it.
    """
    entering: list[list[tuple[Node, LinkEnds]]] = [[] for _ in range(fabric.nodes)]
    for link in fabric.links:
        entering[link.destination].append((link.source, link.ends))
    left = {(link.ends, step): price(link.ends, step) for link in fabric.links for step in range(steps)}
    starts = {(node, 0) for node in chunks.held_by}
    counted = 0
    for target in chunks.targets:
        while True:
            reached, border = _served(entering, left, (target, steps))
            if reached & starts:
                break
            if not border:
                return Unaffordable()
            amount = min(left[send] for send in border)
            for send in border:
                left[send] -= amount
            counted += amount
    return counted


def _served(
    entering: Sequence[Sequence[tuple[Node, LinkEnds]]], left: dict[tuple[LinkEnds, int], int], target: _Moment
) -> tuple[set[_Moment], list[tuple[LinkEnds, int]]]:
    """Find the moments that serve the target for nothing more, and the sends that enter them and still cost."""
    reached = {target}
    waiting = [target]
    costly = []
    while waiting:
        node, step = waiting.pop()
        if step == 0:
            continue
        before = [(node, step - 1)]
        for source, ends in entering[node]:
            if left[ends, step - 1] == 0:
                before.append((source, step - 1))
            else:
                costly.append(((ends, step - 1), (source, step - 1)))
        for moment in before:
            if moment not in reached:
                reached.add(moment)
                waiting.append(moment)
    return reached, [send for send, moment in costly if moment not in reached]
