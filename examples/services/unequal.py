"""An LLM too large for any one device, served over GPUs of three kinds.

    python -m examples.services.unequal page.html

plans it for fewest devices and writes a page about the plan.
"""

import sys
from pathlib import Path

import attrs

from examples.clusters.problems import FOLDER, QWEN_32B, make_llm, make_problem
from planner import Planned, solve
from planner.description.reading import read_cluster
from planner.page.render import render
from specs.cluster import PlaceKind
from specs.problem import Problem
from specs.units import Nanos
from specs.wishes import Objective, Service
from specs.workload import Slo


def unequal(objective: Objective = Objective.DEVICES) -> Problem:
    """64 GB of weights, L4 and A10 with 24 GB and L40S with 48 GB of memory; a store holds the LLM."""
    cluster = read_cluster(FOLDER / "mixed-l4-a10.yaml")
    llm = make_llm(QWEN_32B)
    base = make_problem("unequal", cluster, llm, ("store/cpu0",), ())
    devices = tuple(
        place.id for place in cluster.places if place.kind is PlaceKind.DEVICE and not place.id.startswith("store/")
    )
    return attrs.evolve(
        base,
        workloads=(attrs.evolve(base.workloads[0], requests_per_hour=360, live_requests_max=8),),
        slos=(Slo(llm=llm.id, percentile=90, ttft_ns_max=Nanos(20 * 10**9), tpot_ns_max=Nanos(400 * 10**6)),),
        services=(Service(llm=llm.id, places=devices, objective=objective),),
    )


if __name__ == "__main__":
    outcome = solve(unequal())
    assert isinstance(outcome, Planned), outcome
    Path(sys.argv[1]).write_text(render(outcome.verified), encoding="utf-8")
