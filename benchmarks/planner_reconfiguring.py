"""How long planning from a running cluster takes by its size.

    python -m benchmarks.planner_reconfiguring [--out 64 256 512] [--full 8 32 64]

`out`: pipelines of two devices on the first half of so many nodes; all nodes may be used, so that as many open besides.
`full`: a pipeline on each of so many devices; each two become one deeper one, on devices without room for both, so that
they change one after another.  Seconds of one core (process time), once; the checker's verdict is part of it.
"""

import argparse
import time

import attrs

from planner.outcome import Planned
from planner.reconfiguring.beginning import begin
from planner.solve import solve
from specs.problem import Problem
from tests.builders import a_cluster, a_problem
from tests.planner.reconfiguring.cases import MEBIBYTE, a_service, heavy
from tests.running_clusters import after, planned


def out(nodes: int, used: int) -> Problem:
    """Pipelines of two devices on so many of these nodes."""
    return a_service(range(1, used), size=nodes)


def full(devices: int, depth: int) -> Problem:
    """So many devices with room for the LLM and two requests; memory is what limits the LLM."""
    cluster = a_cluster(devices + 1, memory_bytes=16 * MEBIBYTE)
    base = a_problem(devices + 1, 1, llm=heavy(flops=10**6), live_requests_max=8, cluster=cluster)
    service = attrs.evolve(out(devices + 1, devices + 1).services[0], depth_max=depth)
    return attrs.evolve(base, targets=(), services=(service,))


def row(what: str, size: int, before: Problem, wanted: Problem) -> str:
    """Plan from what the first problem leads to, and say how long that took."""
    begun = begin(after(before, planned(before).plan, requests=1), wanted)
    began = time.process_time()
    outcome = solve(begun.problem, begun.request)
    took_s = time.process_time() - began
    assert isinstance(outcome, Planned), outcome
    plan, running = outcome.verified.plan, len(begun.problem.running)
    return f"| {what} | {size} | {running} | {len(plan.pipelines)} | {len(plan.steps)} | {took_s:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=int, nargs="*", default=[64, 256, 512])
    parser.add_argument("--full", type=int, nargs="*", default=[8, 32, 64])
    arguments = parser.parse_args()
    print("| change | nodes | pipelines that run | that open | steps | plan, s |")
    print("|---|---:|---:|---:|---:|---:|")
    for nodes in arguments.out:
        print(row("out", nodes, out(nodes, nodes // 2), out(nodes, nodes)), flush=True)
    for devices in arguments.full:
        print(row("full", devices, full(devices, 1), full(devices, 2)), flush=True)


if __name__ == "__main__":
    main()
