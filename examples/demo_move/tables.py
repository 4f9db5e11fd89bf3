"""What a run shows, as tables."""

from collections.abc import Iterator

from rich.table import Table

from examples.demo_move.findings import MACHINE, Findings


def tables(found: Findings) -> Iterator[Table]:
    """Tabulate the changes, what clients saw of them, and the whole."""
    yield _changes(found)
    yield _seen(found)
    yield _whole(found)


def _changes(found: Findings) -> Table:
    headings = ("moved", "predicted", "took", "copied", "computed again", "finished first", "leader halted")
    table = _table("the changes: weights that moved, time until all was done, and what became of requests", headings)
    for each in found.changes:
        table.add_row(
            str(each.number),
            each.says,
            f"{each.moved_bytes / 1e6:.0f} MB" if each.moved_bytes else "",
            f"{each.lasts_ns / 1e9:.1f} s",
            f"{(each.end_ns - each.begin_ns) / 1e9:.1f} s",
            *(str(requests) if requests else "" for requests in (each.copied, each.again, each.drained)),
            "" if each.halted_ns is None else f"{each.halted_ns / 1e6:,.1f} ms",
        )
    return table


def _seen(found: Findings) -> Table:
    headings = ("p50 before", "during", "p99 before", "during", "at a close", "largest", "pause promised", "bound")
    table = _table("gaps between two tokens of a request, in ms, as its client saw them", headings)
    for each in found.changes:
        before, during = each.before, each.during
        lengths = (before.p50_ns, during.p50_ns, before.p99_ns, during.p99_ns, each.across_ns, during.largest_ns)
        table.add_row(str(each.number), each.says, *map(_cell, (*lengths, each.promised_ns or None, each.bound_ns)))
    return table


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("change")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _cell(nanos: int | None) -> str:
    return "" if nanos is None else millis(nanos)


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
