"""The state of a cluster whose nodes go from plan to plan, and of the world around them."""

from collections.abc import Mapping

import attrs

from specs.protocols import plan_switch_nouns as sw
from specs.protocols.node import InForce
from specs.protocols.nouns import NodePlan, Report


@attrs.frozen(kw_only=True, cache_hash=True)
class Faults:
    """How many of each may still happen."""

    losses: int = 0  # of words, reports or documents
    deaths: int = 0
    restarts: int = 0
    suspicions: int = 0  # a node that lives counts as lost


@attrs.frozen(kw_only=True, cache_hash=True)
class Node:
    switch: sw.SwitchState
    now: InForce | None = None
    life: int = 0
    listens: bool = False
    at: str | None = None  # the pipeline that its request was submitted to
    shut: frozenset[str] = frozenset()  # as in the front
    over: frozenset[str] = frozenset()


Word = tuple[int, int, int, sw.Standing]  # teller, hearer, life of the teller
Told = tuple[int, int, int, sw.PlanName, Report]


@attrs.frozen(kw_only=True, cache_hash=True)
class World:
    nodes: tuple[Node, ...]
    disks: tuple[int, ...]
    offers: frozenset[tuple[int, sw.Offer]]  # (node, plan): may still be made
    faults: Faults
    dead: frozenset[int] = frozenset()
    words: frozenset[Word] = frozenset()
    reports: frozenset[Told] = frozenset()
    documents: frozenset[tuple[int, sw.Offer]] = frozenset()  # (asker, plan)
    taken: frozenset[tuple[int, str]] = frozenset()  # (front, pipeline): its leader works on the front's request
    ended: frozenset[tuple[int, int, str]] = frozenset()  # (leader, its life, pipeline): it was closed
    breaches: frozenset[str] = frozenset()


class Plans:
    """The plans that a cluster may ever have: how they are offered, and what they are for each node."""

    def __init__(self, first: sw.Offer, plans: Mapping[sw.Offer, tuple[NodePlan, ...]]) -> None:
        self.first = first
        self.of = {(offer.name, plan.node): plan for offer, parts in plans.items() for plan in parts}
        parts = [part for plan in self.of.values() for part in plan.parts]
        self.members = {part.pipeline: part.members for part in parts}


def shown(letter: Word | Told) -> str:
    """Show what a letter says."""
    if len(letter) == 4:
        standing = letter[3]
        plans = ((word, getattr(standing, word)) for word in ("adopted", "accepted"))
        said = [f"{word} {plan.generation}" for word, plan in plans if plan is not None]
        return ", ".join(said + [f"declined {each.plan.generation}" for each in standing.declined]) or "nothing"
    told = ((field.name, getattr(letter[4], field.name)) for field in attrs.fields(Report))
    said = [f"{name} {','.join(map(str, value))}" for name, value in told if value]
    return f"under {letter[3].generation}: " + ("; ".join(said) or "alive")
