"""Least rounds by trying every schedule: who holds what, step after step."""

from collections import Counter
from itertools import product

from specs.decisions.rounds.question import Question

State = tuple[frozenset[int], ...]  # by chunk: the nodes that hold it


def least_rounds(question: Question) -> int | None:
    """The fewest rounds in exactly the question's steps; None: not within the question's."""
    kinds = [chunks for chunks in question.chunks for _ in range(chunks.count)]
    start = tuple(frozenset(kind.held_by) for kind in kinds)
    after: dict[tuple[State, int], set[State]] = {}
    for rounds in range(question.steps, question.rounds + 1):
        for division in product(range(1, rounds + 1), repeat=question.steps):
            if sum(division) != rounds:
                continue
            states = {start}
            for length in division:
                for state in states:
                    if (state, length) not in after:
                        after[state, length] = successors(question, state, length)
                states = maximal(set().union(*(after[state, length] for state in states)))
            if any(all(held.issuperset(kind.wanted_at) for held, kind in zip(s, kinds, strict=True)) for s in states):
                return rounds
    return None


def successors(question: Question, state: State, length: int) -> set[State]:
    """Every state after one step of so many rounds that is not part of another."""
    fabric = question.fabric
    missing = [(chunk, node) for chunk, held in enumerate(state) for node in range(fabric.nodes) if node not in held]
    found: set[State] = set()

    def extend(index: int, used: Counter[str], now: State) -> None:
        if index == len(missing):
            found.add(now)
            return
        chunk, node = missing[index]
        extend(index + 1, used, now)
        for link in fabric.links:
            if link.destination != node or link.source not in state[chunk]:
                continue
            limits = {link.name: link.chunks_per_round}
            limits |= {each.name: each.chunks_per_round for each in fabric.shared if link.ends in each.links}
            if all(used[name] < limit * length for name, limit in limits.items()):
                extend(index + 1, used + Counter(limits.keys()), (*now[:chunk], now[chunk] | {node}, *now[chunk + 1 :]))

    extend(0, Counter(), state)
    return maximal(found)


def maximal(states: set[State]) -> set[State]:
    """Only those that are not part of another: to hold more is never worse."""

    def within(one: State, other: State) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    return {state for state in states if not any(within(state, other) for other in states)}
