"""Collectives in steps and rounds: the instances of SCCL on a DGX-1, frontiers, broadcasts to the end, larger fabrics.

    python -m benchmarks.rounds [--within 60] [--msccl CHECKOUT]

Peers' figures: published ones from SCCL (github.com/microsoft/msccl-tools, SYNTHESIS.md, and the paper, PPoPP 2021),
measured ones with msccl-tools 030a750 and z3-solver 5.4 on two shared cores.  With --msccl, a checkout of
that repository, its own simulator (`Algorithm.check_implements` and its bandwidth check) replays our schedules too.
Seconds are of CPU; imports (0.8 s) are not counted.
"""

import argparse
import importlib
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from planner.rounds.frontier import frontier
from planner.rounds.pipeline import Batches, pipelined
from planner.rounds.proof import strongest_proof
from planner.rounds.schedule import Impossible, Outcome, Scheduled, schedule
from planner.rounds.symmetry import identity
from planner.search import Search
from specs.decisions.rounds.answer import Answer, faults, value
from specs.decisions.rounds.bounds import Unreachable
from specs.decisions.rounds.certificate import Certificate, certificate_faults
from specs.decisions.rounds.collectives import allgather, alltoall, broadcast, gather, scatter
from specs.decisions.rounds.question import Chunks, Fabric, Link, Question, Shared

DGX1_MATRIX = (
    (0, 2, 1, 1, 2, 0, 0, 0),
    (2, 0, 1, 2, 0, 1, 0, 0),
    (1, 1, 0, 2, 0, 0, 2, 0),
    (1, 2, 2, 0, 0, 0, 0, 1),
    (2, 0, 0, 0, 0, 2, 1, 1),
    (0, 1, 0, 0, 2, 0, 1, 2),
    (0, 0, 2, 0, 1, 1, 0, 2),
    (0, 0, 0, 1, 1, 2, 2, 0),
)
DGX1 = Fabric.from_matrix(DGX1_MATRIX)


@attrs.frozen
class Row:
    name: str  # "Allgather C6"; the first word is the collective's name in msccl
    count: int
    steps: int
    rounds: int
    published: str
    measured: str


ROWS = (
    Row("allgather", 1, 2, 2, "0.5", "0.2"),
    Row("allgather", 2, 2, 3, "0.9", "0.6"),
    Row("allgather", 3, 2, 4, "1.1", "0.8"),
    Row("allgather", 3, 3, 4, "2.9", "2.1"),
    Row("allgather", 6, 3, 7, "56.1", "27.0"),
    Row("gather", 6, 3, 7, "-", "6.5"),
    Row("gather", 6, 2, 7, "-", "-"),
    Row("broadcast", 7, 3, 3, "-", "0.5"),
    Row("broadcast", 8, 3, 3, "-", "0.7"),
    Row("alltoall", 3, 8, 8, "133.7", "> 187"),
    Row("alltoall", 3, 2, 8, "-", "-"),
    Row("alltoall", 3, 2, 7, "-", "-"),
)

COLLECTIVES: dict[str, Callable[[int, int], tuple[Chunks, ...]]] = {
    "allgather": allgather,
    "alltoall": alltoall,
    "gather": lambda nodes, count: gather(nodes, count, 0),
    "scatter": lambda nodes, count: scatter(nodes, count, 0),
    "broadcast": lambda nodes, count: broadcast(nodes, count, 0),
}


def timed(question: Question, options: argparse.Namespace) -> tuple[Outcome, float, float]:
    """A schedule or why there is none; seconds of CPU to find and to check it."""
    begin = time.process_time()
    outcome = schedule(question, Search(within_s=options.within))
    found = time.process_time()
    wrong = list(certificate_faults(question, outcome.proof))
    if isinstance(outcome, Scheduled):
        wrong += faults(question, outcome.answer)
    assert not wrong, wrong
    return outcome, found - begin, time.process_time() - found


def reason(proof: Certificate) -> str:
    lists = f", {len(proof.witnesses)} lists" if len(proof.witnesses) > 1 else ""
    least = "no number of rounds" if proof.rounds is None else f">= {proof.rounds}"
    return f"{least}, {proof.method}{lists}"


