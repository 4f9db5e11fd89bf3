"""Unit mixes beside two public planners: sizing by AIConfigurator, GPU mixes by Mélange as AIBrix ships it.

    python -m benchmarks.mixes [--aibrix GIT_DIRECTORY]

Sizing: Qwen3-32B-FP8 on H200, 4000 tokens in, 1000 out; the rates of the workers and the sizes are AIConfigurator's
own, as printed by version 0.12.0.  Uniform: our best group of equal deployments, of at most so many GPUs each.

GPU mixes: read from a clone (bare or not) of github.com/vllm-project/aibrix, at HEAD, the files
`python/aibrix/aibrix/gpu_optimizer/optimizer/profiling/result/simulator-llama2-7b-{a100,a40}.json`: requests per
second by size of answer and prompt, and cost.  Beside our answer, Mélange's formulation (slices of the load, 4 per
bucket, each whole on one kind of GPU) solved by CBC, which it uses too.  Which load its published costs of 0.3, 1.2
and 4.8 belong to is not published; of all single buckets, 256 x 128 and 4 x 1024 give just these.

`solve` and `check` are milliseconds of wall time, the best of five; the first solve in a process loads the solver.
"""

import argparse
import json
import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
from ortools.linear_solver import pywraplp

from planner.mixes.answer import MixInfeasible, MixPlanned
from planner.mixes.solve import NODES_MAX, best_mix
from planner.mixes.uniform import best_uniform
from specs.decisions.mix.bounds import none_below, price_bound
from specs.decisions.mix.checks import faults, final_counts, value
from specs.decisions.mix.question import (
    Ability,
    Demand,
    DeviceCount,
    MixQuestion,
    Objective,
    Supply,
    Unit,
)

PROFILES = "python/aibrix/aibrix/gpu_optimizer/optimizer/profiling/result"
RUNS = 5
PREFILL, DECODE = ("prefill",), ("decode",)
WORKERS = (  # name, GPUs, requests per second, demands covered
    ("prefill-tp1", 1, 3.391 * 0.9, PREFILL),
    ("decode-tp1", 1, 2.767 * 0.92, DECODE),
    ("decode-tp2", 2, 6.301 * 0.92, DECODE),
    ("decode-tp4", 4, 11.594 * 0.92, DECODE),
    ("both-tp1", 1, 1.350, PREFILL + DECODE),
    ("both-tp2", 2, 2.739, PREFILL + DECODE),
)
PUBLISHED_SIZES = {10: 8, 25: 19, 100: 72}
PUBLISHED_SECONDS = 8.8
PUBLISHED_COSTS = {5: 0.3, 20: 1.2, 100: 4.8}
SLICES = 4
Found = TypeVar("Found")


def timed(action: Callable[[], Found]) -> tuple[float, Found]:
    """The least milliseconds of some runs, and what the last one gave."""
    least = math.inf
    for _ in range(RUNS):
        began = time.perf_counter()
        result = action()
        least = min(least, time.perf_counter() - began)
    return least * 1000, result


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |")


def request_ns(per_second: float) -> int:
    return math.ceil(1e9 / per_second)


def checked(question: MixQuestion, planned: MixPlanned) -> None:
    """What somebody who doubts the answer does."""
    assert not list(faults(question, planned.mix))
    assert value(question, planned.mix) == planned.value
    if planned.method == "exhausted":
        assert none_below(question, planned.value, planned.witness, planned.cuts, NODES_MAX) is not None
    elif planned.method == "dual":
        assert price_bound(question, planned.witness) == planned.bound


def mix_of(question: MixQuestion, planned: MixPlanned) -> str:
    return ", ".join(f"{count} {name}" for name, count in final_counts(question, planned.mix).items() if count)


# --- sizing ----------------------------------------------------------------------------------------------------------


def sizing(per_second: int, available: int = 1000) -> MixQuestion:
    return MixQuestion(
        units=tuple(
            Unit(
                name=name,
                abilities=(Ability(covers=covers, request_ns=request_ns(rate)),),
                devices=(DeviceCount(kind="h200", count=count),),
                cost=count,
                start_cost=0,
                stop_cost=0,
                running=0,
            )
            for name, count, rate, covers in WORKERS
        ),
        demands=tuple(
            Demand(name=name, requests_per_hour=per_second * 3600, floor_per_hour=0) for name in ("prefill", "decode")
        ),
        supplies=(Supply(kind="h200", available=available),),
        objective=Objective.DEVICES,
        hours=1,
        phases_max=1,
    )


