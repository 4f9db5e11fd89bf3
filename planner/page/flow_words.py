"""What is said of the flow: of each edge, of what binds, and of the busiest links as a table."""

from collections.abc import Collection, Sequence

from planner.cli.plan_tables import seconds
from planner.description.wording import say_names, say_network_rate
from planner.flow import ALIKE_PPM, Bottleneck, Cut, Flow, LinkFlow
from planner.page.flow_map import Edge, FlowMap
from specs.cluster import LinkId, PlaceId
from specs.invariants.facts import Facts
from specs.plan import StepId

ROWS_MAX = 24  # of the table of links
BUSY_PPM = 750_000  # a link that is busy for less of the plan is not called its bottleneck
_NAMES_LETTERS = 90
_STEPS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def percent(share_ppm: int) -> str:
    """Write a share for a person, rounded down: 98.4 %."""
    tenths = share_ppm // 1_000
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths // 10}.{tenths % 10} %"


def say_bytes(amount: int) -> str:
    """Write bytes with four digits, in the powers of ten in which rates are written: 16.06 GB."""
    factor, prefix = next((step for step in _STEPS if amount >= step[0]), (1, ""))
    if factor == 1:
        return f"{amount} B"
    decimals = 3 - len(str(amount // factor))
    whole = f"{amount / factor:.{max(decimals + 1, 0)}f}"
    return f"{whole.rstrip('0').rstrip('.') if '.' in whole else whole} {prefix}B"


def edge_lines(edge: Edge, drawn: FlowMap, flow: Flow) -> list[str]:
    """Say of an edge what it is, what it carries and how busy it is."""
    source, destination = drawn.vertices[edge.source], drawn.vertices[edge.destination]
    hot = edge.hottest
    outside = source.tile is None or destination.tile is None
    rate = f"{say_bytes(edge.bytes_per_second)}/s"
    if outside:
        rate += f" ({say_network_rate(edge.bytes_per_second)})"
    count = len(edge.links)
    if count == 1:
        most = f"{percent(hot.peak_ppm)} at most"
        return [
            f"{arrow(hot.link)}: {say_bytes(hot.bytes)} in {hot.transfers:,} transfers",
            f"of {rate}, {percent(hot.mean_ppm)} used over the plan, {most}",
            f"busy {seconds(hot.busy_ns)} of {seconds(flow.duration_ns)}, nothing left of it {percent(hot.taken_ppm)}",
        ]
    ends = f"{_short(say_names(source.places))} → {_short(say_names(destination.places))}"
    idle = "all of them carry something" if edge.used == count else f"{edge.used:,} of them carry something"
    return [
        f"{count:,} links {ends}: {say_bytes(edge.bytes)} in all",
        f"{idle}; of {rate} together, {percent(edge.mean_ppm)} used over the plan",
        f"the busiest, {arrow(hot.link)}: {say_bytes(hot.bytes)}, {percent(hot.mean_ppm)} used",
    ]


def arrow(link: str) -> str:
    """Write the name of a link as descriptions make it, from>to, for a person."""
    return link.replace(">", " → ")


def _short(text: str) -> str:
    return text if len(text) <= _NAMES_LETTERS else f"{text[: _NAMES_LETTERS - 1]}…"


def bottleneck_sentences(facts: Facts, flow: Flow, found: Bottleneck) -> list[str]:
    """Say what binds: the links, or that none does all the time; the cut; the chain of waits."""
    said = [_links_sentence(found.links)] if found.links else []
    if found.cut is not None and found.cut.bytes:
        said.append(_cut_sentence(facts, flow, found.cut, certified=found.certified))
    said.append(_chain_sentence(facts, found.chain))
    return said


def _links_sentence(links: Sequence[LinkFlow]) -> str:
    first = links[0]
    taken, used = percent(first.taken_ppm), percent(first.mean_ppm)
    busy = f"busy {taken} of the plan"
    if first.taken_ppm - first.mean_ppm > ALIKE_PPM:
        busy += f" though only {used} full, for it waits for slower links"
    others = ""
    if len(links) > 1:
        names = _short(", ".join(arrow(each.link) for each in links[1:4]))
        more = f" and {len(links) - 4:,} more" if len(links) > 4 else ""
        others = f"; no less busy: {names}{more}"
    carried = f"with {say_bytes(first.bytes)} in {first.transfers:,} transfers{others}."
    if first.taken_ppm >= BUSY_PPM:
        return f"Bottleneck: {arrow(first.link)}, {busy}, {carried}"
    return f"No link is a bottleneck: the least idle is {arrow(first.link)}, {busy}, {carried}"


def _cut_sentence(facts: Facts, flow: Flow, cut: Cut, *, certified: bool) -> str:
    bound = f"{say_bytes(cut.bytes)} over {say_bytes(cut.bytes_per_second)}/s = {seconds(cut.bound_ns)}"
    links = "1 link" if len(cut.links) == 1 else f"{len(cut.links):,} links"
    last = f"the plan's last arrival is at {seconds(flow.duration_ns)}"
    whose = ", of the certificate," if certified else ""
    return f"Cut{whose} into {cut_name(facts, cut.places)}, {links}: at least {bound}; {last}."


def cut_name(facts: Facts, places: Collection[PlaceId]) -> str:
    """Name a set of places shortly: whole nodes by their names, and what is most of the cluster by what it lacks."""
    every = facts.problem.cluster.places
    inside = set(places)
    if 2 * len(inside) > len(every):
        return f"everything but {_name_places(facts, {place.id for place in every} - inside)}"
    return _name_places(facts, inside)


def _name_places(facts: Facts, inside: Collection[PlaceId]) -> str:
    cluster = facts.problem.cluster
    broken = {place.node for place in cluster.places if place.id not in inside}
    whole = [node.id for node in cluster.nodes if node.id not in broken]
    single = [place.id for place in cluster.places if place.id in inside and place.node not in whole]
    return _short("{" + ", ".join(filter(None, (say_names(whole), say_names(single)))) + "}")


def _chain_sentence(facts: Facts, chain: Sequence[StepId]) -> str:
    if len(chain) == 1:
        return "The last arrival waits for no other transfer."
    steps = {hop.transfer.id: hop for hop in facts.hops}
    ports: dict[LinkId, int] = {}
    for step in chain:
        for port in (steps[step].send_port, steps[step].receive_port):
            ports[port] = ports.get(port, 0) + 1
    most = max(ports, key=lambda port: ports[port])
    return (
        f"The last arrival ends a chain of {len(chain):,} transfers that wait one for another; "
        f"{ports[most]:,} of them cross {arrow(most)}."
    )


def table_rows(facts: Facts, flow: Flow) -> list[tuple[str, ...]]:
    """The busiest links first, as rows: link, bytes, transfers, rate, used, at most, busy, taken."""
    used = sorted((each for each in flow.links if each.transfers), key=lambda each: (-each.taken_ppm, -each.mean_ppm))
    return [
        (
            arrow(each.link),
            say_bytes(each.bytes),
            f"{each.transfers:,}",
            f"{say_bytes(facts.links[each.link].bytes_per_second)}/s",
            percent(each.mean_ppm),
            percent(each.peak_ppm),
            seconds(each.busy_ns),
            percent(each.taken_ppm),
        )
        for each in used[:ROWS_MAX]
    ]
