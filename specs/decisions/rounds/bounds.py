"""What no schedule can beat: least steps by distance; least rounds by a cut, and by prices of links in steps."""

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from math import ceil, comb

import attrs

from specs.decisions.rounds.delivery import Unaffordable, cheapest_delivery
from specs.decisions.rounds.question import Fabric, LinkEnds, Node, Question
from specs.errors import MalformedDocument
from specs.units import ceil_div
from specs.witness import Witness

# Dividing rounds over steps is enumerated up to this many divisions; beyond, each price list speaks for itself.
_DIVISIONS_MAX = 20_000


@attrs.frozen(kw_only=True)
class Unreachable:
    """No schedule exists, however many rounds it takes: why, in a sentence."""

    sentence: str


def steps_bound(question: Question) -> int | Unreachable:
    """Fewest steps of any schedule: a chunk crosses one link per step.

    So no target has it before as many steps as the links on the shortest path from a holder; and a schedule has a step.
    """
    least = 1
    for index, chunks in enumerate(question.chunks):
        distance = distances(question.fabric, chunks.held_by)
        for target in chunks.targets:
            if target not in distance:
                return Unreachable(sentence=f"no path leads from a holder of chunks {index} to node {target}")
            least = max(least, distance[target])
    return least


def distances(fabric: Fabric, starts: Sequence[Node]) -> dict[Node, int]:
    """Count the links from the nearest start to every node that can be reached."""
    found = dict.fromkeys(starts, 0)
    waiting = deque(starts)
    while waiting:
        node = waiting.popleft()
        for source, destination in fabric.by_ends:
            if source == node and destination not in found:
                found[destination] = found[node] + 1
                waiting.append(destination)
    return found


def growth_rounds_bound(question: Question) -> int:
    """Fewest rounds by how fast the nodes that hold anything become more.

    Let a node's sending capacity be what can leave it per round, and its receiving capacity what can enter it.  In a
    step of r rounds only nodes that held some chunk before can send, so no more chunks are sent than r times the
    sending capacities of as many nodes, the largest; each of them lets at most one more node hold something; and at
    nodes that want chunks no more arrive than r times their receiving capacities.  So for any division of rounds into
    steps, the arrivals are bounded step by step, and must in the end be as many as are wanted.  With one port per node
    and steps of one round this is the doubling of `specs.bounds`.
    Divisions are tried one by one when they are few enough; else only one round per step is claimed.
    """
    fabric = question.fabric
    nodes = set(range(fabric.nodes))
    sending = sorted((_entering_capacity(fabric, nodes - {node}) for node in nodes), reverse=True)
    wanting = {target for chunks in question.chunks for target in chunks.targets}
    receiving = sum(_entering_capacity(fabric, {node}) for node in wanting)
    holding = len({node for chunks in question.chunks if chunks.targets for node in chunks.held_by})
    wanted = sum(chunks.count * len(chunks.targets) for chunks in question.chunks)

    def enough(division: Sequence[int]) -> bool:
        holders, arrived = holding, 0
        for rounds in division:
            sent = rounds * sum(sending[:holders])
            arrived += min(sent, rounds * receiving)
            holders = min(fabric.nodes, holders + sent)
        return arrived >= wanted

    least = question.steps
    if wanted and min(receiving, sum(sending[:holding])) == 0:
        return least  # nothing can move: distances say so
    while comb(least - 1, question.steps - 1) <= _DIVISIONS_MAX:
        if any(enough(division) for division in divisions(least, question.steps)):
            break
        least += 1
    return least


# --- a cut -----------------------------------------------------------------------------------------------------------


def cut_rounds_bound(question: Question, witness: Witness) -> int | Unreachable:
    """Fewest rounds by a set of nodes: `cut_rounds_per_copy`, rounded up; and at least one per step."""
    least = cut_rounds_per_copy(question, witness)
    return least if isinstance(least, Unreachable) else max(question.steps, ceil(least))


def cut_rounds_per_copy(question: Question, witness: Witness) -> Fraction | Unreachable:
    """Rounds that each copy of all chunks needs at least, by a set of nodes.

    The witness names the nodes ("3"), each with the amount 1.  Every chunk that a node of the set wants and none holds
    enters the set at least once, over a link into it.  A round lets `_entering_capacity` chunks in, so the rounds are
    at least their quotient, however many steps there are; and of C copies C times as many enter.
    Raises MalformedDocument when the witness names anything but nodes.
    """
    inside = _members(question.fabric, witness)
    entering = sum(
        chunks.count
        for chunks in question.chunks
        if inside.intersection(chunks.wanted_at) and not inside.intersection(chunks.held_by)
    )
    if entering == 0:
        return Fraction(0)
    capacity = _entering_capacity(question.fabric, inside)
    if capacity == 0:
        return Unreachable(sentence=f"{entering} chunks must enter nodes {sorted(inside)}, and no link leads there")
    return Fraction(entering, capacity)


def _members(fabric: Fabric, witness: Witness) -> set[Node]:
    nodes = {str(node): node for node in range(fabric.nodes)}
    for price in witness:
        if price.name not in nodes or price.amount != 1:
            raise MalformedDocument(f"a cut names nodes with the amount 1, not {price.name} with {price.amount}")
    return {nodes[price.name] for price in witness}


