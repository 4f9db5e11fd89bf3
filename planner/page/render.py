"""One self-contained page: everything is in it, nothing is fetched, and no name can become markup or script."""

import base64
import json
from html import escape
from importlib.resources import files

from planner.audit.instants import Timeline, predicted
from planner.description.picture import draw
from planner.page import tables
from planner.page.content import make_content
from planner.page.flow_section import flow_section
from planner.page.graph import draw_graph
from planner.page.selection import select
from planner.page.wishes import wishes
from specs.checker import VerifiedPlan
from specs.invariants.facts import Facts

_SCRIPTS = ("time.js", "graph.js", "flow.js", "lanes.js", "page.js")
_STYLES = ("page.css", "flow.css")
_PICTURE_NODES_MAX = 400  # beyond it, groups of unequal nodes could make a picture of megabytes


def render(verified: VerifiedPlan, measured: Timeline | None = None) -> str:
    """Write a page about a plan and, given the time line of a run, what happened."""
    facts = Facts(verified.problem, verified.plan)
    planned = predicted(verified.plan, verified.problem)
    selection = select(facts)
    graph = draw_graph(facts, selection)
    content = make_content(facts, selection, graph, planned, measured)
    flow = flow_section(facts)
    llms = ", ".join(llm.id for llm in verified.problem.llms) or "nothing"
    parts = {
        "TITLE": escape(f"{llms} on {verified.problem.cluster.name}"),
        "STYLE": "\n".join(_asset(name) for name in _STYLES),
        "SUMMARY": tables.summary(facts, measured),
        "LEFT_OUT": tables.left_out(facts, selection),
        "CERTIFICATES": tables.certificates(facts),
        "GRAPH": graph.svg,
        "FLOW": flow.html,
        "PIPELINES": tables.pipelines(facts, selection, planned, measured),
        "WISHES": wishes(facts),
        "PICTURE": _picture(facts),
        "DATA": _embed({**content, "flow": flow.data}),
        "SCRIPT": "\n".join(_asset(name) for name in _SCRIPTS),
    }
    page = _asset("page.html")
    head, *slots = page.split("{{")
    # Cut first, then fill: a name that looks like a slot stays a name.
    return head + "".join(parts[name] + rest for name, rest in (slot.split("}}", 1) for slot in slots))


def _asset(name: str) -> str:
    return files("planner.page").joinpath(name).read_text(encoding="utf-8")


def _embed(content: dict[str, object]) -> str:
    """JSON inside a script element: with `<` written as an escape, no text can end the element."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _picture(facts: Facts) -> str:
    """The hardware as `holdfast describe` draws it; as an image, so that its style stays its own."""
    if len(facts.problem.cluster.nodes) > _PICTURE_NODES_MAX and facts.problem.cluster.nodes[0].rack is not None:
        return ""
    data = base64.b64encode(draw(facts.problem).encode()).decode()
    text = escape(f"Hardware of {facts.problem.cluster.name}: switches, nodes, memories and the rates of their links")
    return (
        "<details><summary>The hardware, with rates and sizes</summary>"
        f'<div class="scroll"><img alt="{text}" src="data:image/svg+xml;base64,{data}"></div></details>'
    )
