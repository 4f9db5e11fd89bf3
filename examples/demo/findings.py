"""What a run shows: times from the nodes' journals, tokens from the clients, predictions from the plan."""

from collections.abc import Mapping, Sequence

import attrs
from rich.table import Table

from examples.demo.load import Answer
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.journal import Adopted, BlobHeld, FirstToken, Record
from specs.plan import Activate, Claim, Measure, PipelineId
from specs.units import NANOS_PER_SECOND


@attrs.frozen(kw_only=True)
class Findings:
    """Instants count from the moment at which the plan was put, in ns; None is "never"."""

    adopted_ns: int  # by the last node
    first_cover_ns: int | None  # the receivers together hold the LLM
    first_receiver_token_ns: int | None  # from a pipeline with a stage on a receiving node
    full_load_ns: int | None  # every receiver holds the LLM
    first_token_ns: int | None  # of all, at a client
    tokens_before_full_load: int
    requests_through_receivers: int  # that began in a pipeline with a receiving node before the full load
    predicted: Mapping[str, int]  # of the three in the middle, by the plan
    requests: int
    answered: int
    equal: int  # requests whose tokens are the oracle's

    @property
    def is_good(self) -> bool:
        """Whether every request was answered with the oracle's tokens, and receivers served before their full load."""
        first, full = self.first_receiver_token_ns, self.full_load_ns
        early = first is not None and full is not None and first < full
        return early and self.requests == self.answered == self.equal


def find(
    verified: VerifiedPlan,
    journals: Mapping[NodeId, Sequence[Record]],
    put_unix_ns: int,
    judged: Sequence[tuple[Answer, bool]],
) -> Findings:
    """Put together what happened; `judged` says of each answer whether its tokens are the oracle's."""
    problem, plan = verified.problem, verified.plan
    node_of = {place.id: place.node for place in problem.cluster.places}
    receivers = {node_of[target.place] for target in problem.targets}
    through = {p.id for p in plan.pipelines if any(node_of[stage.place] in receivers for stage in p.stages)}
    records = sorted((r for rows in journals.values() for r in rows), key=lambda record: record.at_unix_ns)
    copies: dict[tuple[NodeId, str], int] = {}
    for record in records:
        if isinstance(record.what, BlobHeld) and record.node in receivers:
            copies.setdefault((record.node, record.what.blob), record.at_unix_ns - put_unix_ns)
    first_copies: dict[str, int] = {}
    for (_, blob), at_ns in copies.items():
        first_copies[blob] = min(at_ns, first_copies.get(blob, at_ns))
    is_full = len(copies) == len(receivers) * len(plan.blobs)
    full_ns = max(copies.values()) if is_full else None
    firsts = [
        record.at_unix_ns - put_unix_ns
        for record in records
        if isinstance(record.what, FirstToken) and record.what.pipeline in through
    ]
    named = sorted(at - put_unix_ns for answer, _ in judged for at in answer.named_unix_ns)
    return Findings(
        adopted_ns=max(r.at_unix_ns - put_unix_ns for r in records if isinstance(r.what, Adopted)),
        first_cover_ns=max(first_copies.values()) if len(first_copies) == len(plan.blobs) else None,
        first_receiver_token_ns=firsts[0] if firsts else None,
        full_load_ns=full_ns,
        first_token_ns=named[0] if named else None,
        tokens_before_full_load=sum(full_ns is None or at < full_ns for at in named),
        requests_through_receivers=sum(full_ns is None or at < full_ns for at in firsts),
        predicted=_predicted(verified, through),
        requests=len(judged),
        answered=sum(answer.finish is not None for answer, _ in judged),
        equal=sum(equal for _, equal in judged),
    )


def _predicted(verified: VerifiedPlan, through: set[PipelineId]) -> Mapping[str, int]:
    claims = {each.claim: each.value for each in verified.plan.certificates if each.measure is Measure.NANOS}
    opens = [s.at_ns for s in verified.plan.steps if isinstance(s, Activate) and s.pipeline in through]
    return {"cover": claims[Claim.FIRST_COVER], "full": claims[Claim.COMPLETION], "opening": min(opens)}


def table_of(found: Findings) -> Table:
    """Tabulate the findings."""
    table = Table(title="what happened (seconds since the plan was put; wall clock of this machine)")
    table.title_justify = "left"
    table.add_column("")
    table.add_column("predicted", justify="right")
    table.add_column("measured", justify="right")
    predicted = found.predicted
    rows = (
        ("plan verified and adopted by the last node", None, found.adopted_ns),
        ("first token of all, at a client", None, found.first_token_ns),
        ("first token from a pipeline with a receiving node", predicted["opening"], found.first_receiver_token_ns),
        ("first cover: the receivers together hold the LLM", predicted["cover"], found.first_cover_ns),
        ("full load: every receiver holds the LLM", predicted["full"], found.full_load_ns),
    )
    for name, before_ns, after_ns in rows:
        table.add_row(name, "" if before_ns is None else _seconds(before_ns), _seconds(after_ns))
    table.add_section()
    table.add_row("tokens served before the full load", "", f"{found.tokens_before_full_load:,}")
    table.add_row("requests begun on receiving nodes before it", "", f"{found.requests_through_receivers:,}")
    table.add_row("requests answered", "", f"{found.answered} of {found.requests}")
    table.add_row("requests whose tokens equal the oracle's", "", f"{found.equal} of {found.requests}")
    return table


def _seconds(nanos: int | None) -> str:
    return "never" if nanos is None else f"{nanos / NANOS_PER_SECOND:.2f}"
