"""What is said of one decision: its figures, what binds, what else was tried, what more of a resource would buy."""

from enum import StrEnum

import attrs

from planner.cli.plan_tables import seconds
from specs.plan import Measure


class Figure(StrEnum):
    """Which figure more of a resource moves; a bound says what may become possible, the others what does."""

    BOUND = "bound"  # of every plan, derived again
    VALUE = "value"  # of a plan that was made again, or of this one where that is no worse
    PREDICTION = "prediction"  # of this plan, with more of the resource


@attrs.frozen(kw_only=True)
class Worth:
    """What one more unit of one resource buys; nothing, where both figures are equal."""

    resource: str  # "rate of n0/nic0>leaf"
    more: str  # the unit: "1 GB/s more"
    figure: Figure
    before: int
    after: int
    unit: str  # of both figures

    @property
    def sentence(self) -> str:
        """Say the figures, or that nothing moves as far as is known."""
        if self.before == self.after:
            # A search that was short may have missed one.
            return "no better plan found" if self.figure is Figure.VALUE else f"{self.figure} as it is"
        return f"{self.figure} {say(self.before, self.unit)} → {say(self.after, self.unit)}"


@attrs.frozen(kw_only=True)
class Explained:
    """One decision of a plan.  Figures are in `unit`; sentences are for a person."""

    decision: str  # "completion of transfers"
    subject: str  # the LLM or the pipeline
    unit: str
    value: int
    allowed: int | None = None  # what was promised; absent: nothing was
    bound: int | None = None  # no plan is better; absent: not known
    method: str = "none"  # how the bound, or a value that is predicted, is known
    binding: str
    runner_up: str | None = None  # the best alternative that was worked out; absent: none was
    worth: tuple[Worth, ...] = ()
    left_out: str | None = None  # what was not worked out, because it would take long; absent: nothing

    @property
    def gap(self) -> int | None:
        """How much better another plan might be, in `unit`; None: not known."""
        return None if self.bound is None else abs(self.value - self.bound)


def say(amount: int, unit: str) -> str:
    """Write a figure for a person."""
    return seconds(amount) if unit == Measure.NANOS else f"{amount:,} {unit}"


@attrs.frozen(kw_only=True)
class LeftOut:
    """A decision that is not explained: which, and why."""

    decision: str
    subject: str
    sentence: str