def show_sizing() -> None:
    print("\n### Sizing: fewest GPUs\n")
    row("req/s", "AIConfigurator", "ours", "LP bound", "bound", "by", "nodes", "solve, ms", "check, ms", "mix")
    row(*["---:"] * 5, "---", *["---:"] * 3, "---")
    for rate, published in PUBLISHED_SIZES.items():
        question = sizing(rate)
        solve_ms, planned = timed(lambda question=question: best_mix(question))
        assert isinstance(planned, MixPlanned)
        check_ms, _ = timed(lambda question=question, planned=planned: checked(question, planned))
        reason = (planned.price_bound, planned.bound, planned.method, planned.nodes)
        figures = (f"{solve_ms:.1f}", f"{check_ms:.1f}")
        row(rate, published, planned.value, *reason, *figures, mix_of(question, planned))
    print(f"\nAIConfigurator takes {PUBLISHED_SECONDS} s per query.  The price of uniformity:\n")
    row("req/s", "AIConfigurator", "free mix", "GPUs of one group at most", "groups", "GPUs", "exact", "group", "ms")
    row(*["---:"] * 6, "---", "---", "---:")
    for rate, published in PUBLISHED_SIZES.items():
        free = best_mix(sizing(rate))
        assert isinstance(free, MixPlanned)
        for most in (8, 16, 32):
            began = time.perf_counter()
            found = best_uniform(sizing(rate), most)
            took = f"{(time.perf_counter() - began) * 1000:.0f}"
            if found is not None:
                group = mix_of(found.question, found.group)
                row(rate, published, free.value, most, found.groups, found.value, found.exact, group, took)
    short = best_mix(sizing(100, available=60))
    assert isinstance(short, MixInfeasible)
    print(f"\n60 GPUs for 100 req/s ({short.method}): " + "; ".join(each.sentence for each in short.conflicts))


# --- GPU mixes -------------------------------------------------------------------------------------------------------

Bucket = tuple[int, int]
LOADS: dict[str, dict[Bucket, float]] = {
    "answers 256 x prompts 128": {(6, 0): 1.0},
    "answers 4 x prompts 1024": {(0, 3): 1.0},
    "half 64 x 256, half 256 x 1024": {(4, 1): 0.5, (6, 3): 0.5},
    "35 buckets alike": {(i, j): 1 / 35 for i in range(7) for j in range(5)},
}


@attrs.frozen(kw_only=True)
class Gpu:
    """One profile: cost per hour and requests per second by bucket."""

    name: str
    cost: float
    rates: list[list[float]]


def profiles(clone: Path) -> list[Gpu]:
    found = []
    for name in ("a100", "a40"):
        path = f"HEAD:{PROFILES}/simulator-llama2-7b-{name}.json"
        shown = subprocess.run(["git", "-C", str(clone), "show", path], capture_output=True, check=True)
        document = json.loads(shown.stdout)
        found.append(Gpu(name=name, cost=document["cost"], rates=document["tputs"]))
    return found


def gpu_question(gpus: list[Gpu], load: dict[Bucket, float], per_second: float) -> MixQuestion:
    """Cost in hundredths; one demand per bucket, which any GPU that can serve it at all may serve."""
    return MixQuestion(
        units=tuple(
            Unit(
                name=gpu.name,
                abilities=tuple(
                    Ability(covers=(f"{i}x{j}",), request_ns=request_ns(gpu.rates[i][j]))
                    for i, j in load
                    if gpu.rates[i][j] > 0
                ),
                devices=(DeviceCount(kind=gpu.name, count=1),),
                cost=round(gpu.cost * 100),
                start_cost=0,
                stop_cost=0,
                running=0,
            )
            for gpu in gpus
        ),
        demands=tuple(
            Demand(name=f"{i}x{j}", requests_per_hour=math.ceil(per_second * share * 3600 - 1e-6), floor_per_hour=0)
            for (i, j), share in load.items()
        ),
        supplies=tuple(Supply(kind=gpu.name, available=1000) for gpu in gpus),
        objective=Objective.COST,
        hours=1,
        phases_max=1,
    )


