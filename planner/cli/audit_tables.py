"""Audits as tables and as a document."""

from rich.table import Table

from planner.audit.findings import Finding
from planner.audit.report import CLOCKS, Comparison, Report
from planner.cli.plan_tables import seconds

_PIPELINES_SHOWN = 40
_WORST_SHOWN = 8


def _verdict(finding: Finding) -> str:
    if finding.differs:
        return "1 differs" if len(finding.differs) == 1 else f"{len(finding.differs):,} differ"
    return "as planned" if finding.examined else "nothing planned"


def check_table(report: Report) -> Table:
    """Tabulate every check with its verdict."""
    table = Table(title=f"plan {report.plan[:12]} against its journals", title_justify="left")
    table.add_column("check")
    table.add_column("what is compared")
    table.add_column("of", justify="right")
    table.add_column("verdict")
    for each in report.findings:
        table.add_row(each.id, each.sentence, f"{each.examined:,}", _verdict(each))
    return table


def _time_table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    table.add_column("of", overflow="fold")  # a name that is cut off names nothing
    for column in ("predicted", "measured", "measured / predicted", "later by"):
        table.add_column(column, justify="right")
    return table


def _row(each: Comparison) -> tuple[str, ...]:
    if each.measured_ns is None:
        return (each.what, each.subject, _signed(each.predicted_ns), "never", "", "")
    ratio = "" if each.ratio is None else f"{float(each.ratio):.2f}"
    return (
        each.what,
        each.subject,
        _signed(each.predicted_ns),
        _signed(each.measured_ns),
        ratio,
        _signed(each.late_ns),
    )


def _signed(nanos: int) -> str:
    return seconds(nanos) if nanos >= 0 else f"-{seconds(-nanos)}"


def milestone_table(report: Report) -> Table:
    """Tabulate the instants of LLMs and pipelines."""
    table = _time_table("predicted and measured", "what")
    for each in report.milestones[:_PIPELINES_SHOWN]:
        table.add_row(*_row(each))
    if len(report.milestones) > _PIPELINES_SHOWN:
        table.add_row(f"... and {len(report.milestones) - _PIPELINES_SHOWN} more")
    return table


def transfer_table(report: Report) -> Table:
    """Summarise transfers: the least, the median and the largest ratio of durations, and how late they start."""
    table = Table(title="transfers", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    for column in ("least", "median", "largest"):
        table.add_column(column, justify="right")
    ratios = sorted(each.ratio for each in report.transfers if each.what == "duration" and each.ratio is not None)
    late = sorted(each.late_ns for each in report.transfers if each.what == "start" and each.measured_ns is not None)
    if ratios:
        three = (ratios[0], ratios[len(ratios) // 2], ratios[-1])
        table.add_row("duration / prediction", f"{len(ratios):,}", *(f"{float(each):.3f}" for each in three))
    if late:
        table.add_row(
            "start, later by",
            f"{len(late):,}",
            *(_signed(each) for each in (late[0], late[len(late) // 2], late[-1])),
        )
    return table


def deviation_table(report: Report) -> Table:
    """Tabulate the transfers that took the longest over their prediction, and those that began the latest."""
    table = _time_table("worst deviations of transfers", "what")
    known = [each for each in report.transfers if each.measured_ns is not None]
    slow = sorted((each for each in known if each.ratio and each.what == "duration"), key=_by_ratio)[:_WORST_SHOWN]
    late = sorted((each for each in known if each.what == "start"), key=lambda each: -each.late_ns)[:_WORST_SHOWN]
    for each in (*slow, *late):
        table.add_row(*_row(each))
    return table


def _by_ratio(each: Comparison) -> float:
    return -float(each.ratio or 0)


def _times_document(rows: tuple[Comparison, ...]) -> list[dict[str, object]]:
    return [
        {
            "what": each.what,
            "subject": each.subject,
            "predicted_ns": each.predicted_ns,
            "measured_ns": each.measured_ns,
            "ratio": None if each.ratio is None else round(float(each.ratio), 4),
        }
        for each in rows
    ]


def as_document(report: Report) -> dict[str, object]:
    """Give everything in the form that `--json` prints."""
    return {
        "plan": report.plan,
        "as_planned": report.as_planned,
        "clocks": CLOCKS,
        "begin_unix_ns": report.measured.begin_unix_ns,
        "checks": [
            {
                "id": each.id,
                "sentence": each.sentence,
                "examined": each.examined,
                "verdict": "differs" if each.differs else "as planned",
                "differs": [{"where": one.where, "sentence": one.sentence} for one in each.differs],
                "notes": [{"where": one.where, "sentence": one.sentence} for one in each.notes],
            }
            for each in report.findings
        ],
        "milestones": _times_document(report.milestones),
        "transfers": _times_document(report.transfers),
    }
