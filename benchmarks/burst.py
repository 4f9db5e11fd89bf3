"""A burst at t = 0 while four receivers load: serving while loading against load-then-serve.

    python -m benchmarks.burst [--requests 60] [--trickle 2] [--load-seconds 25] [--rounds 1] [--json]

Five real daemons, one of which holds the LLM; the same cluster, multicast and requests for all three:

- ours: the plan as planned; every request is sent at once, to the fronts in turn.
- shared queue: the same plan without its pipelines over several nodes, so that a node serves only what it holds
  whole.  Every request is sent at once; the fronts pass it to any node that can serve, at first only the source.
- load-then-serve: the same plan again, and the classic way to scale out: each request belongs to one node, and the
  client holds a receiver's requests back until that receiver serves by itself.  The source serves its own from t = 0.

The time to first token counts from when the request came into being, also while the client holds it back.
"""

import argparse
import asyncio
import enum
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import httpx

from examples.demo.daemons import Daemons, Launch, running
from examples.demo.load import Answer, Load
from planner.certify import certificates
from specs.checker import VerifiedPlan, verify
from specs.cluster import NodeId
from specs.plan import Activate, Plan, StepId, Switch
from specs.problem import Problem
from tests.checkpoints import make_checkpoint
from tests.processes.cluster import LLM, document, make_plan, make_problem

NODES = 5
LENGTHS = range(24, 33)  # of the answers, in tokens
POLL_S = 0.1
TIMEOUT_S = 240
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 1024,
}


class Way(enum.Enum):
    """How requests are served."""

    OURS = "ours"
    SHARED_QUEUE = "shared queue"
    LOAD_THEN_SERVE = "load-then-serve"


@attrs.frozen(kw_only=True)
class Found:
    """What one run gave, in seconds from t = 0."""

    ttft_s: list[float]  # of each request
    full_load_s: float
    tokens_by_full_load: int
    tokens_per_second: float  # until the last request was answered
    failed: int


def without_shared_pipelines(verified: VerifiedPlan) -> VerifiedPlan:
    """Keep of a plan only the pipelines that are on one node."""
    problem, plan = verified.problem, verified.plan
    kept = {pipeline.id for pipeline in plan.pipelines if len(pipeline.stages) == 1}
    steps = [
        step
        for step in plan.steps
        if not isinstance(step, Switch) and not (isinstance(step, Activate) and step.pipeline not in kept)
    ]
    smaller: Plan = attrs.evolve(
        plan,
        pipelines=tuple(pipeline for pipeline in plan.pipelines if pipeline.id in kept),
        steps=tuple(attrs.evolve(step, id=StepId(number)) for number, step in enumerate(steps)),
        routing=tuple(row for row in plan.routing if row.pipeline in kept),
        certificates=(),
    )
    verdict = verify(problem, attrs.evolve(smaller, certificates=certificates(problem, smaller)))
    assert isinstance(verdict, VerifiedPlan), verdict
    return verdict


class _Fronts:
    """The daemons, and what each of them says of itself."""

    def __init__(self, daemons: Daemons, plan: Plan, problem: Problem) -> None:
        node_of = {place.id: place.node for place in problem.cluster.places}
        self.urls = daemons.urls
        self.complete = asyncio.Event()
        self.serves_itself = {node: asyncio.Event() for node in self.urls}
        self._local = {
            node_of[pipeline.stages[0].place]: pipeline.id for pipeline in plan.pipelines if len(pipeline.stages) == 1
        }

    async def watch(self) -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            while not self.complete.is_set() or not all(event.is_set() for event in self.serves_itself.values()):
                phases = []
                for node, url in self.urls.items():
                    status = (await client.get(f"{url}/status")).json()
                    phases.append(status.get("phase"))
                    if self._local[node] in status.get("pipelines", {}).get("open", ()):
                        self.serves_itself[node].set()
                if set(phases) == {"complete"}:
                    self.complete.set()
                await asyncio.sleep(POLL_S)


class _Burst:
    """The requests of one run."""

    def __init__(self, fronts: _Fronts, load: Load, way: Way) -> None:
        self._fronts, self._load, self._way = fronts, load, way
        self._held_back: list[asyncio.Task[None]] = []
        self.began: list[tuple[int, Answer]] = []  # when each request came into being

    def request(self, node: NodeId) -> None:
        born = time.time_ns()
        gate = self._fronts.serves_itself[node]
        if self._way is not Way.LOAD_THEN_SERVE or gate.is_set():
            self._ask(node, born)
        else:
            self._held_back.append(asyncio.create_task(self._later(node, born, gate)))

    async def _later(self, node: NodeId, born: int, gate: asyncio.Event) -> None:
        await gate.wait()
        self._ask(node, born)

    def _ask(self, node: NodeId, born: int) -> None:
        self._load.ask(node)
        self.began.append((born, self._load.answers[-1]))

    async def wait(self) -> None:
        await asyncio.gather(*self._held_back)
        await self._load.wait()


