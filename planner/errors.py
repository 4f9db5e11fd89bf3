"""The exceptions of this package.

    PlannerError             base; never raised itself
    +-- BadDescription       a description that cannot be understood: every fault found, each with its place
    +-- BadCheckpoint        a checkpoint directory that is not what it should be: which file, what, what instead
    +-- BadPlan              a plan file that cannot be read, or a plan that is not what it should be
    +-- BadJournal           a file that is no journal, or is of another plan: which file, which line, what instead
    +-- BadState             a running cluster that gives no state, or a file that is none: why
    +-- CannotCut            more blocks asked for than an LLM has layers
    +-- CannotWrite          a file that was asked for and cannot be written
    +-- BadQuantity          a text that is not the quantity it should be: what, and what instead

Infeasible and undecided are expected outcomes, not exceptions.
"""


class PlannerError(Exception):
    """Input that cannot be taken."""


class BadDescription(PlannerError):
    """A description with faults; each is one sentence that begins with `file:line:column:`."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class BadCheckpoint(PlannerError):
    """A checkpoint that cannot be read, in one sentence."""


class BadPlan(PlannerError):
    """A plan that cannot be taken from its file: which file, what, what instead."""


class BadJournal(PlannerError):
    """A journal that cannot be read, in one sentence that begins with its file and line."""


class BadState(PlannerError):
    """The state of a running cluster that cannot be taken: from which node or file, and why."""


class CannotCut(PlannerError):
    """A number of blocks into which an LLM cannot be cut."""


class CannotWrite(PlannerError):
    """A file that was asked for and cannot be written: which, and why."""


class BadQuantity(PlannerError):
    """A quantity that cannot be understood, in one sentence without its place."""
