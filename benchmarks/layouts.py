"""Pipelines over unequal devices: Helix's published instances, and a large question of our own.

    python -m benchmarks.layouts --helix CLONE

CLONE is a clone (or its git directory) of github.com/Thesys-lab/Helix-ASPLOS25; the instances are the `ilp_model.lp`
files under its `artifact_evaluation/`, read with `git show` and not copied.  Published figures are those of its own
solution files; bounds and times of "quality" and of the 70B instances are from its Gurobi traces (20 threads).
"""

import argparse
import subprocess
import time
from itertools import product

from benchmarks.helix_lp import question_of
from planner.layouts.search import lay_out
from planner.layouts.spans import place_spans
from planner.search import Search
from specs.decisions.layout import spans
from specs.decisions.layout.bounds import goodput_bound, latency_bound, spending_bound
from specs.decisions.layout.faults import faults
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Question, Shape
from specs.decisions.layout.values import Objective
from specs.witness import Witness

# name, folder, published flow in tokens/s, published bound, published seconds to the flow
INSTANCES = (
    ("30B, 4 A100", "single_cluster/layout_llama30b/ilp/a100", "1044.533", "", ""),
    ("30B, 8 L4", "single_cluster/layout_llama30b/ilp/l4", "214.981", "", "1"),
    ("30B, 12 T4", "single_cluster/layout_llama30b/ilp/t4", "397.685", "", ""),
    ('30B, 4 L4 + 6 T4, "quality"', "ablation/layouts/quality", "286.587", "286.587 after 3802.9 s", "277"),
    ("70B, 24 nodes, one region", "single_cluster/layout_llama70b/ilp", "1289.556", "78062", "476"),
    ("70B, 24 nodes, three regions", "distributed_clusters/layout_llama70b/ilp", "1212.177", "", ""),
    ("70B, 42 nodes, pruned", "high_heterogeneity/layout_llama70b/ilp", "4137.548", "91951", "2875"),
    ("70B, 42 nodes, all links", "ablation/layouts/no_prune_42", "4892.242", "", ""),
)

# memory in GB, arithmetic in TFLOP/s, memory traffic in GB/s, devices per node, cost per hour in cents
KINDS = {
    "h100": (80, 989, 3350, 8, 400),
    "a100": (80, 312, 2000, 8, 220),
    "l40s": (48, 362, 864, 4, 110),
    "l4": (24, 121, 300, 4, 40),
}
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def large_question(devices: int = 128, layers: int = 80, demand: int = 0) -> Question:
    """A 70B model's layers over four kinds of device, by a roofline at 60 % of arithmetic and 80 % of traffic."""
    weight, kv, context = 1_711_000_000, 4096, 1500
    groups, shapes, paces = [], [], []
    for name, (memory, flops, traffic, per_node, cost) in KINDS.items():
        group = Group(
            name=name, devices=devices, per_node=per_node, memory_bytes=memory * 9 * 10**8, cost_per_hour=cost
        )
        groups.append(group)
        for size in (each for each in (1, 2, 4, 8) if each <= per_node):
            shapes.append(Shape(name=f"{name}x{size}", group=name, devices=size))
            for batch in BATCHES:
                own = 3_000 + (20_000 if size > 1 else 0)  # launches, and the sum over a tensor-parallel group
                compute = weight * batch // (flops * 600 * size) + own
                memory_ns = (weight + kv * context * batch) * 10 // (traffic * 8 * size) + own
                tracks = ((compute,) * layers, (memory_ns,) * layers)
                paces.append(Pace(shape=f"{name}x{size}", batch=batch, tracks=tracks, workspace_bytes=10**9))
    hops = tuple(
        Hop(source=a.name, destination=b.name, latency_ns=20_000 if a == b else 40_000, ns_per_token=1400)
        for a, b in product(groups, groups)
    )
    return Question(
        weight_bytes=(weight,) * layers,
        kv_bytes_per_token=(kv,) * layers,
        context_tokens=2000,
        groups=tuple(groups),
        shapes=tuple(shapes),
        paces=tuple(paces),
        hops=hops,
        limits=Limits(tpot_ns=60_000_000, depth=16, in_flight=16, demand_millitokens_per_second=demand),
    )


def helix(clone: str) -> None:
    print("| instance | published tokens/s, bound, s | ours | bound | gap | at once | plan CPU s | check CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, folder, flow, bound, seconds in INSTANCES:
        path = f"HEAD:artifact_evaluation/{folder}/ilp_model.lp"
        text = subprocess.run(["git", "-C", clone, "show", path], capture_output=True, text=True, check=True).stdout
        question = question_of(text)
        began = time.process_time()
        found = place_spans(question, Search(within_s=20))
        planned = time.process_time() - began
        began = time.process_time()
        assert not list(spans.faults(question, found.answer))
        assert spans.cover_bound(question, found.witness) == found.bound
        checked = time.process_time() - began
        gap = (found.bound - found.value) / found.value
        print(
            f"| {name} | {flow}; {bound}; {seconds} | {found.value / 1000:.3f} | {found.bound / 1000:.3f} | {gap:.1%} "
            f"| {spans.layers_bound(question) / 1000:.1f} | {planned:.2f} | {checked:.3f} |",
            flush=True,
        )


def large() -> None:
    print("| question | value | bound | gap | plan CPU s | check CPU s |")
    print("|---|---|---|---|---|---|")
    rows = (
        ("512 devices, most tokens", Objective.GOODPUT, 0),
        ("200,000 tokens/s, least cost", Objective.COST, 200),
        ("200,000 tokens/s, fewest devices", Objective.DEVICES, 200),
        ("200,000 tokens/s, least TPOT", Objective.TPOT, 200),
    )
    for name, objective, demand in rows:
        question = large_question(demand=demand * 10**6)
        began = time.process_time()
        found = lay_out(question, objective, Search())
        planned = time.process_time() - began
        began = time.process_time()
        assert found.answer is not None
        assert not list(faults(question, found.answer))
        assert _shown(question, objective, found.witness) == found.bound
        checked = time.process_time() - began
        print(
            f"| {name} | {found.value} | {found.bound} | {found.gap:.2%} | {planned:.1f} | {checked:.2f} |", flush=True
        )


def _shown(question: Question, objective: Objective, witness: Witness) -> int:
    """What the specs make of a witness."""
    match objective:
        case Objective.GOODPUT:
            return goodput_bound(question, witness)
        case Objective.COST | Objective.DEVICES:
            return spending_bound(question, objective, witness)
        case Objective.TPOT | Objective.TTFT:
            return latency_bound(question, objective, witness)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helix", help="a clone of github.com/Thesys-lab/Helix-ASPLOS25")
    options = parser.parse_args()
    if options.helix:
        helix(options.helix)
        print()
    large()


if __name__ == "__main__":
    main()