def _entering_capacity(fabric: Fabric, inside: set[Node]) -> int:
    """Chunks per round that can enter the set, from above.

    Each entering link counts with one of its shared capacities, the one that most entering links share: the links
    counted together carry no more than that, and no more than their own capacities.
    """
    entering = [link for link in fabric.links if link.source not in inside and link.destination in inside]
    ends = {link.ends for link in entering}
    capacity = 0
    for shared in sorted(fabric.shared, key=lambda each: -len(ends.intersection(each.links))):
        together = [link for link in entering if link.ends in shared.links]
        capacity += min(shared.chunks_per_round, sum(link.chunks_per_round for link in together))
        entering = [link for link in entering if link.ends not in shared.links]
    return capacity + sum(link.chunks_per_round for link in entering)


# --- prices ----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Toll:
    """What one price list proves: sum over steps of rounds x per_round is at least `due`."""

    due: int  # what all deliveries pay at least
    per_round: tuple[int, ...]  # by step: what all links together can take in a round of it

    @property
    def rounds_per_copy(self) -> Fraction:
        """Rounds that each copy of all chunks needs at least, in as many steps and however many copies there are.

        C copies owe C times as much, and R rounds bring in at most R max(per_round).
        """
        return Fraction(self.due, max(self.per_round)) if self.due else Fraction(0)


def toll(question: Question, witness: Witness) -> Toll | Unreachable:
    """Work out what a price list proves about the rounds r_0, r_1, .. of any schedule.

    The witness prices a chunk over a link in a step ("0>1@2") or under a shared capacity in a step ("port@2"; whoever
    sends over one of its links pays that too).  In any schedule every chunk pays at least `cheapest_delivery` for its
    sends, so all pay at least the sum over chunks: `due`.  On the other side, in step s a carrier of capacity c takes
    at most c r_s chunks, so all chunks together pay at most r_s times the sum over carriers of price x capacity:
    `per_round`.  Hence  sum over s of r_s per_round[s] >= due,  for any prices.
    Raises MalformedDocument when the witness names anything but carriers in steps.
    """
    paid, per_round = _tariff(question, witness)
    due = 0
    for index, chunks in enumerate(question.chunks):
        least = cheapest_delivery(question.fabric, chunks, question.steps, lambda ends, step: paid.get((ends, step), 0))
        if isinstance(least, Unaffordable):
            return Unreachable(sentence=f"chunks {index} need more than {question.steps} steps")
        due += chunks.count * least
    return Toll(due=due, per_round=per_round)


def _tariff(question: Question, witness: Witness) -> tuple[dict[tuple[LinkEnds, int], int], tuple[int, ...]]:
    """Turn prices of carriers into what a send pays, and what a round of each step can take in."""
    carriers = {carrier.name: carrier for carrier in question.fabric.carriers}
    paid: dict[tuple[LinkEnds, int], int] = {}
    per_round = [0] * question.steps
    for price in witness:
        name, _, digits = price.name.rpartition("@")
        step = int(digits) if digits.isdecimal() else question.steps
        if name not in carriers or step >= question.steps:
            raise MalformedDocument(f"{price.name} is not a link or shared capacity in a step below {question.steps}")
        per_round[step] += price.amount * carriers[name].chunks_per_round
        for ends in carriers[name].links:
            paid[ends, step] = paid.get((ends, step), 0) + price.amount
    return paid, tuple(per_round)


def priced_rounds_bound(question: Question, witnesses: tuple[Witness, ...]) -> int | Unreachable:
    """Fewest rounds that the tolls of all these price lists allow."""
    tolls = []
    for witness in witnesses:
        found = toll(question, witness)
        if isinstance(found, Unreachable):
            return found
        tolls.append(found)
    return rounds_allowed(tolls, question.steps)


def rounds_allowed(tolls: Sequence[Toll], steps: int) -> int:
    """Fewest rounds of which some division into steps of at least one round each keeps every toll.

    All divisions are tried when they are few enough; else each toll speaks alone: with at least one round per step, R
    rounds bring in at most sum(per_round) + (R - steps) max(per_round).  No toll at all leaves one round per step.
    """
    least = steps
    for each in tolls:
        missing = each.due - sum(each.per_round)
        if missing > 0:
            # A due is owed at some price, and whatever has a price has a capacity: the divisor is positive.
            least = max(least, steps + ceil_div(missing, max(each.per_round)))
    while refuted(tolls, steps, least):
        least += 1
    return least


def refuted(tolls: Sequence[Toll], steps: int, rounds: int) -> bool:
    """Say whether every division of the rounds breaks some toll; no when the divisions are too many to try."""
    if comb(rounds - 1, steps - 1) > _DIVISIONS_MAX:
        return False
    return all(broken(tolls, division) for division in divisions(rounds, steps))


def broken(tolls: Sequence[Toll], division: Sequence[int]) -> bool:
    """Say whether a division of rounds into steps breaks some toll."""
    return any(sum(map(int.__mul__, division, each.per_round)) < each.due for each in tolls)


def divisions(rounds: int, steps: int) -> Iterator[tuple[int, ...]]:
    """Every way to give each step at least one of the rounds; ascending."""
    for ends in combinations(range(1, rounds), steps - 1):
        yield tuple(end - begin for begin, end in zip((0, *ends), (*ends, rounds), strict=True))
