"""How far a cluster is, as tables, sentences and data."""

from collections.abc import Iterator, Sequence

import attrs
from rich.table import Table
from rich.text import Text

from planner.audit.receipts import Receipt
from planner.reconciling.looking import Look, Said

_STEPS_SHOWN = 200
# What each kind of steps is called once it is done.
_DONE = {
    "stages": "stages built",
    "pipelines": "pipelines opened",
    "switches": "pipelines that gave way",
    "resizes": "resizes",
    "releases": "copies given up",
}


@attrs.frozen(kw_only=True)
class Phase:
    """A phase of a plan: how much of it is done."""

    phase: str
    done: int
    all: int
    given_up: int = 0
    remark: str = ""


def phases(look: Look) -> tuple[Phase, ...]:
    """Count each phase of the plan that is carried out, over all nodes that answer."""
    there = _there(look)
    if not there:
        return ()
    nodes = [str(node) for node in there[0].document["plan"]["nodes"]]
    missing = [node for node in nodes if node not in {each.node for each in there}]
    documents = [each.document for each in there]
    found = [
        Phase(phase="adopted by nodes", done=len(there), all=len(nodes), remark=_without(missing)),
        Phase(
            phase="transfers",
            done=sum(each["transfers"]["arrived"] for each in documents),
            all=sum(each["transfers"]["arrive"] for each in documents),
            given_up=sum(len(each["blobs"]["lacking"]) for each in documents),
            remark=_under_way(there),
        ),
    ]
    for kind, name in _DONE.items():
        counts = [each["steps"].get(kind, {"done": 0, "given_up": 0, "all": 0}) for each in documents]
        done, given_up, of = (sum(each[part] for each in counts) for part in ("done", "given_up", "all"))
        found.append(Phase(phase=name, done=done, all=of, given_up=given_up, remark=_remark(kind, there)))
    return tuple(found)


def _there(look: Look) -> list[Said]:
    return [each for each in look.said if each.plan is not None and each.plan == look.current]


def _without(missing: Sequence[str]) -> str:
    return f"not by {', '.join(missing)}" if missing else ""


def _under_way(there: Sequence[Said]) -> str:
    count = sum(len(each.document["transfers"]["receiving"]) for each in there)
    return f"{count:,} under way" if count else ""


def _remark(kind: str, there: Sequence[Said]) -> str:
    if kind == "pipelines":
        proving = sorted({name for each in there for name in each.document["pipelines"]["proving"]})
        return f"{', '.join(proving)}: being proved" if proving else ""
    if kind == "switches":
        parts = [_hand_over(each) for said in there for each in said.document["hand_overs"]]
        parts += [f"{name} finishes its requests" for said in there for name in said.draining]
        parts += [f"{name} is kept open for the plan that is offered" for said in there for name in said.kept_open]
        return "; ".join(parts)
    return ""


def _hand_over(document: dict[str, object]) -> str:
    who = f"{document['pipeline']} hands over to {document['successor']}"
    left = f"{document['requests']} requests, {document['tokens_left']} tokens of KV left"
    return f"{who}: {document['phase']}, round {document['round']}, {left}"


def tables(look: Look) -> Iterator[Table]:
    """Make a table of the phases and one of the nodes, as far as any node has said something."""
    if look.current is not None:
        table = _table(f"generation {look.current.generation}, plan {look.current.digest[:12]}")
        for column in ("phase", "done", "of", "given up", "remarks"):
            _column(table, column, is_text=column in ("phase", "remarks"))
        for each in phases(look):
            if not each.all:
                continue
            table.add_row(each.phase, f"{each.done:,}", f"{each.all:,}", f"{each.given_up:,}", each.remark)
        yield table
    if not look.said:
        return
    table = _table("nodes")
    for column in ("node", "generation", "phase", "requests in", "requests led", "counts as lost"):
        _column(table, column, is_text=column not in ("generation", "requests in"))
    for said in look.said:
        generation = "none" if said.plan is None else f"{said.plan.generation:,}"
        lost = ", ".join(f"{node} ({why}{_again(said, node)})" for node, why in said.lost)
        leads = said.document.get("requests", {}).get("led_here", {})
        led = ", ".join(f"{name}: {count:,}" for name, count in sorted(leads.items()))
        table.add_row(said.node, generation, said.phase, f"{said.requests:,}", led, lost)
    yield table


def _again(said: Said, node: str) -> str:
    return ", heard again" if node in said.heard_again else ""


def sentences(look: Look) -> Iterator[Text]:
    """Say what is offered, what was declined, by whom and why, and who does not answer."""
    coming = look.accepted
    if coming is not None:
        stands = look.stands_on(coming.plan)
        awaited = [node for node in coming.nodes if node not in stands]
        number = f"{len(coming.nodes) - len(awaited)} of {len(coming.nodes)} nodes"
        then = f"; {', '.join(awaited)} awaited" if awaited else ""
        yield Text(f"generation {coming.plan.generation} is offered: accepted by {number}{then}")
    for said in look.said:
        for each in said.declined:
            yield Text(f"generation {each.plan.generation} was declined by {said.node}: {each.reason}")
    for url, why in look.failed:
        yield Text(f"{url}: {why}")


def steps_table(found: Sequence[Receipt]) -> Table:
    """Tabulate receipts; instants count from the first of them."""
    begin = min((each.at_unix_ns for each in found if each.at_unix_ns is not None), default=0)
    table = _table("steps")
    for column in ("step", "what", "state", "by", "after", "receipt"):
        _column(table, column, is_text=column not in ("step", "after"))
    for each in found[:_STEPS_SHOWN]:
        after = "" if each.at_unix_ns is None else f"{(each.at_unix_ns - begin) / 1e9:,.3f} s"
        table.add_row(f"{each.step:,}", each.what, each.state, each.node or "", after, each.detail)
    if len(found) > _STEPS_SHOWN:
        table.add_row("", f"... and {len(found) - _STEPS_SHOWN:,} more (--json has all)", "", "", "", "")
    return table


def steps_as_data(found: Sequence[Receipt]) -> list[dict[str, object]]:
    """Give receipts as JSON has them."""
    return [attrs.asdict(each) for each in found]


def as_document(look: Look) -> dict[str, object]:
    """Give everything in the form that `--json` prints."""
    coming = look.accepted
    return {
        "plan": None if look.current is None else attrs.asdict(look.current),
        "phases": [attrs.asdict(each) for each in phases(look)],
        "offered": None
        if coming is None
        else {**attrs.asdict(coming.plan), "nodes": coming.nodes, "accepted_by": look.stands_on(coming.plan)},
        "declined": [
            {**attrs.asdict(each.plan), "by": said.node, "reason": each.reason}
            for said in look.said
            for each in said.declined
        ],
        "nodes": [each.document for each in look.said],
        "failed": [{"url": url, "why": why} for url, why in look.failed],
    }


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left")


def _column(table: Table, name: str, *, is_text: bool) -> None:
    table.add_column(name, justify="left" if is_text else "right", overflow="fold")
