"""What a plan changes, as tables."""

from collections.abc import Iterator

from rich.table import Table

from planner.cli.plan_tables import seconds
from planner.description.wording import say_size
from planner.reconfiguring.differences import Difference, Seen

_ROWS_MAX = 12


def tables(found: Difference) -> Iterator[Table]:
    """Make one table each for requests, slots, weights, links and memories; those without rows are left out."""
    if found.seen:
        yield _requests(found)
    if found.opened:
        yield _opened(found)
    if found.fewer:
        yield _fewer(found)
    if found.moved:
        yield _moved(found)
    if found.crossed:
        yield _links(found)
    if found.fullest:
        yield _memories(found)


def fate_in_words(each: Seen) -> str:
    """Say what becomes of the requests of a pipeline."""
    pause = f"at most {seconds(each.pause_ns)} more between two tokens"
    match each.fate:
        case "kept":
            return "kept: they notice nothing"
        case "copy":
            return f"copied to {each.successor}: {pause}"
        case "recompute":
            return f"computed again in {each.successor}: {pause}"
        case "drain":
            return f"finished first; new ones go to {each.successor}"
        case _:
            return "it closes at once: they are sent elsewhere, and wait if there is nowhere"


def _requests(found: Difference) -> Table:
    table = _table("what requests see", ("pipeline", "requests", "tokens of context", "what becomes of them", "closes"))
    for each in found.seen:
        closes = "stays" if each.at_ns is None and each.fate == "kept" else "at once"
        if each.at_ns is not None:
            closes = seconds(each.at_ns)
        table.add_row(each.pipeline, f"{each.requests:,}", f"{each.tokens:,}", fate_in_words(each), closes)
    return table


def _opened(found: Difference) -> Table:
    table = _table("pipelines that open", ("pipeline", "stages (place: units)", "slots"))
    for each in found.opened[:_ROWS_MAX]:
        stages = ", ".join(f"{stage.place}: {stage.first_unit}-{stage.end_unit - 1}" for stage in each.stages)
        table.add_row(each.id, stages, f"{each.slots:,}")
    return _and_more(table, len(found.opened))


def _fewer(found: Difference) -> Table:
    table = _table(
        "KV that makes room", ("pipeline", "slots", "of", "its KV", "instead of", "requests to end first", "from", "to")
    )
    for each in found.fewer[:_ROWS_MAX]:
        sizes = (say_size(each.kv_bytes), say_size(each.kv_bytes_max))
        until = "the next plan" if each.until_ns is None else seconds(each.until_ns)
        counts = (f"{each.slots:,}", f"{each.slots_max:,}", *sizes, f"{each.ending:,}")
        table.add_row(each.pipeline, *counts, seconds(each.from_ns), until)
    return _and_more(table, len(found.fewer))


def _moved(found: Difference) -> Table:
    table = _table("weights", ("LLM", "blobs that move", "size", "copies that go", "size of these"))
    for each in found.moved:
        table.add_row(
            each.llm, f"{each.transfers:,}", say_size(each.bytes), f"{each.released:,}", say_size(each.released_bytes)
        )
    return table


def _links(found: Difference) -> Table:
    table = _table("links that carry most", ("link", "weights", "KV of now", "in use for"))
    for each in found.crossed[:_ROWS_MAX]:
        table.add_row(each.link, say_size(each.weights_bytes), say_size(each.kv_bytes), seconds(each.busy_ns))
    return _and_more(table, len(found.crossed))


def _memories(found: Difference) -> Table:
    table = _table("memories at their tightest", ("place", "in use", "of", "left", "after"))
    for each in found.fullest[:_ROWS_MAX]:
        left = say_size(each.memory_bytes - each.used_bytes)
        table.add_row(each.place, say_size(each.used_bytes), say_size(each.memory_bytes), left, seconds(each.at_ns))
    return _and_more(table, len(found.fullest))


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    words = {"pipeline", "LLM", "link", "place", "what becomes of them", "stages (place: units)"}
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", overflow="fold")
    return table


def _and_more(table: Table, rows: int) -> Table:
    if rows > _ROWS_MAX:
        table.add_row(f"... and {rows - _ROWS_MAX:,} more", *[""] * (len(table.columns) - 1))
    return table
