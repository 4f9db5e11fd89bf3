"""The data that the page's script draws from; times are in nanoseconds from the beginning."""

from collections.abc import Set as AbstractSet

from planner.audit.instants import PipelineInstants, Timeline
from planner.page.graph import Graph
from planner.page.heat import heat_strip
from planner.page.selection import Selection
from specs.cluster import LinkId
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import Pipeline, PipelineId, Release
from specs.units import Nanos

Content = dict[str, object]


def make_content(
    facts: Facts, selection: Selection, graph: Graph, planned: Timeline, measured: Timeline | None
) -> Content:
    """Gather everything; names stand once, and are referred to by index."""
    blobs = {blob.id: index for index, blob in enumerate(facts.plan.blobs)}
    memories = {memory.place: index for index, memory in enumerate(selection.memories)}
    nodes = {node: index for index, node in enumerate(selection.nodes)}
    routes, route_of = _routes(facts, selection, graph)
    plan_of = {each.step: each for each in planned.transfers}
    run_of = {each.step: each for each in measured.transfers} if measured else {}
    transfers = []
    for hop in selection.hops:
        step = hop.transfer.id
        row: list[object] = [step, blobs[hop.transfer.blob], route_of[hop.transfer.route]]
        row += [plan_of[step].start_ns, plan_of[step].end_ns]
        if measured:
            row += [run_of[step].start_ns, run_of[step].end_ns, run_of[step].took_ns, run_of[step].failed_ns]
        transfers.append(row)
    return {
        "horizon": horizon_ns(planned, measured),
        "measured": measured is not None,
        "nodes": list(selection.nodes),
        "blobs": [[blob.id, blob.bytes] for blob in facts.plan.blobs],
        "memories": [
            [memory.place, -1 if memory.node is None else nodes[memory.node], sorted(blobs[b] for b in memory.held)]
            for memory in selection.memories
        ],
        "routes": routes,
        "transfers": transfers,
        "releases": [
            [blobs[step.blob], memories[step.place], step.at_ns]
            for step in facts.plan.steps
            if isinstance(step, Release) and step.place in memories
        ],
        "pipelines": _pipelines(facts, selection, planned, measured),
        "losses": [
            [each.node, nodes.get(each.node, -1), each.at_ns, each.reason.value]
            for each in (measured.losses if measured else ())
        ],
        "marks": _marks(planned, measured, {target.llm for target in facts.problem.targets}),
        "heat": heat_strip(facts, selection, planned, measured, horizon_ns(planned, measured)),
    }


def horizon_ns(planned: Timeline, measured: Timeline | None) -> int:
    """The last instant that is shown: a little after all has happened, so that what opens last is seen open."""
    return max(planned.end_ns, measured.end_ns if measured else 0, 1) * 21 // 20 + 1


def _routes(facts: Facts, selection: Selection, graph: Graph) -> tuple[list[Content], dict[int, int]]:
    """Routes of the shown transfers: their ends, ports, inner links between switches, and wires."""
    memories = {memory.place: index for index, memory in enumerate(selection.memories)}
    nodes = {node: index for index, node in enumerate(selection.nodes)}
    node_of = {place.id: place.node for place in facts.problem.cluster.places}
    rows: list[Content] = []
    index: dict[int, int] = {}
    for hop in selection.hops:
        number = hop.transfer.route
        if number in index:
            continue
        index[number] = len(rows)
        links = facts.plan.routes[number].links
        inner = [each for each in links if _is_shared(facts, each)]
        rows.append(
            {
                "from": hop.source,
                "to": hop.destination,
                "source": memories.get(hop.source, -1),
                "destination": memories.get(hop.destination, -1),
                "sendNode": -1 if hop.source_node is None else nodes.get(hop.source_node, -1),
                "receiveNode": -1 if hop.destination_node is None else nodes.get(hop.destination_node, -1),
                "send": hop.send_port,
                "receive": hop.receive_port,
                "inner": inner,
                "wires": sorted({graph.wires[each] for each in links if each in graph.wires}),
                "local": node_of[hop.source] == node_of[hop.destination],
            }
        )
    return rows, index


def _is_shared(facts: Facts, link: LinkId) -> bool:
    """Tell whether a link joins two places that belong to no node, as between leaf and spine."""
    ends = facts.links[link]
    return facts.places[ends.source].node is None and facts.places[ends.destination].node is None


def _pipelines(
    facts: Facts, selection: Selection, planned: Timeline, measured: Timeline | None
) -> list[dict[str, object]]:
    nodes = {node: index for index, node in enumerate(selection.nodes)}
    plan_of = {each.pipeline: each for each in planned.pipelines}
    run_of: dict[PipelineId, PipelineInstants] = {}
    if measured:
        run_of = {each.pipeline: each for each in measured.pipelines}
    # Planners put the LLM before the rest of the name; where there is one LLM, bars are better without it.
    alone = len(facts.problem.llms) == 1 and all(
        each.id.startswith((f"{each.llm}@", f"{each.llm}/")) for each in selection.pipelines
    )
    rows: list[dict[str, object]] = []
    for pipeline in selection.pipelines:
        members = dict.fromkeys(facts.places[stage.place].node for stage in pipeline.stages)
        rows.append(
            {
                "id": pipeline.id,
                "short": pipeline.id.removeprefix(pipeline.llm)[1:] if alone else pipeline.id,
                "nodes": [nodes[node] for node in members if node in nodes],
                "stages": stages_text(pipeline),
                "planned": _span(plan_of[pipeline.id]),
                "measured": _span(run_of[pipeline.id]) if measured else None,
                "local": len(pipeline.stages) == 1,
            }
        )
    return rows


def _span(instants: PipelineInstants) -> list[Nanos | None]:
    return [instants.opened_ns, instants.closed_ns]


def stages_text(pipeline: Pipeline) -> str:
    """Say which place computes which units."""
    return ", ".join(f"{stage.place}: units {stage.first_unit}-{stage.end_unit - 1}" for stage in pipeline.stages)


def _marks(planned: Timeline, measured: Timeline | None, wanted: AbstractSet[LlmId]) -> list[dict[str, object]]:
    """Vertical lines: first cover and full load of each LLM with targets, first tokens where they were measured."""
    rows: list[dict[str, object]] = []
    for each in planned.llms:
        if each.llm not in wanted:
            continue
        run = measured.llm(each.llm) if measured else None
        rows.append(
            {
                "what": "first cover",
                "of": each.llm,
                "planned": each.first_cover_ns,
                "measured": run and run.first_cover_ns,
            }
        )
        rows.append(
            {
                "what": "full load",
                "of": each.llm,
                "planned": each.full_load_ns,
                "measured": run and run.full_load_ns,
            }
        )
        if run is not None:
            token = run.receiver_token_ns
            said = "first token from a receiver"
            if token is None:
                token, said = run.first_token_ns, "first token"
            rows.append({"what": said, "of": each.llm, "planned": None, "measured": token})
    return rows
