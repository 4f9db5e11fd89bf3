"""What a run shows, as tables."""

from collections.abc import Iterator

from rich.table import Table

from examples.demo_move.findings import MACHINE, Changed, Findings


def tables(found: Findings) -> Iterator[Table]:
    """Tabulate the changes, then the whole."""
    yield _changes(found)
    yield _whole(found)


def _changes(found: Findings) -> Table:
    table = Table(title="the changes (gaps between two tokens of a request, in ms, as its client sees them)")
    table.title_justify = "left"
    table.add_column("")
    table.add_column("change")
    for heading in ("moved", "lasts, predicted", "measured", "copied", "again", "drained"):
        table.add_column(heading, justify="right")
    for heading in (
        "pause, promised",
        "gap across",
        "p50, before",
        "during",
        "p99, before",
        "during",
        "largest",
        "bound",
    ):
        table.add_column(heading, justify="right")
    for each in found.changes:
        table.add_row(*_row(each))
    return table


def _row(each: Changed) -> Iterator[str]:
    yield str(each.number)
    yield each.says
    yield f"{each.moved_bytes / 1e6:.0f} MB" if each.moved_bytes else ""
    yield f"{each.lasts_ns / 1e9:.1f} s"
    yield f"{(each.end_ns - each.begin_ns) / 1e9:.1f} s"
    for requests in (each.copied, each.again, each.drained):
        yield str(requests) if requests else ""
    yield millis(each.promised_ns) if each.promised_ns else ""
    yield "" if each.halted_ns is None else millis(each.halted_ns)
    yield "" if each.across_ns is None else millis(each.across_ns)
    for before, during in ((each.before.p50_ns, each.during.p50_ns), (each.before.p99_ns, each.during.p99_ns)):
        yield millis(before)
        yield millis(during)
    yield millis(each.during.largest_ns)
    yield millis(each.bound_ns)


def _whole(found: Findings) -> Table:
    table = Table(title="the whole", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("time under load", f"{found.seconds:.0f} s")
    table.add_row("requests answered", f"{found.answered} of {found.requests}")
    table.add_row("requests whose tokens equal the oracle's", f"{found.equal} of {found.requests}")
    table.add_section()
    table.add_row("gaps", f"{len(found.gaps):,}")
    table.add_row("median gap while nothing is changed: an iteration", f"{millis(found.calm.p50_ns)} ms")
    table.add_row("largest gap while nothing is changed: this machine", f"{millis(found.calm.largest_ns)} ms")
    table.add_row(f"gaps beyond iteration + promised pause + {MACHINE} x machine", f"{len(found.beyond)}")
    return table


def millis(nanos: int) -> str:
    """Write a time in milliseconds."""
    return f"{nanos / 1e6:,.0f}"
