"""Tables of a page."""

from collections.abc import Iterable, Sequence
from html import escape


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int]) -> str:
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
