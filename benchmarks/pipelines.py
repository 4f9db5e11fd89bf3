"""One pipeline of equal devices beside Alpa's dynamic program, and unequal devices against brute force.

    python -m benchmarks.pipelines

Alpa (OSDI 2022, section 5.1) cuts L layers into stages on submeshes of 1, 2, 4 .. D devices and minimises

    T = sum of t_i + (B - 1) x max of t_i

for B microbatches, by F(k, d; t_max) = min over i, n with t(k, i, n) <= t_max of t(k, i, n) + F(i, d - n; t_max), for
every t_max among the times in ascending order until B x t_max is no less than the best T.  `alpa` below is that
recurrence in plain Python, with one change: devices may be left over.  T is our time to the first token with B chunks
and hops that take no time, so the same table is asked as a question of `specs.decisions.layout`.

Where devices differ there is no published answer.  Brute force goes through every row of shapes, every borders, batch
and number in flight; equal devices of a kind are counted and not named, so rows are some hundred thousand and not
billions.  For goodput it keeps the best rate for each count of devices and goes through every way to share the devices.

Times are CPU seconds.  Every answer of ours passes the checker; value, bound and the other's optimum are compared.
"""

import random
import time
from collections.abc import Iterator
from functools import cache
from itertools import product

from planner.layouts.search import lay_out
from planner.search import Search
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Prompt, Question, Shape
from specs.decisions.layout.values import MILLI, Objective
from specs.units import NANOS_PER_SECOND

MICROBATCHES = 16
TABLES = 20
Times = dict[int, tuple[tuple[int, ...], ...]]  # per devices of a submesh, per first layer and length


def table(seed: int, layers: int, devices: int) -> Times:
    """Random times of runs: for even seeds near what work and devices suggest, for odd ones without any order."""
    rng = random.Random(seed)
    work = [rng.uniform(1, 3) for _ in range(layers)]
    sizes = [1 << k for k in range(devices.bit_length()) if 1 << k <= devices]

    def ns(first: int, end: int, size: int) -> int:
        if seed % 2:
            return rng.randint(1, 10_000)
        return int(1000 * sum(work[first:end]) / size**0.8 * rng.uniform(0.8, 1.2))

    return {n: tuple(tuple(ns(k, i, n) for i in range(k + 1, layers + 1)) for k in range(layers)) for n in sizes}


def alpa(times: Times, layers: int, devices: int) -> int:
    """Least T by Alpa's recurrence."""
    best = 1 << 62
    for limit in sorted({ns for rows in times.values() for row in rows for ns in row}):
        if MICROBATCHES * limit >= best:
            break
        total = [[1 << 62] * (devices + 1) for _ in range(layers)] + [[0] * (devices + 1)]
        for k in reversed(range(layers)):
            for size, rows in times.items():
                for i, ns in enumerate(rows[k], k + 1):
                    if ns <= limit:
                        for d in range(size, devices + 1):
                            total[k][d] = min(total[k][d], ns + total[i][d - size])
        best = min(best, total[0][devices] + (MICROBATCHES - 1) * limit)
    return best


def of_one_kind(times: Times, layers: int, devices: int) -> Question:
    """Ask for the least T: time to the first token of a prompt in so many chunks."""
    shapes = tuple(Shape(name=f"x{size}", group="g", devices=size) for size in times)
    no_time = tuple(Pace(shape=shape.name, batch=1, tracks=((0,) * layers,)) for shape in shapes)
    prompts = tuple(Pace(shape=f"x{size}", batch=1, run_ns=rows) for size, rows in times.items())
    return Question(
        weight_bytes=(0,) * layers,
        kv_bytes_per_token=(0,) * layers,
        context_tokens=1,
        groups=(Group(name="g", devices=devices, per_node=devices, memory_bytes=1),),
        shapes=shapes,
        paces=no_time,
        hops=(Hop(source="g", destination="g", latency_ns=0, ns_per_token=0),),
        limits=Limits(tpot_ns=1, depth=layers, in_flight=1),
        prompt=Prompt(chunks=MICROBATCHES, paces=prompts),
    )


def of_two_kinds(seed: int, layers: int, devices: int, sizes: tuple[int, ...]) -> Question:
    """Half of the devices are quick and small, half slow and large; two batches, up to four in flight."""
    rng = random.Random(seed)
    half = devices // 2
    groups = (
        Group(name="quick", devices=half, per_node=4, memory_bytes=60 * layers, cost_per_hour=5),
        Group(name="slow", devices=half, per_node=4, memory_bytes=90 * layers, cost_per_hour=2),
    )
    shapes = tuple(Shape(name=f"{g.name}x{n}", group=g.name, devices=n) for g in groups for n in sizes)

    def pace(shape: Shape, batch: int) -> Pace:
        scale = (1000 if shape.group == "quick" else 2200) / shape.devices**0.8
        tracks = tuple(
            tuple(int(scale * work * rng.uniform(0.8, 1.2)) for _ in range(layers)) for work in (3 + 0.2 * batch, batch)
        )
        return Pace(shape=shape.name, batch=batch, tracks=tracks, workspace_bytes=10)

    return Question(
        weight_bytes=tuple(rng.randint(20, 60) for _ in range(layers)),
        kv_bytes_per_token=(1,) * layers,
        context_tokens=1,
        groups=groups,
        shapes=shapes,
        paces=tuple(pace(shape, batch) for shape in shapes for batch in (2, 8)),
        hops=tuple(
            Hop(source=a.name, destination=b.name, latency_ns=rng.randint(100, 900), ns_per_token=50)
            for a, b in product(groups, groups)
        ),
        limits=Limits(tpot_ns=10**6, depth=layers, in_flight=4),
        prompt=Prompt(chunks=4, paces=tuple(pace(shape, 16) for shape in shapes)),
        round_ns=700,
    )


