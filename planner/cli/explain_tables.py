"""Explanations of decisions as tables and as data."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from planner.explain.decisions import Explanation
from planner.explain.explained import Explained, LeftOut, Worth, say


def explanation_tables(found: Explanation) -> list[Table]:
    """One table for each decision: what it is and achieves, what binds, what else was tried, what more would buy."""
    tables = [_table(each) for each in found.decisions]
    if found.left_out:
        left = _grid("not explained")
        for each in found.left_out:
            left.add_row(Text(f"{each.decision} of {each.subject}"), Text(each.sentence))
        tables.append(left)
    return tables


def _grid(title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", show_header=False, box=None, padding=(0, 1))
    table.add_column(overflow="fold", min_width=9)
    table.add_column(overflow="fold")
    return table


def _table(each: Explained) -> Table:
    table = _grid(f"{each.decision} of {each.subject}")
    table.add_row("value", Text(_figures(each)))
    table.add_row("binding", Text(each.binding))
    if each.runner_up is not None:
        table.add_row("runner-up", Text(each.runner_up))
    for index, line in enumerate(_worth_lines(each.worth)):
        table.add_row("" if index else "more", Text(line))
    if each.left_out is not None:
        table.add_row("left out", Text(each.left_out))
    return table


def _worth_lines(found: Sequence[Worth]) -> list[str]:
    """One line for each resource, with every figure that it moves."""
    by_resource: dict[str, list[Worth]] = {}
    for each in found:
        by_resource.setdefault(f"{each.resource}, {each.more}", []).append(each)
    return [f"{resource}: {', '.join(each.sentence for each in of)}" for resource, of in by_resource.items()]


def _figures(each: Explained) -> str:
    parts = [say(each.value, each.unit)]
    if each.allowed is not None:
        parts.append(f"allowed {say(each.allowed, each.unit)}")
    if each.bound is not None and each.gap is not None:
        share = f" ({each.gap / each.bound:.2%})" if each.bound and each.gap else ""
        parts += [f"bound {say(each.bound, each.unit)}", f"gap {say(each.gap, each.unit) if each.gap else '0'}{share}"]
    how = "no bound is known" if each.method == "none" else each.method
    return f"{', '.join(parts)}; {how}"


def explanation_summary(found: Explanation) -> dict[str, object]:
    """Put an explanation as data for programs."""
    return {
        "decisions": [_decision(each) for each in found.decisions],
        "left_out": [_left_out(each) for each in found.left_out],
    }


def _decision(each: Explained) -> dict[str, object]:
    return {
        "decision": each.decision,
        "subject": each.subject,
        "unit": str(each.unit),
        "value": each.value,
        "allowed": each.allowed,
        "bound": each.bound,
        "gap": each.gap,
        "method": str(each.method),
        "binding": each.binding,
        "runner_up": each.runner_up,
        "worth": [_worth(worth) for worth in each.worth],
        "left_out": each.left_out,
    }


def _worth(worth: Worth) -> dict[str, object]:
    return {
        "resource": worth.resource,
        "more": worth.more,
        "figure": worth.figure.value,
        "before": worth.before,
        "after": worth.after,
        "unit": str(worth.unit),
    }


def _left_out(each: LeftOut) -> dict[str, object]:
    return {"decision": each.decision, "subject": each.subject, "sentence": each.sentence}
