"""Plans as tables: how good they are, which pipelines open when."""

from rich.table import Table

from specs.checker import VerifiedPlan
from specs.plan import Activate, Certificate, Measure, Stage, Switch, Transfer
from specs.units import NANOS_PER_SECOND


def seconds(nanos: int) -> str:
    """Write a duration for a person."""
    if nanos == 0:
        return "0 s"
    if nanos >= NANOS_PER_SECOND:
        return f"{nanos / NANOS_PER_SECOND:.3f} s"
    return f"{nanos / 1e6:.3f} ms" if nanos >= 1_000_000 else f"{nanos / 1e3:.3f} us"


def _amount(certificate: Certificate, number: int) -> str:
    return seconds(number) if certificate.measure is Measure.NANOS else f"{number:,} ticks"


def _gap(certificate: Certificate) -> str:
    if certificate.value == certificate.bound:
        return "0, optimal"
    if not certificate.bound:
        return "unknown"
    return f"{(certificate.value - certificate.bound) / certificate.bound:.2%}"


def _units(stage: Stage) -> str:
    last = stage.end_unit - 1
    return f"{stage.first_unit}" if last == stage.first_unit else f"{stage.first_unit}-{last}"


def certificate_table(verified: VerifiedPlan) -> Table:
    """Tabulate every claim with its bound and gap."""
    table = Table(title="how good it is", title_justify="left")
    for column, side in (("claim", "left"), ("of", "left"), ("value", "right"), ("bound", "right"), ("gap", "right")):
        table.add_column(column, justify="right" if side == "right" else "left", overflow="fold")
    table.add_column("how the bound is known", overflow="fold")
    for each in verified.plan.certificates:
        row = (each.claim.value, each.subject, _amount(each, each.value), _amount(each, each.bound), _gap(each))
        table.add_row(*row, f"{each.method.value}: {each.formula}")
    return table


def pipeline_table(verified: VerifiedPlan, rows_max: int = 40) -> Table:
    """Tabulate pipelines: where their stages are, when they open and close."""
    plan = verified.plan
    opens = {step.pipeline: step.at_ns for step in plan.steps if isinstance(step, Activate)}
    closes = {step.old: step for step in plan.steps if isinstance(step, Switch)}
    table = Table(title="pipelines", title_justify="left")
    for column in ("pipeline", "stages (place: units)", "opens", "closes", "then"):
        table.add_column(column, overflow="fold")  # a name that is cut off names nothing
    for pipeline in plan.pipelines[:rows_max]:
        stages = ", ".join(f"{stage.place}: {_units(stage)}" for stage in pipeline.stages)
        switch = closes.get(pipeline.id)
        end = ("stays", "") if switch is None else (seconds(switch.at_ns), switch.new)
        table.add_row(pipeline.id, stages, seconds(opens[pipeline.id]), *end)
    if len(plan.pipelines) > rows_max:
        table.add_row(f"... and {len(plan.pipelines) - rows_max} more", "", "", "", "")
    return table


def plan_summary(verified: VerifiedPlan) -> dict[str, object]:
    """Summarise a plan for programs."""
    plan = verified.plan
    return {
        "problem": plan.problem,
        "generation": plan.generation,
        "parent": plan.parent,
        "planner": plan.provenance.planner,
        "blobs": len(plan.blobs),
        "transfers": sum(isinstance(step, Transfer) for step in plan.steps),
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
