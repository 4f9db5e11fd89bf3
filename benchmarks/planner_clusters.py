"""How good plans on the example clusters are, and how long planning takes: one row for each cluster.

    python -m benchmarks.planner_clusters [NAME ...] [--nodes N] [--blocks B]

`value` and `bound` are those of the completion in nanoseconds, shown in seconds; `method` and the formula say how the
bound is known.  `plan` is all of `planner.solve` and `check` the checker alone, in seconds of one core; `peak` is the
most memory that the process has had so far, so that it belongs to the row only when that row runs alone.
"""

import argparse
import resource
import time

from examples.clusters.problems import EXAMPLES, example
from planner.outcome import Planned
from planner.solve import Request, solve
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.plan import Claim, Measure
from specs.units import NANOS_PER_SECOND


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(EXAMPLES), help=f"of {', '.join(EXAMPLES)}")
    parser.add_argument("--nodes", type=int, help="only the first nodes of each cluster")
    parser.add_argument("--blocks", type=int, help="in place of the example's")
    arguments = parser.parse_args()
    print(
        "| cluster | nodes | blobs | value, s | bound, s | gap, % | method | plan, s | check, s | bytes | peak, MiB |"
    )
    print("|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|")
    for name in arguments.names:
        print(_row(name, arguments.nodes, arguments.blocks or EXAMPLES[name].blocks), flush=True)


def _row(name: str, nodes: int | None, blocks: int | None) -> str:
    problem = example(name, nodes)
    began = time.process_time()
    outcome = solve(problem, Request(blocks=blocks))
    planned = time.process_time() - began
    if not isinstance(outcome, Planned):
        return f"| {name} | {len(problem.cluster.nodes):,} | {outcome} |"
    plan = outcome.verified.plan
    began = time.process_time()
    assert isinstance(verify(problem, plan), VerifiedPlan)
    checked = time.process_time() - began
    row = next(each for each in plan.certificates if (each.claim, each.measure) == (Claim.COMPLETION, Measure.NANOS))
    cells = (
        name,
        f"{len(problem.cluster.nodes):,}",
        len(plan.blobs),
        f"{row.value / NANOS_PER_SECOND:.4f}",
        f"{row.bound / NANOS_PER_SECOND:.4f}",
        f"{100 * (row.value / row.bound - 1):.2f}" if row.bound else "-",
        f"{row.method} ({row.formula})",
        f"{planned:.2f}",
        f"{checked:.2f}",
        f"{len(codec.encode(plan)):,}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