def published_rows(options: argparse.Namespace) -> None:
    print("\n## SCCL's instances on a DGX-1\n")
    print("| instance | verdict | proved rounds | plan s | check s | msccl published s | msccl here s | its checker |")
    print("|---|---|---|---:|---:|---:|---:|---|")
    for row in ROWS:
        chunks = COLLECTIVES[row.name](8, row.count)
        question = Question(fabric=DGX1, chunks=chunks, steps=row.steps, rounds=row.rounds)
        outcome, plan_s, check_s = timed(question, options)
        verdict = "unsat" if isinstance(outcome, Impossible) else "undecided"
        theirs = "-"
        if isinstance(outcome, Scheduled):
            verdict = f"sat, R{value(outcome.answer)}"
            if options.msccl is not None:
                theirs = replay(options.msccl, row, outcome.answer)
        asked = f"{row.name} C{row.count} S{row.steps} R{row.rounds}"
        print(
            f"| {asked} | {verdict} | {reason(outcome.proof)} | {plan_s:.2f} "
            f"| {check_s:.2f} | {row.published} | {row.measured} | {theirs} |",
            flush=True,
        )


def replay(checkout: Path, row: Row, answer: Answer) -> str:
    """Let msccl's own simulator run the schedule; its package is entered below its imports of GPU tooling."""
    if "msccl" not in sys.modules:
        package = types.ModuleType("msccl")
        package.__path__ = [str(checkout / "msccl")]
        sys.modules["msccl"] = package
    algorithm, collectives, instance, topologies = (
        importlib.import_module(f"msccl.{name}") for name in ("algorithm", "collectives", "instance", "topologies")
    )
    rooted = (0,) if row.name in ("broadcast", "gather", "scatter") else ()
    collective = getattr(collectives, row.name)(8, *rooted)
    steps = [
        algorithm.Step(rounds, [(address(row, send.chunk), send.source, send.destination) for send in sends])
        for rounds, sends in (
            (rounds, [send for send in answer.sends if send.step == step]) for step, rounds in enumerate(answer.rounds)
        )
    ]
    asked = instance.Instance(steps=row.steps, extra_rounds=row.rounds - row.steps, chunks=row.count)
    algorithm.Algorithm.make_implementation(collective, topologies.dgx1(), asked, steps)
    return "accepts"


def address(row: Row, chunk: int) -> int:
    """Our number of a chunk in msccl's numbering, which for Alltoall counts pairs by destination, with themselves."""
    if row.name != "alltoall":
        return chunk
    pair, copy = divmod(chunk, row.count)
    source, place = divmod(pair, 7)
    destination = place + (place >= source)
    return (destination * 8 + source) * row.count + copy


def frontiers(options: argparse.Namespace) -> None:
    print("\n## Frontiers of a DGX-1, with proofs\n")
    print("| collective | floors: rounds per copy by steps, for any number of copies | best C/S/R | proved | s |")
    print("|---|---|---|---|---:|")
    for name, collective in COLLECTIVES.items():
        begin = time.process_time()
        steps_max = 4 if name == "broadcast" else 8  # a broadcast gains from every further step
        search = Search(within_s=options.within)
        found = frontier(DGX1, collective(8, 1), search, steps_max=steps_max, copies_max=13)
        seconds = time.process_time() - begin
        assert not isinstance(found, Unreachable)
        floors = ", ".join(f"S{each.steps}: {each.rounds_per_copy} ({each.method})" for each in found.floors)
        best = ", ".join(
            f"{each.copies}/{each.steps}/{value(each.outcome.answer)}"
            for each in found.best
            if isinstance(each.outcome, Scheduled)
        )
        exact = sum(isinstance(each.outcome, Scheduled) and each.outcome.gap == 0 for each in found.points)
        print(f"| {name} | {floors} | {best} | {exact} of {len(found.points)} points | {seconds:.2f} |", flush=True)


