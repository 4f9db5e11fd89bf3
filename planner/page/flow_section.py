"""The section of a page that shows the flow: what binds, the drawing, its legend, the busiest links."""

from collections.abc import Mapping, Sequence
from html import escape

import attrs

from planner.description.wording import say_names
from planner.flow import Bottleneck, Flow, Use, bottleneck, certified_members, flow_of, uses_of
from planner.page import flow_words
from planner.page.flow_graph import SHADES, draw_flow
from planner.page.flow_layout import hidden_memories
from planner.page.flow_map import DETAILED_MAX, TILES_MAX, Edge, FlowMap, flow_map
from planner.page.markup import table
from specs.cluster import LinkId
from specs.invariants.facts import Facts

COLUMNS = 80  # instants of a line's use over time
LEVELS = "0123456789abcdefghijklmnopqrstuvwxyz"  # nothing ... all that it can carry


@attrs.frozen(kw_only=True)
class Section:
    """HTML, and what the page's script needs; nothing when nothing moves."""

    html: str
    data: dict[str, object] | None


def flow_section(facts: Facts) -> Section:
    """Make the section of a plan."""
    uses = uses_of(facts)
    flow = flow_of(facts, uses)
    if not flow.duration_ns:
        return Section(html="", data=None)
    named = [(llm.id, certified_members(facts, llm.id)) for llm in facts.problem.llms]
    found = [each for llm, members in named if (each := bottleneck(facts, flow, llm, members)) is not None]
    drawn = flow_map(facts, flow, found)
    notes = escape(" ".join(_notes(facts, drawn)))
    html = (
        '<section aria-labelledby="flow-title"><h2 id="flow-title">Where the bytes go</h2>'
        f'{_bottlenecks(facts, flow, found)}<p class="small">{notes}</p>{_keys()}'
        f'<div class="scroll">{draw_flow(drawn, flow)}</div>'
        f"{_table(facts, flow)}</section>"
    )
    edges = [
        [index, "\n".join(flow_words.edge_lines(edge, drawn, flow)), levels(edge, uses, flow)]
        for index, edge in enumerate(drawn.edges)
        if edge.used
    ]
    # In the order in which the arrow keys visit them: the busiest first.
    edges.sort(key=lambda row: (-drawn.edges[int(str(row[0]))].hottest.taken_ppm, int(str(row[0]))))
    return Section(html=html, data={"duration": flow.duration_ns, "edges": edges})


def levels(edge: Edge, uses: Mapping[LinkId, Sequence[Use]], flow: Flow) -> str:
    """Give the use of an edge in each of 80 equal parts of the plan's duration, as a level of 0 to z."""
    moved = [0] * COLUMNS  # bytes x COLUMNS
    for link in edge.links:
        for use in uses.get(link, ()):
            # In units of duration / COLUMNS, so that all is exact until the last division.
            start, end = use.start_ns * COLUMNS, use.end_ns * COLUMNS
            first, last = start // flow.duration_ns, min((end - 1) // flow.duration_ns, COLUMNS - 1)
            for column in range(first, last + 1):
                left, right = column * flow.duration_ns, (column + 1) * flow.duration_ns
                moved[column] += use.bytes * (min(end, right) - max(start, left)) // max(use.end_ns - use.start_ns, 1)
    room = edge.bytes_per_second * flow.duration_ns
    top = len(LEVELS) - 1
    # Anything at all is more than nothing.
    return "".join(LEVELS[min(-(-each * 1_000_000_000 * top // room), top)] for each in moved)


def _bottlenecks(facts: Facts, flow: Flow, found: Sequence[Bottleneck]) -> str:
    rows = []
    for each in found:
        of = f"<b>{escape(each.llm)}.</b> " if len(found) > 1 else ""
        first, *rest = flow_words.bottleneck_sentences(facts, flow, each)
        head, colon, tail = escape(first).partition(": ")
        more = "".join(f"<span>{escape(sentence)}</span>" for sentence in rest)
        rows.append(f'<p class="bottleneck">{of}<b>{head}</b>{colon}{tail}{more}</p>')
    return "".join(rows)


def _notes(facts: Facts, drawn: FlowMap) -> list[str]:
    said = [
        "Each line is one direction: its width tells how many bytes the plan sends over it, its colour how full it is."
    ]
    nodes = len(facts.problem.cluster.nodes)
    if nodes > TILES_MAX:
        groups = "1 group" if len(drawn.tiles) == 1 else f"{len(drawn.tiles):,} groups"
        said.append(
            f"The {nodes:,} nodes are drawn as {groups} of equal ones; a line is as wide as the mean of its links."
        )
    elif len(drawn.tiles) > DETAILED_MAX:
        said.append("Equal places of a node are drawn as one.")
    if hidden := hidden_memories(drawn):
        names = say_names(dict.fromkeys(drawn.vertices[each].name for each in hidden))
        said.append(f"Memories that nothing crosses are left out ({names}).")
    if inner := sum(each.bytes for each in drawn.inside):
        said.append(f"{flow_words.say_bytes(inner)} cross links within what is drawn as one.")
    return said


def _keys() -> str:
    """Say what colours, widths and the seam mean, and let the colours follow the time."""
    steps = "".join(
        f'<span><svg width="26" height="10" aria-hidden="true"><line x1="0" y1="5" x2="26" y2="5" '
        f'class="f-line u{step}" stroke-width="7"/></svg>{100 * step // SHADES}-{100 * (step + 1) // SHADES} %</span>'
        for step in range(SHADES)
    )
    lines = (("f-seam", 14), ("f-gap", 10), (f"f-line u{SHADES - 1}", 6))
    drawn = "".join(
        f'<line x1="0" y1="8" x2="26" y2="8" class="{kind}" stroke-width="{width}"/>' for kind, width in lines
    )
    seam = f'<span><svg width="26" height="16" aria-hidden="true">{drawn}</svg>bottleneck</span>'
    idle = (
        '<span><svg width="26" height="10" aria-hidden="true"><line x1="0" y1="5" x2="26" y2="5" class="f-idle"/></svg>'
        "carries nothing</span>"
    )
    roles = '<span><i class="f-key-holds"></i>holds the LLM</span><span><i class="f-key-wants"></i>is to hold it</span>'
    choice = '<label class="f-choice"><input type="checkbox" id="flow-now"> colours at the time of the slider</label>'
    return f'<div class="f-keys" aria-label="What lines mean">{idle}{steps}{seam}{roles}{choice}</div>'


def _table(facts: Facts, flow: Flow) -> str:
    rows = flow_words.table_rows(facts, flow)
    used = sum(each.transfers > 0 for each in flow.links)
    some = "" if len(rows) == used else f"; the first {len(rows)} of {used:,}"
    head = ("link", "bytes", "transfers", "rate", "used", "at most", "busy", "taken")
    caption = (
        f"Links by how little of them is left idle{some}. Used: bytes of what the link could carry; taken: of its time "
        "or rate, what nothing else could have had"
    )
    made = table(caption, head, rows, frozenset(range(1, len(head))))
    return f"<details><summary>The busiest links in figures</summary>{made}</details>"
