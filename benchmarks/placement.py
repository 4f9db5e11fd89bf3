"""Placing a thousand LLMs and adapters on 64 GPUs: value, bound, gap, time to plan and to check, memory.

    python -m benchmarks.placement [--seed N]

The workload is drawn from a seed: LLMs of 7, 13, 32 and 70 billion parameters in bf16, adapters of 50 to 400 MB,
requests by Zipf's law.  Eight nodes, each with eight devices of 141 GB (96 for
what waits, 45 for what starts and its KV), a host memory and a disk, and one remote store;
rates are those of PCIe 5, NVLink, 400 Gb/s per NIC, NVMe and an object store.  No published instance has this shape.
"""

import argparse
import random
import resource
import time

import attrs

from planner.placement.outcome import Placed
from planner.placement.plan import place
from planner.search import Search
from specs.decisions.placement.bounds import price_bound
from specs.decisions.placement.checks import faults, value
from specs.decisions.placement.nouns import Item, Memory, Objective, Pool, Question, Route, Tier

GB = 10**9
KINDS = ((14 * GB, 1, 0.5), (26 * GB, 1, 0.25), (64 * GB, 2, 0.15), (140 * GB, 4, 0.1))  # bytes, devices, share


def pools(nodes: int, host_bytes: int, ssd_bytes: int, waiting: int = 96, landing: int = 45) -> tuple[Pool, ...]:
    found: list[Pool] = []
    for number in range(nodes):
        node = f"n{number}"
        gpus = tuple(Memory(id=f"{node}/gpu{index}", bytes=waiting * GB) for index in range(8))
        found += [
            Pool(id=f"{node}/gpus", node=node, tier=Tier.DEVICE, memories=gpus, landing_bytes=landing * GB),
            one(f"{node}/host", node, Tier.HOST, host_bytes),
            one(f"{node}/ssd", node, Tier.SSD, ssd_bytes),
        ]
    found.append(one("store", None, Tier.REMOTE, 10**15))
    return tuple(found)


def one(name: str, node: str | None, tier: Tier, size: int) -> Pool:
    return Pool(id=name, node=node, tier=tier, memories=(Memory(id=f"{name}.0", bytes=size),), landing_bytes=0)


# (tier, same node) -> into one device, into all, latency
RATES = {
    (Tier.DEVICE, True): (300 * GB, 2400 * GB, 20_000),
    (Tier.DEVICE, False): (45 * GB, 360 * GB, 50_000),
    (Tier.HOST, True): (50 * GB, 200 * GB, 50_000),
    (Tier.HOST, False): (25 * GB, 100 * GB, 100_000),
    (Tier.SSD, True): (6 * GB, 12 * GB, 200_000),
    (Tier.SSD, False): (5 * GB, 10 * GB, 300_000),
    (Tier.REMOTE, False): (GB, 2 * GB, 20_000_000),
}


def routes(all_pools: tuple[Pool, ...]) -> tuple[Route, ...]:
    found = []
    for to in all_pools:
        for source in all_pools:
            if to.tier is Tier.DEVICE:
                rate, together, latency_ns = RATES[source.tier, source.node == to.node]
                found.append(
                    Route(
                        source=source.id,
                        destination=to.id,
                        bytes_per_second=rate,
                        bytes_per_second_all=together,
                        latency_ns=latency_ns,
                    )
                )
    return tuple(found)


def items(random_: random.Random, llms: int, adapters: int, requests: int) -> tuple[Item, ...]:
    weights = [1 / (rank + 1) for rank in range(llms + adapters)]
    random_.shuffle(weights)
    rates = [max(1, round(requests * weight / sum(weights))) for weight in weights]
    found: list[Item] = []
    for index in range(llms):
        size, devices, _ = random_.choices(KINDS, [share for *_, share in KINDS])[0]
        found.append(
            Item(
                id=f"llm{index:04}",
                base=None,
                bytes=size,
                devices=devices,
                requests_per_hour=rates[index],
                requests_per_hour_per_copy=1800,
                start_ns_max=random_.choice((20, 90, 180)) * 10**9,
                copies_min=1,
            )
        )
    for index in range(adapters):
        base = found[min(int(random_.expovariate(8 / llms)), llms - 1)]
        found.append(
            Item(
                id=f"adapter{index:04}",
                base=base.id,
                bytes=random_.randrange(50, 401) * 10**6,
                devices=base.devices,
                requests_per_hour=rates[llms + index],
                requests_per_hour_per_copy=1800,
                start_ns_max=(base.start_ns_max or 0) + 2 * 10**9,
                copies_min=0,
            )
        )
    return tuple(found)


def question(seed: int, llms: int, adapters: int, objective: Objective) -> Question:
    all_pools = pools(8, 512 * GB, 4000 * GB if adapters else 6000 * GB)
    mine = items(random.Random(seed), llms, adapters, 200_000)
    return Question(objective=objective, pools=all_pools, routes=routes(all_pools), items=mine)


ROWS = (
    # name, LLMs, adapters, objective
    ("1,000 LLMs", 1000, 0, Objective.START_TIME),
    ("300 LLMs, 700 adapters", 300, 700, Objective.START_TIME),
    ("1,000 LLMs", 1000, 0, Objective.LATE_ITEMS),
    ("1,000 LLMs", 1000, 0, Objective.MOVED_BYTES),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    print("| items on 64 devices | objective | value | bound | gap | plan s | check s | MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, llms, adapters, objective in ROWS:
        print(row(name, question(seed, llms, adapters, objective)), flush=True)
    small = pools(8, 512 * GB, 6000 * GB, waiting=44, landing=36)
    asked = attrs.evolve(question(seed, 1000, 0, Objective.START_TIME), pools=small, routes=routes(small))
    print(row("1,000 LLMs, devices of 80 GB (44 for what waits)", asked), flush=True)
    print(row("1,000 LLMs, requests changed, at most 2 TB moved", changed(seed)))


def changed(seed: int) -> Question:
    """The requests of another hour on what was planned for this one."""
    before = question(seed, 1000, 0, Objective.START_TIME)
    outcome = place(before, Search())
    assert isinstance(outcome, Placed)
    rates = [item.requests_per_hour for item in before.items]
    random_ = random.Random(seed + 1)
    for _ in range(100):
        one_, other = random_.randrange(1000), random_.randrange(1000)
        rates[one_], rates[other] = rates[other], rates[one_]
    after = tuple(attrs.evolve(item, requests_per_hour=rate) for item, rate in zip(before.items, rates, strict=True))
    return attrs.evolve(before, items=after, held=outcome.answer.copies, moved_bytes_max=2000 * GB)


def row(name: str, asked: Question) -> str:
    began = time.process_time()
    outcome = place(asked, Search())
    planned_s = time.process_time() - began
    if not isinstance(outcome, Placed):
        return f"| {name} | {asked.objective} | {outcome} |"
    began = time.process_time()
    assert not list(faults(asked, outcome.answer))
    assert value(asked, outcome.answer) == outcome.value
    assert price_bound(asked, outcome.witness) == outcome.bound
    checked_s = time.process_time() - began
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figures = f"{outcome.value:.4g} | {outcome.bound:.4g} | {outcome.gap:.2%} | {planned_s:.1f} | {checked_s:.2f}"
    return f"| {name} | {asked.objective} | {figures} | {memory_mib} |"


if __name__ == "__main__":
    main()
