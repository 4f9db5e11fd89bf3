"""The parts of a page that need no script: what it is about, certificates, pipelines, what is left out."""

from collections.abc import Iterable, Sequence
from html import escape

from planner.audit.instants import Timeline
from planner.cli.plan_tables import seconds
from planner.description.wording import say_names, say_size
from planner.page.content import stages_text
from planner.page.selection import Selection
from specs import codec
from specs.invariants.facts import Facts
from specs.plan import Certificate, Measure, Method, PipelineId

_WHAT = {
    "completion": "every target holds the LLM",
    "first-cover": "the targets together hold the LLM for the first time",
    "bottleneck": "slowest stage of the pipeline, per decoded token",
}


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int]) -> str:
    """Make a table of escaped cells; columns in `numbers` are set to the right."""
    kind = [' class="number"' if index in numbers else "" for index in range(len(head))]
    top = "".join(f'<th scope="col"{kind[index]}>{escape(cell)}</th>' for index, cell in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{kind[index]}>{escape(cell)}</td>" for index, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def summary(facts: Facts, measured: Timeline | None) -> str:
    """List what the page is about."""
    problem, plan = facts.problem, facts.plan
    sources = dict.fromkeys(holding.place for holding in problem.holdings)
    places = "1 place" if len(problem.targets) == 1 else f"{len(problem.targets):,} places"
    rows = [
        ("cluster", f"{problem.cluster.name}, {len(problem.cluster.nodes):,} nodes"),
        *(("LLM", f"{llm.id}, {llm.layers} layers, {say_size(facts.llm_bytes(llm.id))}") for llm in problem.llms),
        (
            "blobs",
            f"{len(plan.blobs):,}, held at first by {say_names(sources) or 'nobody'}, wanted by {places}",
        ),
        ("transfers", f"{len(facts.hops):,}"),
        ("plan", codec.digest(plan)),
        ("problem", plan.problem),
        ("generation", str(plan.generation)),
        ("made by", ", ".join((plan.provenance.planner, *plan.provenance.solvers))),
        ("measured", "no journals were given" if measured is None else "from journals, by the nodes' wall clocks"),
    ]
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in rows) + "</dl>"


def certificates(facts: Facts) -> str:
    """Tabulate every claim with its bound, gap and reason."""
    rows = [
        (
            f"{each.claim.value} of {each.subject}",
            _WHAT[each.claim.value],
            _amount(each, each.value),
            _amount(each, each.bound) if each.method is not Method.NONE else "none",
            _gap(each),
            each.formula if each.method is Method.CLOSED_FORM else each.method.value,
        )
        for each in facts.plan.certificates
    ]
    head = ("claim", "what it means", "this plan", "no plan below", "gap", "why")
    caption = "Each value of this plan beside a bound that no plan for the same problem and blobs can beat"
    return _table(caption, head, rows, frozenset({2, 3, 4}))


def _amount(certificate: Certificate, number: int) -> str:
    return seconds(number) if certificate.measure is Measure.NANOS else f"{number:,} ticks"


def _gap(certificate: Certificate) -> str:
    if certificate.method is Method.NONE or certificate.bound == 0:
        return "0, optimal" if certificate.value == certificate.bound else "unknown"
    if certificate.value == certificate.bound:
        return "0, optimal"
    return f"{(certificate.value - certificate.bound) / certificate.bound:.2%}"


def pipelines(facts: Facts, selection: Selection, planned: Timeline, measured: Timeline | None) -> str:
    """Tabulate pipelines: stages, openings and closings, predicted and measured."""
    plan_of = {each.pipeline: each for each in planned.pipelines}
    run_of = {each.pipeline: each for each in measured.pipelines} if measured else {}
    head = ["pipeline", "stages", "slots", "opens", "closes", "then"]
    if measured:
        head += ["opened (measured)", "closed (measured)"]
    rows = []
    for pipeline in selection.pipelines:
        switch = facts.closed_by.get(pipeline.id)
        plan = plan_of[pipeline.id]
        row = [pipeline.id, stages_text(pipeline), str(pipeline.slots), _instant(plan.opened_ns), "stays", ""]
        if switch is not None:
            row[4:] = [_instant(plan.closed_ns), f"{switch.new} ({switch.continuity})"]
        if measured:
            run = run_of[PipelineId(pipeline.id)]
            row += [_instant(run.opened_ns), _instant(run.closed_ns)]
        rows.append(row)
    left_out = f". {selection.pipelines_hidden:,} more are left out" if selection.pipelines_hidden else ""
    caption = f"When each takes requests; unless said otherwise, as planned{left_out}"
    return _table(caption, head, rows, frozenset({2, 3, 4, 6, 7}))


def _instant(nanos: int | None) -> str:
    if nanos is None:
        return "-"
    return "0" if nanos == 0 else seconds(nanos)


def left_out(facts: Facts, selection: Selection) -> str:
    """Say what the page does not show; nothing when it shows everything."""
    if not selection.hidden:
        return ""
    hidden = len(facts.hops) - len(selection.hops)
    return (
        f'<p class="note">This plan has {len(facts.problem.cluster.nodes):,} nodes. The place graph and the lanes show '
        f"{len(selection.nodes)} of them, with {len(selection.hops):,} of {len(facts.hops):,} transfers; "
        f"{len(selection.hidden):,} nodes, with {hidden:,} transfers among themselves, are summed up in the strip "
        "at the end of the lanes.</p>"
    )