def every_row(asked: Question, batch: int, in_flight: int) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Devices, TPOT and TTFT of every row of stages that fits."""
    assert asked.prompt is not None
    tokens = batch * in_flight * asked.context_tokens
    most = [group.devices for group in asked.groups]

    def grow(
        first: int, group: str, used: tuple[int, ...], sums: tuple[int, int], tops: tuple[int, int]
    ) -> Iterator[tuple[tuple[int, ...], int, int]]:
        if first == asked.units:
            assert asked.prompt is not None
            tpot = max(sums[0] + asked.round_ns, in_flight * tops[0])
            yield used, tpot, sums[1] + asked.round_ns + (asked.prompt.chunks - 1) * tops[1]
            return
        for shape in asked.shapes:
            place = list(asked.group).index(shape.group)
            if used[place] + shape.devices > most[place]:
                continue
            now = (*used[:place], used[place] + shape.devices, *used[place + 1 :])
            pace, prompt = asked.pace[shape.name, batch], asked.prompt_pace[shape.name]
            hop = (asked.hop[group, shape.group].ns(batch), asked.hop[group, shape.group].ns(16)) if group else (0, 0)
            room = asked.groups[place].memory_bytes - max(pace.workspace_bytes, prompt.workspace_bytes)
            for end in range(first + 1, asked.units + 1):
                need = asked.weight_sums[end] - asked.weight_sums[first]
                need += (asked.kv_sums[end] - asked.kv_sums[first]) * tokens
                if need > room * shape.devices:
                    break
                own = (pace.ns(first, end), prompt.ns(first, end))
                yield from grow(
                    end,
                    shape.group,
                    now,
                    (sums[0] + hop[0] + own[0], sums[1] + hop[1] + own[1]),
                    (max(tops[0], hop[0], own[0]), max(tops[1], hop[1], own[1])),
                )

    yield from grow(0, "", (0,) * len(asked.groups), (0, 0), (0, 0))


def brute_force(asked: Question) -> dict[Objective, int]:
    """Least TTFT and TPOT of any pipeline, and most goodput of any set of pipelines."""
    rates: dict[tuple[int, ...], int] = {}
    quickest = {Objective.TTFT: 1 << 62, Objective.TPOT: 1 << 62}
    for batch, in_flight in product(asked.batches, range(1, asked.limits.in_flight + 1)):
        for used, tpot, ttft in every_row(asked, batch, in_flight):
            if tpot <= asked.limits.tpot_ns:
                rates[used] = max(rates.get(used, 0), batch * in_flight * MILLI * NANOS_PER_SECOND // tpot)
                quickest[Objective.TTFT] = min(quickest[Objective.TTFT], ttft)
                quickest[Objective.TPOT] = min(quickest[Objective.TPOT], tpot)
    rows = sorted(rates.items())

    @cache
    def share(index: int, left: tuple[int, ...]) -> int:
        best = 0
        for later in range(index, len(rows)):
            used, rate = rows[later]
            if all(took <= have for took, have in zip(used, left, strict=True)):
                rest = tuple(have - took for took, have in zip(used, left, strict=True))
                best = max(best, rate + share(later, rest))
        return best

    return {**quickest, Objective.GOODPUT: share(0, tuple(group.devices for group in asked.groups))}


def main() -> None:
    print("| layers, devices | equal | ours s, mean (worst) | Alpa's recurrence s, mean |")
    print("|---|---|---|---|")
    lay_out(of_one_kind(table(0, 2, 2), 2, 2), Objective.TTFT, Search())  # the solver's library is loaded
    for layers, devices in ((8, 16), (16, 64)):
        equal, ours, theirs = 0, [], []
        for seed in range(TABLES):
            times = table(seed, layers, devices)
            question = of_one_kind(times, layers, devices)
            began = time.process_time()
            found = lay_out(question, Objective.TTFT, Search())
            ours.append(time.process_time() - began)
            began = time.process_time()
            best = alpa(times, layers, devices)
            theirs.append(time.process_time() - began)
            equal += found.value == found.bound == best
        mean, worst = sum(ours) / TABLES, max(ours)
        print(f"| {layers}, {devices} | {equal} of {TABLES} | {mean:.2f} ({worst:.2f}) | {sum(theirs) / TABLES:.2f} |")
    print()
    print("| layers, devices, sizes | objective | equal | ours s, mean (worst) | brute force s, mean |")
    print("|---|---|---|---|---|")
    for layers, devices, sizes, seeds in ((10, 16, (1,), 10), (6, 16, (1, 2, 4), 4)):
        spent: dict[Objective, list[float]] = {}
        same: dict[Objective, int] = {}
        brute = []
        for seed in range(seeds):
            question = of_two_kinds(seed, layers, devices, sizes)
            began = time.process_time()
            best_of = brute_force(question)
            brute.append(time.process_time() - began)
            for objective, best in best_of.items():
                began = time.process_time()
                found = lay_out(question, objective, Search())
                spent.setdefault(objective, []).append(time.process_time() - began)
                same[objective] = same.get(objective, 0) + (found.value == found.bound == best)
        for objective, each in spent.items():
            print(
                f"| {layers}, {devices}, {sizes} | {objective} | {same[objective]} of {len(each)} "
                f"| {sum(each) / len(each):.2f} ({max(each):.2f}) | {sum(brute) / len(brute):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
