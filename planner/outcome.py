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
    """The planner found no plan and cannot show that there is none: why, in a sentence for a person."""

    sentence: str


Outcome = Planned | Infeasible | Undecided