def melange(gpus: list[Gpu], load: dict[Bucket, float], per_second: float) -> dict[str, int]:
    """Mélange's formulation: y_g whole GPUs; each slice of a bucket's load on one kind; the load of a kind fits."""
    solver = pywraplp.Solver.CreateSolver("CBC")
    counts = [solver.IntVar(0, solver.infinity(), "") for _ in gpus]
    loads = [solver.Constraint(-solver.infinity(), 0) for _ in gpus]
    for count, used, gpu in zip(counts, loads, gpus, strict=True):
        used.SetCoefficient(count, -1)
        solver.Objective().SetCoefficient(count, gpu.cost)
    for (i, j), share in load.items():
        for _ in range(SLICES):
            one = solver.Constraint(1, 1)
            for used, gpu in zip(loads, gpus, strict=True):
                on = solver.BoolVar("")
                one.SetCoefficient(on, 1)
                of_slice = per_second * share / SLICES
                used.SetCoefficient(on, of_slice / gpu.rates[i][j] if gpu.rates[i][j] > 0 else 1e6 * of_slice)
    solver.Objective().SetMinimization()
    assert solver.Solve() == pywraplp.Solver.OPTIMAL
    return {gpu.name: round(count.solution_value()) for count, gpu in zip(counts, gpus, strict=True)}


def counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def show_gpu_mixes(gpus: list[Gpu]) -> None:
    costs = {gpu.name: gpu.cost for gpu in gpus}
    print("\n### GPU mixes: least cost per hour\n")
    row(
        "load",
        "req/s",
        "published",
        "Mélange",
        "its mix",
        "CBC, ms",
        "ours",
        "our mix",
        "bound",
        "by",
        "ms",
        "check, ms",
    )
    row("---", "---:", "---:", "---:", "---", "---:", "---:", "---", "---:", "---", "---:", "---:")
    for name, load in LOADS.items():
        for rate in (5, 20, 100):
            theirs_ms, theirs = timed(lambda load=load, rate=rate: melange(gpus, load, rate))
            question = gpu_question(gpus, load, rate)
            solve_ms, planned = timed(lambda question=question: best_mix(question))
            assert isinstance(planned, MixPlanned)
            check_ms, _ = timed(lambda question=question, planned=planned: checked(question, planned))
            published = PUBLISHED_COSTS[rate] if len(load) == 1 else "-"
            cost = sum(costs[gpu] * count for gpu, count in theirs.items())
            mine = (planned.value / 100, mix_of(question, planned), planned.bound / 100, planned.method)
            times = (f"{solve_ms:.1f}", f"{check_ms:.1f}")
            row(name, rate, published, f"{cost:.1f}", counted(theirs), f"{theirs_ms:.1f}", *mine, *times)


def show_limits(gpus: list[Gpu]) -> None:
    """What the published formulation cannot say: availability, costs of changes, few changes."""
    print("\n### The same with limits: half 64 x 256, half 256 x 1024, at 100 req/s\n")
    free = gpu_question(gpus, LOADS["half 64 x 256, half 256 x 1024"], 100)
    row("limit", "cost", "mix", "changes", "bound", "by")
    row("---", "---:", "---", "---:", "---:", "---")

    def show(name: str, question: MixQuestion) -> MixPlanned | None:
        planned = best_mix(question)
        if isinstance(planned, MixInfeasible):
            row(name, "none", "; ".join(each.sentence for each in planned.conflicts), "-", "-", planned.method)
        if not isinstance(planned, MixPlanned):
            return None
        changes = value(question, planned.mix, Objective.CHANGES)
        mine = (planned.value / 100, mix_of(question, planned), changes, planned.bound / 100, planned.method)
        row(name, *mine)
        return planned

    first = show("none", free)
    show("10 A40", supplied(free, a40=10))
    show("10 A40, 6 A100", supplied(free, a40=10, a100=6))
    assert first is not None
    running = final_counts(free, first.mix)
    more = gpu_question(gpus, LOADS["half 64 x 256, half 256 x 1024"], 104)
    show("4 % more load, from scratch", more)
    after = attrs.evolve(more, units=tuple(attrs.evolve(unit, running=running[unit.name]) for unit in more.units))
    show("4 % more load, from what runs", after)
    dear = attrs.evolve(after, units=tuple(attrs.evolve(unit, start_cost=50, stop_cost=10) for unit in after.units))
    show("the same, 0.50 for a start, 0.10 for a stop", dear)
    show("4 % more load, at most 1 change", attrs.evolve(after, changes_max=1))


def supplied(question: MixQuestion, **available: int) -> MixQuestion:
    supplies = tuple(
        attrs.evolve(supply, available=available.get(supply.kind, supply.available)) for supply in question.supplies
    )
    return attrs.evolve(question, supplies=supplies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aibrix", type=Path, help="a clone of github.com/vllm-project/aibrix")
    arguments = parser.parse_args()
    show_sizing()
    if arguments.aibrix is not None:
        gpus = profiles(arguments.aibrix)
        show_gpu_mixes(gpus)
        show_limits(gpus)


if __name__ == "__main__":
    main()
