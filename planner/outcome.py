"""The three answers of the planner, as types: a reader who forgets one is told by the type checker."""

import attrs

from specs.checker import VerifiedPlan


@attrs.frozen(kw_only=True)
class Planned:
    """A plan that the checker has passed."""

    verified: VerifiedPlan


@attrs.frozen(kw_only=True)
class Conflict:
    """One rule that cannot hold: where, and how much is missing, in a sentence for a person."""

    rule: str
    where: str
    sentence: str


@attrs.frozen(kw_only=True)
class Infeasible:
    """No plan exists; every conflict alone is enough."""

    conflicts: tuple[Conflict, ...]


@attrs.frozen(kw_only=True)
class Undecided:
    """A limit ran out before an answer was found; the problem may have a plan or not."""

    sentence: str


Outcome = Planned | Infeasible | Undecided
