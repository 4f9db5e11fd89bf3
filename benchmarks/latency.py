"""How conservative the predicted TTFT and TPOT are: prediction over simulation, by pipeline, load and percentile.

    python -m benchmarks.latency [--requests 4000] [--loads 20 50 80 95]

The simulation batches with the executor's own batcher (tests/batching.py).  The load is a percentage of the largest
rate that the prediction allows; `real` is the same rate as a percentage of what the simulated pipeline finishes when
all requests are there from the start.  A ratio below 1 would be a wrong promise (or, near 1, the simulation's error).
The last column is the processor time of one prediction.
"""

import argparse
import time

import attrs

from specs.decisions.latency.prediction import Overload, predict
from tests.batching import PERIOD_NS, SHAPES, Shape, percentile, simulate, throughput

PERCENTILES = (50, 90, 99)


def row(name: str, shape: Shape, load: int, count: int) -> str:
    overload = predict(shape.question(PERIOD_NS // 100), 90)
    assert isinstance(overload, Overload)
    question = shape.question(overload.requests_max * load // 100)
    times = simulate(question, count, seed=load)
    cells = []
    began = time.process_time()
    predictions = {at: predict(question, at) for at in PERCENTILES}
    cost_ms = (time.process_time() - began) * 1000 / len(PERCENTILES)
    for at in PERCENTILES:
        found = predictions[at]
        for predicted, seen in ((found.ttft_ns, times.ttft), (found.tpot_ns, times.tpot)):
            cells.append(f"{predicted / percentile(seen, at):.2f}")
    real = 100 * question.requests / throughput(attrs.evolve(question, requests=PERIOD_NS), count)
    waiting = predictions[50].waiting_ppm / 10**4
    return f"| {name} | {load} % | {real:.0f} % | {waiting:.1f} % | {' | '.join(cells)} | {cost_ms:.0f} ms |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--loads", type=int, nargs="+", default=[20, 50, 80, 95])
    arguments = parser.parse_args()
    columns = [f"{what} p{at}" for at in PERCENTILES for what in ("TTFT", "TPOT")]
    print(f"| pipeline | load | real | waiting | {' | '.join(columns)} | predict |")
    print("|---|" + "---:|" * (len(columns) + 4))
    for name, shape in SHAPES.items():
        for load in arguments.loads:
            print(row(name, shape, load, arguments.requests), flush=True)


if __name__ == "__main__":
    main()
