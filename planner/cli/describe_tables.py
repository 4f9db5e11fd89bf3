"""The tables and the tree that `holdfast describe` prints: human units, and exact integers beside them."""

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from planner.description.fit import Fit, fits
from planner.description.hardware import CPU
from planner.description.node_groups import GroupLink, NodeGroup, uplinks
from planner.description.wording import say_duration, say_names, say_network_rate, say_operations, say_rate, say_size
from specs.cluster import Link, PlaceId, PlaceKind
from specs.llm import Llm
from specs.problem import Problem
from specs.units import BytesPerSecond, Nanos

_Wire = tuple[str, str, BytesPerSecond, Nanos, bool]  # kinds of its ends, rate, latency, whether it leaves the node


def node_tree(problem: Problem, groups: tuple[NodeGroup, ...]) -> Tree:
    """Draw the switches with the nodes below them; nodes on several switches stand below the first."""
    cluster = problem.cluster
    devices = sum(place.kind is PlaceKind.DEVICE for place in cluster.places)
    memory = sum(place.memory_bytes for place in cluster.places if place.kind is PlaceKind.DEVICE)
    counts = f"{_count(len(cluster.nodes), 'node')}, {_count(devices, 'device')}, {say_size(memory)} of device memory"
    root = Tree(Text(f"{cluster.name}: {counts}"), guide_style="dim")
    switches = [place.id for place in cluster.places if place.node is None]
    ways_up: dict[str, Link] = {link.source: link for link in reversed(uplinks(cluster))}
    branches: dict[str, Tree] = {}

    def branch(switch: str) -> Tree:
        if switch not in branches:
            uplink = ways_up.get(switch)
            above = branch(uplink.destination) if uplink else root
            rate = f"  up {say_network_rate(uplink.bytes_per_second)}" if uplink else ""
            branches[switch] = above.add(Text(f"{switch}{rate}"))
        return branches[switch]

    for switch in switches:
        branch(switch)
    for group in groups:
        attached = [link.destination for link in group.links if link.leaves_node and link.destination in switches]
        above = branch(attached[0]) if attached else root
        rack = f", rack {group.rack}" if group.rack else ""
        counted = f"  {_count(len(group.nodes), 'node')}{rack}"
        node = above.add(Text.assemble((say_names(group.nodes), "bold"), counted))
        for line in _contents(group):
            node.add(line)
    return root


def group_tables(problem: Problem, groups: tuple[NodeGroup, ...]) -> Iterator[Table]:
    """Make the tables of device kinds, memories and links."""
    kinds = _table("Devices", "kind", "memory", "memory rate", "fp32", "bf16", "source")
    for kind in problem.cluster.device_kinds:
        rates = (say_rate(kind.memory_bytes_per_second), say_operations(kind.flops_per_second_fp32, "flop/s"))
        bf16 = say_operations(kind.flops_per_second_bf16, "flop/s")
        # A processor has the share of its host's memory that its node states.
        memory = "by node" if kind.name == CPU else say_size(kind.memory_bytes)
        kinds.add_row(kind.name, memory, *rates, bf16, kind.source)
    yield kinds
    memories = _table("Memories", "nodes", "place", "kind", "usable", ">bytes")
    for group in groups:
        rows: dict[tuple[str, int], list[str]] = {}
        for place in group.places:
            if place.kind is not PlaceKind.SWITCH:
                rows.setdefault((place.device or place.kind, place.memory_bytes), []).append(place.name)
        for (kind_name, size), names in rows.items():
            memories.add_row(say_names(group.nodes), say_names(names), kind_name, say_size(size), f"{size:,}")
    yield memories
    links = _table("Links", "nodes", "from", "", "to", "rate", ">bytes/s", ">latency")
    for link in uplinks(problem.cluster):
        rate = link.bytes_per_second
        said = (say_network_rate(rate), f"{rate:,}", say_duration(link.latency_ns))
        links.add_row("", link.source, "↔", link.destination, *said)
    for group in groups:
        for row in _link_rows(group):
            links.add_row(say_names(group.nodes), *row)
    yield links


def demand_tables(problem: Problem) -> Iterator[Table]:
    """Make the tables of LLMs, of their use, and of what is held and wanted."""
    if not problem.llms:
        return
    llms = _table(
        "LLMs", "id", "architecture", "dtype", ">layers", "weights", ">bytes", ">KV bytes/token", ">flop/token"
    )
    use = _table("Use", "id", ">requests/h", ">prompt", ">output", ">longest", ">live", "SLO", "held", "wanted")
    slos = {slo.llm: slo for slo in problem.slos}
    for llm in problem.llms:
        llms.add_row(*_llm_row(llm))
        workload, slo = problem.workload(llm.id), slos.get(llm.id)
        numbers = (workload.requests_per_hour, workload.prompt_tokens_mean, workload.output_tokens_mean)
        limits = (workload.request_tokens_max, workload.live_requests_max)
        promise = ""
        if slo is not None:
            ttft, tpot = say_duration(slo.ttft_ns_max), say_duration(slo.tpot_ns_max)
            promise = f"p{slo.percentile}: TTFT {ttft}, TPOT {tpot}"
            promise += "" if slo.pause_ns_max is None else f", pauses {say_duration(slo.pause_ns_max)}"
        mine = [holding for holding in problem.holdings if holding.llm == llm.id]
        held = say_names(holding.place for holding in mine if holding.whole)
        if parts := say_names(dict.fromkeys(holding.place for holding in mine if not holding.whole)):
            held += f"{', ' if held else ''}in part: {parts}"
        wanted = say_names(target.place for target in problem.targets if target.llm == llm.id)
        use.add_row(llm.id, *(f"{number:,}" for number in (*numbers, *limits)), promise, held, wanted)
    yield llms
    yield use
    yield from _wish_tables(problem)
    if problem.profile.rates:
        measured = _table("Profile", "device", "dtype", "compute", "memory", ">overhead/unit", "source")
        for rate in problem.profile.rates:
            compute, memory = say_operations(rate.flops_per_second, "flop/s"), say_rate(rate.memory_bytes_per_second)
            overhead = say_duration(rate.overhead_ns_per_unit)
            measured.add_row(rate.device, rate.dtype, compute, memory, overhead, rate.source)
        yield measured


