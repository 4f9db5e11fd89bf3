"""The three answers of the planner, as types: a reader who forgets one is told by the type checker."""

from collections.abc import Sequence

import attrs

from specs.checker import VerifiedPlan

NOT_REACHED = "not reached"  # how `besides` begins of what is better and no order of moves leads to while all goes on


@attrs.frozen(kw_only=True)
class Tried:
    """One way to decide that was worked out, and what it achieves."""

    decision: str  # "transfers"
    subject: str
    way: str  # "packed trees, 4 pieces, 16 blobs"
    value: int
    unit: str  # of the value: "ns", "tokens", or a measure of certificates
    besides: str = ""  # another figure that decided, in words


@attrs.frozen(kw_only=True)
class Planned:
    """A plan that the checker has passed, and what else was tried: of each decision what was chosen comes first."""

    verified: VerifiedPlan
    tried: tuple[Tried, ...] = ()


@attrs.frozen(kw_only=True)
class Give:
    """One number of the problem that, by giving way this far and alone, would end a conflict."""

    limit: str  # "memory of n3/gpu0", "TPOT of llama-70b"
    allowed: int
    needed: int
    sentence: str


@attrs.frozen(kw_only=True)
class Conflict:
    """One rule that cannot hold: where, how much is missing, and what could give, in sentences for a person."""

    rule: str
    where: str
    sentence: str
    gives: tuple[Give, ...] = ()  # each alone is enough; none: no single number that we know of is
    proven: bool = True  # no plan whatever keeps the rule; else the planner knows no way to


@attrs.frozen(kw_only=True)
class Infeasible:
    """No plan exists; every conflict alone is enough."""

    conflicts: tuple[Conflict, ...]


@attrs.frozen(kw_only=True)
class Undecided:
    """The planner found no plan and cannot show that there is none: why, in a sentence for a person."""

    sentence: str
    conflicts: tuple[Conflict, ...] = ()  # what stood in the way, none of them proven


def no_plan(conflicts: Sequence[Conflict]) -> Infeasible | Undecided:
    """What conflicts, at least one, say of a problem: a single proven one is enough, and then the others are left out.

    A conflict that is not proven names numbers with which the planner finds a plan, not numbers without which there is
    none.
    """
    if proven := tuple(conflict for conflict in conflicts if conflict.proven):
        return Infeasible(conflicts=proven)
    said = "; ".join(f"{conflict.rule} at {conflict.where}: {conflict.sentence}" for conflict in conflicts)
    return Undecided(sentence=f"nothing that was tried keeps {said}", conflicts=tuple(conflicts))


Outcome = Planned | Infeasible | Undecided
