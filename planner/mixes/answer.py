"""What the search for a unit mix comes back with."""

import attrs

from specs.decisions.mix.question import Mix
from specs.witness import Witness


@attrs.frozen(kw_only=True)
class MixPlanned:
    """A mix without faults, its value, and how far it may be from the best."""

    mix: Mix
    value: int
    bound: int  # by `method`: "dual" and "exhausted" are worked out again by `specs.decisions.mix.bounds`
    method: str  # "dual", "exhausted", "solver's word" or "none"
    witness: Witness  # prices, for `price_bound`
    cuts: tuple[Witness, ...]  # for `none_below`
    nodes: int  # that `none_below` looks at; 0 when it is not needed
    price_bound: int  # what the prices alone show
    solver: str | None  # whose word it is

    @property
    def gap(self) -> int:
        """How much better another mix might be."""
        return self.value - self.bound


@attrs.frozen(kw_only=True)
class Conflict:
    """A limit that alone, if it gave way, would let a mix exist."""

    limit: str  # "devices:KIND", "changes", "cost", "floors", "demands" or "phases"
    has: int
    needs: int | None  # the least (for floors and demands the most, in parts per thousand) that suffices; None: unknown
    sentence: str


@attrs.frozen(kw_only=True)
class MixInfeasible:
    """No mix is without faults."""

    method: str  # "dual": `proves_infeasible`; "exhausted": `none_below` of any value; or "solver's word"
    witness: Witness
    cuts: tuple[Witness, ...]
    nodes: int
    solver: str | None  # whose word it is
    conflicts: tuple[Conflict, ...]  # empty: no limit suffices alone


@attrs.frozen(kw_only=True)
class MixUndecided:
    """A limit of the search ran out before a mix was found."""

    sentence: str


MixOutcome = MixPlanned | MixInfeasible | MixUndecided
