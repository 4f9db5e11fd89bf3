"""The parts of a page that need no script: what it is about, certificates, pipelines, what is left out."""

from collections.abc import Iterator
from html import escape

from planner.audit.instants import Timeline
from planner.cli.plan_tables import amount, gap, seconds, slots_text
from planner.description.wording import say_names, say_size
from planner.page.content import stages_text
from planner.page.markup import table
from planner.page.selection import Selection
from specs import codec
from specs.invariants.facts import Facts
from specs.plan import Certificate, Method, PipelineId

_WHAT = {
    "completion": "every target holds the LLM",
    "first-cover": "the targets together hold the LLM for the first time",
    "makespan": "the last transfer of all LLMs ends",
    "bottleneck": "slowest stage of the pipeline, per decoded token",
    "goodput": "output of the full pipelines of the service",
    "tpot": "time per output token of the slowest pipeline of the service, all slots in use",
    "devices": "devices that the service uses",
    "cost": "rent of the devices that the service uses",
    "start": "mean time in which what stands by starts, over the requests of all",
}


def summary(facts: Facts, measured: Timeline | None) -> str:
    """List what the page is about."""
    problem, plan = facts.problem, facts.plan
    sources = dict.fromkeys(holding.place for holding in problem.holdings if holding.whole)
    parts = dict.fromkeys(holding.place for holding in problem.holdings if not holding.whole)
    held = say_names(sources) + (", in part by " if sources else "in part by ") * bool(parts) + say_names(parts)
    rows = [
        ("cluster", f"{problem.cluster.name}, {len(problem.cluster.nodes):,} nodes"),
        *(("LLM", f"{llm.id}, {llm.layers} layers, {say_size(facts.llm_bytes(llm.id))}") for llm in problem.llms),
        (
            "blobs",
            f"{len(plan.blobs):,}, held at first by {held or 'nobody'}",
        ),
        ("wanted", ", ".join(_wanted(facts)) or "nothing"),
        ("transfers", f"{len(facts.hops):,}"),
        ("plan", codec.digest(plan)),
        ("problem", plan.problem),
        ("generation", str(plan.generation)),
        ("made by", ", ".join((plan.provenance.planner, *plan.provenance.solvers))),
        ("measured", "no journals were given" if measured is None else "from journals, by the nodes' wall clocks"),
    ]
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in rows) + "</dl>"


def _wanted(facts: Facts) -> Iterator[str]:
    """Say what each LLM is to do at the end."""
    problem = facts.problem
    count = len(problem.targets)
    if count:
        yield "serving at 1 place" if count == 1 else f"serving at {count:,} places"
    for service in problem.services:
        yield f"service {service.llm} on up to {len(service.places):,} devices, best in {service.objective.value}"
    for standby in problem.standbys:
        yield f"{standby.llm} standing by, to start in {seconds(standby.start_ns_max)}"


def certificates(facts: Facts) -> str:
    """Tabulate every claim with its bound, gap and reason."""
    rows = [
        (
            f"{each.claim.value} of {each.subject}",
            _WHAT[each.claim.value],
            amount(each.measure, each.value),
            amount(each.measure, each.bound) if each.method is not Method.NONE else "none",
            _gap(each),
            each.formula if each.method is Method.CLOSED_FORM else each.method.value,
        )
        for each in facts.plan.certificates
    ]
    head = ("claim", "what it means", "this plan", "no plan is better than", "gap", "why")
    caption = "Each value of this plan beside a bound that no plan for the same problem and blobs can beat"
    return table(caption, head, rows, frozenset({2, 3, 4}))


def _gap(certificate: Certificate) -> str:
    if certificate.method is Method.NONE and certificate.value != certificate.bound:
        return "unknown"
    return gap(certificate)


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
        row = [pipeline.id, stages_text(pipeline), slots_text(facts, pipeline), _instant(plan.opened_ns), "stays", ""]
        if switch is not None:
            row[4:] = [_instant(plan.closed_ns), f"{switch.new} ({switch.continuity})"]
        if measured:
            run = run_of[PipelineId(pipeline.id)]
            row += [_instant(run.opened_ns), _instant(run.closed_ns)]
        rows.append(row)
    left_out = f". {selection.pipelines_hidden:,} more are left out" if selection.pipelines_hidden else ""
    caption = f"When each takes requests; unless said otherwise, as planned{left_out}"
    return table(caption, head, rows, frozenset({2, 3, 4, 6, 7}))


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