def broadcasts(options: argparse.Namespace) -> None:
    print("\n## Broadcast to the end on a DGX-1, steps of one round\n")
    print("Steady state: 6 chunks per round, by the cut around any one node.\n")
    print("| chunks | rounds | proved | 6 rings | one chain | plan s | prove s |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for copies in (12, 13, 19, 20, 32, 64, 67, 128, 256):
        batches = Batches(fabric=DGX1, one_copy=broadcast(8, 1, 0), copies=copies, per_batch=6, rounds_per_step=1)
        begin = time.process_time()
        found = pipelined(batches, Search(within_s=options.within), steps_max=6)
        middle = time.process_time()
        assert found is not None
        proofs: list[str] = []
        rounds = value(found.answer)
        for fewer in range(rounds - 1, 0, -1):
            question = Question(fabric=DGX1, chunks=broadcast(8, copies, 0), steps=fewer, rounds=fewer)
            proof = strongest_proof(question, (identity(question),), Search(within_s=options.within))
            if proof.rounds is None or proof.rounds > fewer:
                assert not list(certificate_faults(question, proof))
                proofs.append(f">= {fewer + 1}, {proof.method}")
                break
        # Six rings of single links, each opened into a chain of seven; one chain of double links, 0 1 3 2 6 7 5 4.
        print(
            f"| {copies} | {rounds} | {proofs[0]} | {-(-copies // 6) + 6} | {-(-copies // 2) + 6} "
            f"| {middle - begin:.2f} | {time.process_time() - middle:.2f} |",
            flush=True,
        )


def crossbar(nodes: int, ports: int) -> Fabric:
    others = {node: [other for other in range(nodes) if other != node] for node in range(nodes)}
    links = tuple(Link(source=a, destination=b, chunks_per_round=ports) for a in others for b in others[a])
    shared = [Shared(name=f"out{a}", links=tuple((a, b) for b in others[a]), chunks_per_round=ports) for a in others]
    shared += [Shared(name=f"in{b}", links=tuple((a, b) for a in others[b]), chunks_per_round=ports) for b in others]
    return Fabric(nodes=nodes, links=links, shared=tuple(shared))


def torus(side: int) -> Fabric:
    ends = {
        (x * side + y, (x + dx) % side * side + (y + dy) % side)
        for x in range(side)
        for y in range(side)
        for dx, dy in ((0, 1), (0, side - 1), (1, 0), (side - 1, 0))
    }
    links = tuple(Link(source=a, destination=b, chunks_per_round=1) for a, b in sorted(ends))
    return Fabric(nodes=side * side, links=links)


def ring(nodes: int) -> Fabric:
    ends = {(i, (i + shift) % nodes) for i in range(nodes) for shift in (1, nodes - 1)}
    links = tuple(Link(source=a, destination=b, chunks_per_round=1) for a, b in sorted(ends))
    return Fabric(nodes=nodes, links=links)


def chassis(copies: int, remote: int) -> Fabric:
    """DGX-1s whose nodes reach all others over one shared uplink and one shared downlink per chassis (msccl's hub)."""
    nodes = range(8 * copies)
    matrix = tuple(tuple(DGX1_MATRIX[a % 8][b % 8] if a // 8 == b // 8 else remote for b in nodes) for a in nodes)
    shared = []
    for i in range(copies):
        out = tuple((a, b) for a in nodes for b in nodes if a // 8 == i != b // 8)
        shared.append(Shared(name=f"up{i}", links=out, chunks_per_round=remote))
        back = tuple((b, a) for a, b in out)
        shared.append(Shared(name=f"down{i}", links=back, chunks_per_round=remote))
    return Fabric.from_matrix(matrix, shared=tuple(shared))


def larger(options: argparse.Namespace) -> None:
    print("\n## Allgather on larger fabrics\n")
    print("| fabric | C S | rounds | proved | plan s | check s |")
    print("|---|---|---:|---|---:|---:|")
    for name, fabric, count, steps in instances():
        question = Question(fabric=fabric, chunks=allgather(fabric.nodes, count), steps=steps, rounds=16 * 16 * count)
        outcome, plan_s, check_s = timed(question, options)
        rounds = str(value(outcome.answer)) if isinstance(outcome, Scheduled) else "none found"
        print(
            f"| {name} | C{count} S{steps} | {rounds} | {reason(outcome.proof)} | {plan_s:.2f} | {check_s:.2f} |",
            flush=True,
        )


def instances() -> Iterator[tuple[str, Fabric, int, int]]:
    yield "16 GPUs on a crossbar, 6 ports (DGX-2)", crossbar(16, 6), 2, 1
    yield "ring of 16", ring(16), 2, 8
    yield "torus 4 x 4", torus(4), 4, 4
    yield "two DGX-1, uplinks of 1", chassis(2, 1), 1, 2
    yield "two DGX-1, uplinks of 1", chassis(2, 1), 1, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--within", type=float, default=60.0, help="seconds by the clock for each search")
    parser.add_argument("--msccl", type=Path, help="a checkout of github.com/microsoft/msccl-tools")
    options = parser.parse_args()
    published_rows(options)
    frontiers(options)
    broadcasts(options)
    larger(options)


if __name__ == "__main__":
    main()
