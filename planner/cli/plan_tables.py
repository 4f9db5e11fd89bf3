"""Plans as tables: how good they are, which pipelines open when."""

from rich.table import Table

from specs.checker import VerifiedPlan
from specs.invariants.facts import Facts
from specs.plan import Activate, Certificate, Measure, Pipeline, Resize, Stage, Switch, Transfer
from specs.units import NANOS_PER_SECOND


def seconds(nanos: int) -> str:
    """Write a duration for a person."""
    if nanos == 0:
        return "0 s"
    if nanos >= NANOS_PER_SECOND:
        return f"{nanos / NANOS_PER_SECOND:.3f} s"
    return f"{nanos / 1e6:.3f} ms" if nanos >= 1_000_000 else f"{nanos / 1e3:.3f} us"


def amount(measure: Measure, number: int) -> str:
    """Write a figure of a certificate for a person."""
    match measure:
        case Measure.NANOS:
            return seconds(number)
        case Measure.MILLITOKENS_PER_SECOND:
            return f"{number / 1000:,.1f} tokens/s"
        case Measure.MICRODOLLARS_PER_HOUR:
            return f"${number / 1_000_000:,.2f}/h"
        case _:
            return f"{number:,} {measure.value}"


def gap(certificate: Certificate) -> str:
    """Say how much better another plan might be, as a part of the bound."""
    if certificate.value == certificate.bound:
        return "0, optimal"
    if not certificate.bound:
        return "unknown"
    return f"{abs(certificate.value - certificate.bound) / certificate.bound:.2%}"


def _units(stage: Stage) -> str:
    last = stage.end_unit - 1
    return f"{stage.first_unit}" if last == stage.first_unit else f"{stage.first_unit}-{last}"


def slots_text(facts: Facts, pipeline: Pipeline) -> str:
    """Say how many slots a pipeline has, and from when on where that changes."""
    if pipeline.id not in facts.opened_ns:
        return str(pipeline.slots)
    (_, first), *changes = facts.slots_over_time(pipeline.id)
    return ", ".join([str(first), *(f"{slots} from {seconds(at_ns)}" for at_ns, slots in changes)])


def certificate_table(verified: VerifiedPlan) -> Table:
    """Tabulate every claim with its bound and gap."""
    table = Table(title="how good it is", title_justify="left")
    for column, side in (("claim", "left"), ("of", "left"), ("value", "right"), ("bound", "right"), ("gap", "right")):
        table.add_column(column, justify="right" if side == "right" else "left", overflow="fold")
    table.add_column("how the bound is known", overflow="fold")
    for each in verified.plan.certificates:
        row = (
            each.claim.value,
            each.subject,
            amount(each.measure, each.value),
            amount(each.measure, each.bound),
            gap(each),
        )
        table.add_row(*row, f"{each.method.value}: {each.formula}")
    return table


def pipeline_table(verified: VerifiedPlan, rows_max: int = 40) -> Table:
    """Tabulate pipelines: where their stages are, when they open and close, how many slots they have."""
    plan, facts = verified.plan, Facts(verified.problem, verified.plan)
    opens = {step.pipeline: step.at_ns for step in plan.steps if isinstance(step, Activate)}
    closes = {step.old: step for step in plan.steps if isinstance(step, Switch)}
    table = Table(title="pipelines", title_justify="left")
    for column in ("pipeline", "stages (place: units)", "slots", "opens", "closes", "then"):
        table.add_column(column, overflow="fold")  # a name that is cut off names nothing
    running = [each.pipeline for each in verified.problem.running]
    pipelines = (*running, *plan.pipelines)
    for pipeline in pipelines[:rows_max]:
        stages = ", ".join(f"{stage.place}: {_units(stage)}" for stage in pipeline.stages)
        switch = closes.get(pipeline.id)
        end = ("stays", "") if switch is None else (seconds(switch.at_ns), switch.new)
        begin = seconds(opens[pipeline.id]) if pipeline.id in opens else "runs"
        table.add_row(pipeline.id, stages, slots_text(facts, pipeline), begin, *end)
    if len(pipelines) > rows_max:
        table.add_row(f"... and {len(pipelines) - rows_max} more", *[""] * (len(table.columns) - 1))
    return table


def resident_table(verified: VerifiedPlan) -> Table | None:
    """Tabulate copies that stand by, and from where into which device they start; None where there are none."""
    if not verified.plan.residents:
        return None
    links = {link.id: link for link in verified.problem.cluster.links}
    table = Table(title="standing by", title_justify="left")
    for column in ("LLM", "rests in", "starts in"):
        table.add_column(column, overflow="fold")
    for each in verified.plan.residents:
        into = each.place if each.route is None else links[verified.plan.routes[each.route].links[-1]].destination
        table.add_row(each.llm, each.place, into)
    return table


def plan_summary(verified: VerifiedPlan) -> dict[str, object]:
    """Summarise a plan for programs."""
    plan = verified.plan
    return {
        "problem": plan.problem,
        "generation": plan.generation,
        "parent": plan.parent,
        "planner": plan.provenance.planner,
        "solvers": list(plan.provenance.solvers),
        "seed": plan.provenance.seed,
        "steps_max": plan.provenance.steps_max,
        "within_ns": plan.provenance.within_ns,
        "aim": plan.provenance.aim.value,
        "blobs": len(plan.blobs),
        "transfers": sum(isinstance(step, Transfer) for step in plan.steps),
        "running": [
            {"id": each.pipeline.id, "requests": each.live_requests, "tokens": each.live_tokens}
            for each in verified.problem.running
        ],
        "switches": [
            {"old": step.old, "new": step.new, "continuity": step.continuity.value, "at_ns": step.at_ns}
            for step in plan.steps
            if isinstance(step, Switch)
        ],
        "resizes": [
            {"pipeline": step.pipeline, "slots": step.slots, "at_ns": step.at_ns}
            for step in plan.steps
            if isinstance(step, Resize)
        ],
        "pipelines": [
            {
                "id": pipeline.id,
                "llm": pipeline.llm,
                "stages": [
                    {"place": stage.place, "first_unit": stage.first_unit, "end_unit": stage.end_unit}
                    for stage in pipeline.stages
                ],
            }
            for pipeline in plan.pipelines
        ],
        "residents": [{"llm": each.llm, "place": each.place} for each in plan.residents],
        "certificates": [
            {
                "claim": each.claim.value,
                "subject": each.subject,
                "measure": each.measure.value,
                "value": each.value,
                "bound": each.bound,
                "method": each.method.value,
                "formula": each.formula,
            }
            for each in plan.certificates
        ],
    }
