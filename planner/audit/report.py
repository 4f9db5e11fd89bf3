"""The audit: every check, and every predicted instant beside the measured one."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import attrs

from planner.audit.findings import Case, Differs, Finding, Note, run_check
from planner.audit.instants import Timeline, predicted, timeline
from planner.audit.journals import NodeJournal
from planner.audit.pipeline_checks import PIPELINE_CHECKS
from planner.audit.run_checks import FIRST_CHECKS, LAST_CHECKS
from planner.audit.trace import records_of
from planner.audit.transfer_checks import TRANSFER_CHECKS
from specs import codec
from specs.checker import VerifiedPlan
from specs.invariants.facts import Facts
from specs.journal import Started
from specs.replay import Life, replay
from specs.units import Nanos

CHECKS = (*FIRST_CHECKS, *TRANSFER_CHECKS, *PIPELINE_CHECKS, *LAST_CHECKS)

CLOCKS = (
    "Instants count from the run's first transfer, by the wall clock of the node that wrote them; between nodes they "
    "are as good as their clocks agree. Durations of transfers are by the receiver's clock alone. Orders within a node "
    "are those of its records."
)


@attrs.frozen(kw_only=True)
class Comparison:
    """One predicted time and what became of it."""

    what: str  # "duration", "start", "first cover", ...
    subject: str  # the LLM, the pipeline, or the step
    predicted_ns: Nanos
    measured_ns: Nanos | None  # absent: it did not happen

    @property
    def ratio(self) -> Fraction | None:
        """Measured over predicted; None where one of them says nothing."""
        if self.measured_ns is None or self.predicted_ns <= 0:
            return None
        return Fraction(self.measured_ns, self.predicted_ns)

    @property
    def late_ns(self) -> int:
        """Measured less predicted; 0 for what did not happen."""
        return 0 if self.measured_ns is None else self.measured_ns - self.predicted_ns


@attrs.frozen(kw_only=True)
class Report:
    """What an audit says."""

    plan: str  # digest
    findings: tuple[Finding, ...]
    milestones: tuple[Comparison, ...]  # of LLMs and pipelines
    transfers: tuple[Comparison, ...]  # the start and the duration of each
    measured: Timeline

    @property
    def as_planned(self) -> bool:
        """Whether nothing differs."""
        return not any(finding.differs for finding in self.findings)


def audit(
    verified: VerifiedPlan,
    journals: Sequence[NodeJournal],
    tolerance: Fraction | None = None,
    others: Sequence[VerifiedPlan] = (),
) -> Report:
    """Compare a run with its plan, and everything that the journals have with the protocols.

    With a tolerance, a time that is more than this many times its prediction counts as a difference.  `others` are
    plans that the same nodes carried out before or after this one.
    """
    problem, plan = verified.problem, verified.plan
    case = Case(Facts(problem, plan), tuple(journals))
    records = [record for each in journals for _, record in records_of(each, case.digest, plan.generation)]
    expected, measured = predicted(plan, problem), timeline(plan, problem, records)
    milestones, transfers = tuple(_milestones(expected, measured)), tuple(_transfers(expected, measured))
    findings = tuple(run_check(check, case) for check in CHECKS)
    findings += tuple(_by_the_protocols(journals, (verified, *others)))
    if tolerance is not None:
        findings += (_in_time((*milestones, *transfers), tolerance),)
    return Report(
        plan=codec.digest(plan), findings=findings, milestones=milestones, transfers=transfers, measured=measured
    )


def _by_the_protocols(journals: Sequence[NodeJournal], plans: Sequence[VerifiedPlan]) -> Iterator[Finding]:
    """Replay the journals, of all generations that are in them."""
    lives = [Life(node=each.node, records=each.records) for each in journals]
    if not any(isinstance(each.records[0].what, Started) for each in lives):
        lives = []  # none of them is whole, and each would be said to be passed over
    replayed = replay(lives, {codec.digest(each.plan): each for each in plans})
    yield Finding(
        id="PROTOCOLS",
        sentence="each node did what the protocols say, from what it had learnt",
        examined=replayed.records - replayed.hand_over_records,
        differs=tuple(Differs(each.node, each.sentence) for each in replayed.breaches if not each.is_of_hand_over),
        notes=tuple(Note(each.node, each.sentence) for each in replayed.notes),
    )
    yield Finding(
        id="HAND-OVER",
        sentence="requests went over with their KV as the protocol says, each to one pipeline at a time",
        examined=replayed.hand_over_records,
        differs=tuple(Differs(each.node, each.sentence) for each in replayed.breaches if each.is_of_hand_over),
        notes=(),
    )


def _milestones(expected: Timeline, measured: Timeline) -> Iterator[Comparison]:
    for plan, run in zip(expected.llms, measured.llms, strict=True):
        pairs = (
            ("first cover", plan.first_cover_ns, run.first_cover_ns),
            ("full load", plan.full_load_ns, run.full_load_ns),
            ("first token", plan.first_token_ns, run.first_token_ns),
            ("first token from a receiver", plan.receiver_token_ns, run.receiver_token_ns),
        )
        for what, planned, ran in pairs:
            if planned is not None:
                yield Comparison(what=what, subject=plan.llm, predicted_ns=planned, measured_ns=ran)
    for opening, opened in zip(expected.pipelines, measured.pipelines, strict=True):
        if opening.opened_ns is not None:
            yield Comparison(
                what="opening",
                subject=opening.pipeline,
                predicted_ns=opening.opened_ns,
                measured_ns=opened.opened_ns,
            )


def _transfers(expected: Timeline, measured: Timeline) -> Iterator[Comparison]:
    for plan, run in zip(expected.transfers, measured.transfers, strict=True):
        pairs = (("start", plan.start_ns, run.start_ns), ("duration", plan.took_ns, run.took_ns))
        for what, planned, ran in pairs:
            assert planned is not None  # a plan says both of every transfer
            yield Comparison(what=what, subject=f"transfer {plan.step}", predicted_ns=planned, measured_ns=ran)


def _in_time(rows: Sequence[Comparison], tolerance: Fraction) -> Finding:
    # A first token needs a request: when one comes is not the plan's affair.
    judged = [row for row in rows if "token" not in row.what and row.ratio is not None]
    return Finding(
        id="IN-TIME",
        sentence=f"nothing took more than {float(tolerance):g} times its prediction",
        examined=len(judged),
        differs=tuple(
            Differs(row.subject, f"{row.what} is {float(row.ratio):.2f} times its prediction")
            for row in judged
            if row.ratio is not None and row.ratio > tolerance
        ),
        notes=(),
    )