async def serve(verified: VerifiedPlan, checkpoint: Path, way: Way, options: argparse.Namespace) -> Found:
    nodes = [node.id for node in verified.problem.cluster.nodes]
    body = document(verified)
    with tempfile.TemporaryDirectory() as name:
        launch = Launch(
            checkpoints={node: {LLM: checkpoint} if node == nodes[0] else {} for node in nodes},
            states=Path(name),
            logs=Path(name),
        )
        async with (
            running(launch, lambda _: None) as daemons,
            Load(LLM, daemons.urls, LENGTHS) as load,
            httpx.AsyncClient(timeout=60) as client,
        ):
            fronts = _Fronts(daemons, verified.plan, verified.problem)
            burst = _Burst(fronts, load, way)
            began = time.time_ns()
            replies = await asyncio.gather(*(client.put(f"{url}/plan", content=body) for url in daemons.urls.values()))
            assert all(reply.status_code == httpx.codes.OK for reply in replies), replies[0].text
            watching = asyncio.create_task(fronts.watch())
            for number in range(options.requests):
                burst.request(nodes[number % len(nodes)])
            number = 0
            async with asyncio.timeout(TIMEOUT_S):
                while not fronts.complete.is_set():
                    await asyncio.sleep(1 / options.trickle)
                    burst.request(nodes[number % len(nodes)])
                    number += 1
                full = time.time_ns()
                await watching
                await burst.wait()
            return _find(burst.began, began, full)


def _find(began: Sequence[tuple[int, Answer]], start: int, full: int) -> Found:
    tokens = [at for _, answer in began for at in answer.named_unix_ns]
    return Found(
        ttft_s=[(answer.named_unix_ns[0] - born) / 1e9 for born, answer in began if answer.named_unix_ns],
        full_load_s=(full - start) / 1e9,
        tokens_by_full_load=sum(at < full for at in tokens),
        tokens_per_second=len(tokens) / ((max(tokens) - start) / 1e9),
        failed=sum(answer.error is not None for _, answer in began),
    )


def _row(way: Way, founds: Sequence[Found]) -> dict[str, object]:
    """Put the rounds of one way together: all requests for the percentiles, medians for the rest."""
    ttft = sorted(each for found in founds for each in found.ttft_s)
    return {
        "way": way.value,
        "ttft_s_p50": round(statistics.median(ttft), 2),
        "ttft_s_p90": round(ttft[(len(ttft) * 9 + 9) // 10 - 1], 2),
        "full_load_s": round(statistics.median(found.full_load_s for found in founds), 1),
        "tokens_by_full_load": round(statistics.median(found.tokens_by_full_load for found in founds)),
        "tokens_per_second": round(statistics.median(found.tokens_per_second for found in founds)),
        "requests": len(ttft),
        "failed": sum(found.failed for found in founds),
    }


def main(argv: list[str]) -> int:
    """Run the benchmark; 1 when a request failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--trickle", type=int, default=2, help="more requests per second while the LLM loads")
    parser.add_argument("--load-seconds", type=int, default=25, help="the port's rate is set so that it takes this")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemons are stopped
    with tempfile.TemporaryDirectory() as name:
        checkpoint = make_checkpoint(Path(name) / "llm", "llama", **SHAPE)
        size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
        rate = size // options.load_seconds
        found: dict[Way, list[Found]] = {way: [] for way in Way}
        for _ in range(options.rounds):
            for way in Way:
                planned = make_plan(make_problem(checkpoint, NODES, rate=rate, live=8))
                plan = planned if way is Way.OURS else without_shared_pipelines(planned)
                found[way].append(asyncio.run(serve(plan, checkpoint, way, options)))
                print(_row(way, found[way][-1:]), file=sys.stderr, flush=True)
    rows = [_row(way, each) for way, each in found.items()]
    load = os.getloadavg()
    if options.json:
        print(json.dumps({"load_average": load, "rows": rows}, indent=1))
    else:
        print(
            f"{size / 1e6:.0f} MB at {rate / 1e6:.2f} MB/s a port, {options.rounds} rounds, load average {load[0]:.1f}"
        )
        for row in rows:
            print("  ".join(f"{key}={value}" for key, value in row.items()))
    return 0 if not any(row["failed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