def _wish_tables(problem: Problem) -> Iterator[Table]:
    """Make the tables of services and standbys: what each asks, which places it may use, how much these have free."""
    sizes = {place.id: place.memory_bytes for place in problem.cluster.places}
    taken = {fit.place.id: fit.weights_bytes for fit in fits(problem)}
    weights = {llm.id: sum(tensor.bytes for tensor in llm.tensors) for llm in problem.llms}

    def free(places: tuple[PlaceId, ...]) -> tuple[str, str]:
        left = [max(0, sizes[place] - taken.get(place, 0)) for place in places]
        return say_size(max(left)), say_size(sum(left))

    if problem.services:
        found = _table("Services", "LLM", "best in", ">stages", ">moves", "may use", ">weights", ">most free", ">free")
        for each in problem.services:
            moves = "" if each.moves_max is None else f"{each.moves_max:,}"
            size = say_size(weights[each.llm])
            places = say_names(each.places)
            found.add_row(each.llm, each.objective.value, f"{each.depth_max}", moves, places, size, *free(each.places))
        yield found
    if problem.standbys:
        found = _table("Standbys", "LLM", ">starts within", "may rest in", ">weights", ">most free", ">free")
        for standby in problem.standbys:
            start, size = say_duration(standby.start_ns_max), say_size(weights[standby.llm])
            found.add_row(standby.llm, start, say_names(standby.places), size, *free(standby.places))
        yield found


def fit_table(problem: Problem) -> Table:
    """Make the table of what each place must hold and how much is left or missing."""
    table = _table("Fit (rule MEM)", "places", "holds", ">weights", ">KV", ">workspace", ">of", ">left")
    rows: dict[tuple[str, ...], list[Fit]] = {}
    for fit in fits(problem):
        sizes = (fit.weights_bytes, fit.kv_bytes, fit.workspace_bytes, fit.place.memory_bytes)
        left = f"{fit.missing_bytes:,} missing" if fit.missing_bytes > 0 else f"{-fit.missing_bytes:,}"
        rows.setdefault((", ".join(fit.llms), *(f"{size:,}" for size in sizes), left), []).append(fit)
    for row, members in rows.items():
        table.add_row(say_names(fit.place.id for fit in members), *row)
    return table


def _table(title: str, *headings: str) -> Table:
    """Make a table; headings that begin with > are of numbers, which stand to the right."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for heading in headings:
        table.add_column(
            heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left", overflow="fold"
        )
    return table


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _contents(group: NodeGroup) -> Iterator[Text]:
    """One line per kind of memory, and one for the NICs."""
    for kind in (PlaceKind.DEVICE, PlaceKind.HOST, PlaceKind.SSD):
        places = group.of_kind(kind)
        for role in dict.fromkeys(place.role for place in places):
            same = [place for place in places if place.role == role]
            held = f"  holds {', '.join(role.held)}" if role.held else ""
            wanted = f"  is to hold {', '.join(role.wanted)}" if role.wanted else ""
            size = say_size(same[0].memory_bytes)
            names = say_names(place.name for place in same)
            what = f"{names}  {same[0].device}" if same[0].device else names
            yield Text.assemble(f"{what}  {size}", (held, "green"), (wanted, "yellow"))
    wires: dict[int, list[GroupLink]] = {}
    for link in group.links:
        if link.leaves_node and link.source.startswith("nic"):
            wires.setdefault(link.bytes_per_second, []).append(link)
    for rate, links in wires.items():
        names = say_names(link.source for link in links)
        switches = say_names(dict.fromkeys(link.destination for link in links))
        yield Text(f"{names}  {say_network_rate(rate)} to {switches}")


def _link_rows(group: NodeGroup) -> Iterator[tuple[str, ...]]:
    """Rows of equal links between the same kinds of places; a pair of equal directions is one row."""
    merged: dict[_Wire, tuple[list[str], list[str]]] = {}
    for link in group.links:
        kinds = (link.source.rstrip("0123456789"), link.destination.rstrip("0123456789"))
        key = (*kinds, link.bytes_per_second, link.latency_ns, link.leaves_node)
        sources, destinations = merged.setdefault(key, ([], []))
        sources.append(link.source)
        destinations.append(link.destination)
    shown: set[_Wire] = set()
    for key, (sources, destinations) in merged.items():
        source, destination, rate, latency, outside = key
        back = (destination, source, rate, latency, outside)
        if back in shown:
            continue
        shown.add(key)
        said = say_network_rate(rate) if outside else say_rate(rate)
        arrow = "↔" if back in merged else "→"
        ends = (say_names(dict.fromkeys(sources)), arrow, say_names(dict.fromkeys(destinations)))
        yield (*ends, said, f"{rate:,}", say_duration(latency))


def _llm_row(llm: Llm) -> tuple[str, ...]:
    weights = sum(tensor.bytes for tensor in llm.tensors)
    cache = sum(unit.kv_bytes_per_token for unit in llm.units)
    operations = sum(unit.flops_per_token for unit in llm.units)
    numbers = (f"{weights:,}", f"{cache:,}", say_operations(operations))
    return (llm.id, llm.architecture, llm.dtype, str(llm.layers), say_size(weights), *numbers)
