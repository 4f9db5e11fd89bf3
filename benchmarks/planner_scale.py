"""How long planning takes by the size of the cluster: one holder, all other nodes want the LLM.

    python -m benchmarks.planner_scale [--nodes 8 64 256 1024] [--blocks 64]

Equal nodes of one device on one switch without a bottleneck; an LLM of as many layers as blocks, so that each block is
one layer.  `plan` is all of `planner.solve`: routes, transfers, pipelines, certificates and the checker's verdict.
`check` is the checker alone, as `holdfast check` and every daemon run it.  Both are seconds of one core (process time),
the best of three runs.
"""

import argparse
import time
from collections.abc import Callable

from planner.outcome import Planned
from planner.solve import Request, solve
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.plan import Transfer
from tests.builders import a_problem, an_llm

RUNS = 3


def timed(action: Callable[[], object]) -> tuple[float, object]:
    """The least time of some runs, and what the last one gave."""
    least, result = float("inf"), None
    for _ in range(RUNS):
        began = time.process_time()
        result = action()
        least = min(least, time.process_time() - began)
    return least, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[8, 64, 256, 1024])
    parser.add_argument("--blocks", type=int, default=64)
    arguments = parser.parse_args()
    print("| nodes | blocks | transfers | pipelines | plan, s | check, s | plan, bytes |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for nodes in arguments.nodes:
        problem = a_problem(nodes, llm=an_llm(arguments.blocks, layer_bytes=2**20))
        plan_s, outcome = timed(lambda problem=problem: solve(problem, Request(blocks=arguments.blocks)))
        assert isinstance(outcome, Planned)
        plan = outcome.verified.plan
        check_s, verdict = timed(lambda problem=problem, plan=plan: verify(problem, plan))
        assert isinstance(verdict, VerifiedPlan)
        cells = (nodes, arguments.blocks, sum(isinstance(step, Transfer) for step in plan.steps), len(plan.pipelines))
        figures = (f"{plan_s:.3f}", f"{check_s:.3f}", f"{len(codec.encode(plan)):,}")
        print(f"| {' | '.join(map(str, (*cells, *figures)))} |")


if __name__ == "__main__":
    main()
