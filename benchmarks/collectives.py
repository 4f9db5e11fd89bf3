"""Collectives and multicasts on published topologies: our checked schedules beside published and textbook ones.

    python -m benchmarks.collectives [--rows WORD ...]

The topologies NDv2 and DGX2, and what TE-CCL reached on them, are from github.com/microsoft/TE-CCL (SIGCOMM 2024):
`teccl/topologies/{ndv2,dgx2}.py`, `teccl/examples/experiments/output_provided`; TACCL's figures are in the same
repository, `experiments_output/tables`.  Sizes are those of the whole output, as there: an allgather of 1 GB over 16
devices has items of 62.5 MB.  Latency is on the wire and does not hold ports, as in their model.  Their runs of NDv2
with two chassis treat GPU 0 as a switch (`set_switch_indicies` gives [0] for any number of chassis), so 15 devices
hold and want items; both readings are shown.

What their figures count (`teccl/solvers/{base_formulation,allgather}.py`): each GPU has one chunk, which moves and is
copied whole.  Time runs in epochs of one chunk on the fastest link, for 1 KB of four: 1 ns.  Latency is rounded up to
epochs, but left out below a tenth of one: all of it for 1 GB, so that 7.75 ms are 31 chunks of 31.25 MB at 125 GB/s and
nothing else.  The second link of a way over a switch adds its latency only.  Our hops may move pieces of items instead.

`bound` is worked out again by the checker from the witness; `steady` is the time of the steady state alone, that is the
bytes over the best rate of any packing of trees.  Textbook schedules run over the same routes, cut into as many pieces
as suits them best.  Seconds are of CPU.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator

import attrs
import numpy as np

from planner.packing.laying import RULES, jobs_of, lay
from planner.packing.move import Method, Moved, move
from planner.packing.network import Network, network
from planner.packing.rounding import Planted, cut
from planner.packing.steady import classes_of, steady_state
from planner.search import Search
from specs.cluster import Link
from specs.decisions.flow import bounds
from specs.decisions.flow.faults import faults
from specs.decisions.flow.prices import price_bound_ns
from specs.decisions.flow.question import Item, Movement
from specs.decisions.flow.values import Objective, value

GB = 10**9
PIECES_MAX = 4096
# NVLink of one chassis, as in TE-CCL: 23 stands for 50 GB/s, 46 for 25 GB/s.
NDV2 = [
    [0, 23, 46, 46, 23, 0, 0, 0],
    [23, 0, 46, 23, 0, 46, 0, 0],
    [46, 46, 0, 23, 0, 0, 23, 0],
    [46, 23, 23, 0, 0, 0, 0, 46],
    [23, 0, 0, 0, 0, 23, 46, 46],
    [0, 46, 0, 0, 23, 0, 46, 23],
    [0, 0, 23, 0, 46, 46, 0, 23],
    [0, 0, 0, 46, 46, 23, 23, 0],
]
# Links of a DGX-1, as in SCCL.
DGX1 = [
    [0, 2, 1, 1, 2, 0, 0, 0],
    [2, 0, 1, 2, 0, 1, 0, 0],
    [1, 1, 0, 2, 0, 0, 2, 0],
    [1, 2, 2, 0, 0, 0, 0, 1],
    [2, 0, 0, 0, 0, 2, 1, 1],
    [0, 1, 0, 0, 2, 0, 1, 2],
    [0, 0, 2, 0, 1, 1, 0, 2],
    [0, 0, 0, 1, 1, 2, 2, 0],
]


@attrs.frozen(kw_only=True)
class Graph:
    memories: tuple[str, ...]
    links: tuple[Link, ...]
    scale: int = 1  # of bytes and latency alike: times come out as many times larger, and round finer

    def finer(self, scale: int) -> "Graph":
        """Slow time down: latencies are longer, and totals are to be given `scale` times as large."""
        links = tuple(attrs.evolve(link, latency_ns=link.latency_ns * scale) for link in self.links)
        return attrs.evolve(self, links=links, scale=scale)

    def movement(self, items: list[Item], *, relays: bool = False, held: bool = False) -> Movement:
        return Movement(
            memories=self.memories,
            links=self.links,
            items=tuple(items),
            relays=self.memories if relays else (),
            latency_holds_ports=held,
        )


def wire(source: str, destination: str, gigabytes: float, latency_ns: int) -> Link:
    return Link(
        id=f"{source}>{destination}",
        source=source,
        destination=destination,
        bytes_per_second=int(gigabytes * GB),
        latency_ns=latency_ns,
    )


def ndv2(chassis: int, *, first_is_switch: bool = False) -> Graph:
    name = lambda box, index: f"g{8 * box + index}"
    links = [
        wire(name(box, j), name(box, i), 50 if NDV2[i][j] == 23 else 25, 700)
        for box in range(chassis)
        for i in range(8)
        for j in range(8)
        if NDV2[i][j]
    ]
    if chassis == 2:
        links += [wire("g8", "g1", 12.5, 1300), wire("g0", "g9", 12.5, 1300)]
    else:
        for box in range(chassis):
            links += [wire(name(box, 0), "fabric", 12.5, 1300), wire("fabric", name(box, 1), 12.5, 1300)]
    memories = tuple(name(box, index) for box in range(chassis) for index in range(8))
    return Graph(memories=memories[1:] if first_is_switch else memories, links=tuple(links))


def dgx2() -> Graph:
    links, memories = [], []
    for box in range(2):
        for index in range(16):
            gpu = f"g{16 * box + index}"
            memories.append(gpu)
            links += [wire(gpu, f"nvswitch{box}", 125, 350), wire(f"nvswitch{box}", gpu, 125, 350)]
        links += [wire(f"g{16 * box + s}", f"g{16 * (1 - box) + s - 1}", 12.5, 2600) for s in range(1, 16, 2)]
    return Graph(memories=tuple(memories), links=tuple(links))


def dgx1() -> Graph:
    pairs = [(i, j) for i in range(8) for j in range(8) if DGX1[i][j]]
    links = tuple(wire(f"g{i}", f"g{j}", 25 * DGX1[i][j], 700) for i, j in pairs)
    return Graph(memories=tuple(f"g{i}" for i in range(8)), links=links)


def islands(nics: tuple[int, ...], gpus: int = 4) -> Graph:
    """Nodes of GPUs that share an NVLink switch, and a PCIe switch with one NIC of the given GB/s."""
    links: list[Link] = []
    memories = []
    for node, rate in enumerate(nics):
        for index in range(gpus):
            gpu = f"n{node}/gpu{index}"
            memories.append(gpu)
            for hub, width in ((f"n{node}/nvlink", 200), (f"n{node}/pcie", 50)):
                links += [wire(gpu, hub, width, 500), wire(hub, gpu, width, 500)]
        links += [wire(f"n{node}/pcie", "fabric", rate, 2000), wire("fabric", f"n{node}/pcie", rate, 2000)]
    return Graph(memories=tuple(memories), links=tuple(links))


def allgather(graph: Graph, total: int, count: int | None = None) -> list[Item]:
    size = total // (count or len(graph.memories))
    return [
        Item(
            name=gpu,
            bytes=size,
            holders=(gpu,),
            wanters=tuple(other for other in graph.memories if other != gpu),
            pieces_max=PIECES_MAX,
        )
        for gpu in graph.memories
    ]


def alltoall(graph: Graph, total: int, count: int | None = None) -> list[Item]:
    size = total // (count or len(graph.memories))
    return [
        Item(name=f"{a}-{b}", bytes=size, holders=(a,), wanters=(b,), pieces_max=PIECES_MAX)
        for a in graph.memories
        for b in graph.memories
        if a != b
    ]


def broadcast(graph: Graph, total: int) -> list[Item]:
    first, *others = graph.memories
    return [Item(name="all", bytes=total, holders=(first,), wanters=tuple(others), pieces_max=PIECES_MAX)]


@attrs.frozen(kw_only=True)
class Row:
    name: str
    movement: Movement
    scale: int = 1
    published: str = "-"
    textbook: bool = False


def rows() -> Iterator[Row]:
    for label, graph, published in (
        (
            "NDv2 x2, 15 devices",
            ndv2(2, first_is_switch=True),
            ("43.75 ms (43 s)", "48.75 us (47 s)", "283.75 ms (1482 s)"),
        ),
        ("NDv2 x2", ndv2(2), ("TACCL 53.77 ms (7 s)", "-", "TACCL 320.0 ms (1215 s)")),
    ):
        yield Row(
            name=f"{label}: allgather 1 GB", movement=graph.movement(allgather(graph, GB, 16)), published=published[0]
        )
        fine = graph.finer(1000)
        small = fine.movement(allgather(fine, GB // 1000 * fine.scale, 16))
        yield Row(name=f"{label}: allgather 1 MB", movement=small, scale=1000, published=published[1])
        pairs = graph.movement(alltoall(graph, GB, 16), relays=True)
        yield Row(name=f"{label}: alltoall 1 GB", movement=pairs, published=published[2])
    fine = ndv2(4).finer(1000)
    small = fine.movement(allgather(fine, 256_000 * fine.scale))
    yield Row(name="NDv2 x4: allgather 256 KB", movement=small, scale=1000, published="20.96 us (17243 s)")
    graph = dgx2()
    published = "7.75 ms (2700 s)"
    yield Row(name="DGX2 x2: allgather 1 GB", movement=graph.movement(allgather(graph, GB)), published=published)
    fine = graph.finer(1000)
    small = fine.movement(allgather(fine, 1000 * fine.scale))
    yield Row(name="DGX2 x2: allgather 1 KB", movement=small, scale=1000, published="4.006 us (18422 s)")
    pairs = graph.movement(alltoall(graph, GB), relays=True)
    yield Row(name="DGX2 x2: alltoall 1 GB", movement=pairs, published="80.5 ms")
    graph = dgx1()
    yield Row(name="DGX-1: broadcast 1 GB", movement=graph.movement(broadcast(graph, GB)))
    for nics in ((25, 25, 25), (50, 25, 12, 25)):
        graph = islands(nics)
        name = f"{len(nics)} nodes x 4 GPUs, NICs {'/'.join(map(str, nics))} GB/s: broadcast 8 GB"
        yield Row(name=name, movement=graph.movement(broadcast(graph, 8 * GB), held=True), textbook=True)


def parents(kind: str, count: int) -> list[int]:
    """Who sends to each of the nodes 1, 2, .. in a textbook tree."""
    if kind == "chain":
        return list(range(count - 1))
    if kind == "binary":
        return [(node - 1) // 2 for node in range(1, count)]
    return [node - (1 << (node.bit_length() - 1)) for node in range(1, count)]


def textbook(movement: Movement, net: Network, kind: str) -> int:
    """Best time of a textbook tree over the quickest routes, over numbers of pieces."""
    _, which = net.cheapest(net.costs(np.ones(len(movement.links))))
    above = parents(kind, len(movement.memories))
    ways = tuple(int(which[parent, node]) for node, parent in enumerate(above, start=1))
    best = math.inf
    for pieces in (1, 4, 16, 64, 256, 1024):
        cuts = cut(movement.items[0], 0, pieces)
        trees = [Planted(piece=piece, ways=ways, turn=turn) for turn, piece in enumerate(cuts)]
        jobs = jobs_of(net, trees)
        best = min(best, *(value(movement, lay(net, trees, jobs, rule), Objective.ALL) for rule in RULES))
    return int(best)


def recheck(movement: Movement, moved: Moved) -> int:
    """Work the bound out again from nothing but the question and the witness."""
    if moved.bound.method is Method.CUT:
        return bounds.cut_bound_ns(movement, moved.bound.witness)
    if moved.bound.method is Method.DUAL:
        return price_bound_ns(movement, moved.bound.witness)
    return int(getattr(bounds, moved.bound.formula)(movement))


def timed(action: Callable[[], object]) -> tuple[float, object]:
    began = time.process_time()
    result = action()
    return time.process_time() - began, result


def shown(ns: float, scale: int) -> str:
    us = ns / scale / 1000
    return f"{us / 1000:.3f} ms" if us > 1000 else f"{us:.3f} us"


def line(row: Row, within_s: float) -> list[str]:
    movement = row.movement
    plan_s, moved = timed(lambda: move(movement, Search(within_s=within_s)))
    assert isinstance(moved, Moved)
    check_s, wrong = timed(lambda: list(faults(movement, moved.delivery)))
    assert not wrong
    bound_s, bound = timed(lambda: recheck(movement, moved))
    assert bound == moved.bound.bound
    net = network(movement)
    steady = steady_state(net, classes_of(movement, net), Search(within_s=within_s), 300)
    cells = [row.name, shown(moved.value, row.scale), shown(moved.bound.bound, row.scale), f"{moved.gap:.2%}"]
    witness = ",".join(price.name for price in moved.bound.witness[:4])
    more = f", .. ({len(moved.bound.witness)})" if len(moved.bound.witness) > 4 else ""
    cells += [f"{moved.bound.method} {witness}{more}".strip(), shown(steady.time_ns, row.scale), moved.made_by]
    cells += [f"{plan_s:.2f}", f"{check_s:.2f}", f"{bound_s:.2f}"]
    if row.textbook:
        kinds = {kind: textbook(movement, net, kind) for kind in ("chain", "binary", "binomial")}
        cells.append("; ".join(f"{kind} {ns / moved.value:.2f}x" for kind, ns in kinds.items()))
    else:
        cells.append(row.published)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose name has one of these words")
    parser.add_argument("--within", type=float, default=15.0, help="seconds by the clock for each row")
    arguments = parser.parse_args()
    heads = "instance|ours|bound|gap|witness|steady|made by|plan, s|check, s|bound, s|published or textbook / ours"
    print(f"| {heads.replace('|', ' | ')} |")
    print("|---" * 11 + "|")
    for row in rows():
        if not arguments.rows or any(word in row.name for word in arguments.rows):
            print(f"| {' | '.join(line(row, arguments.within))} |", flush=True)


if __name__ == "__main__":
    main()
