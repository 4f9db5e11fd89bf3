"""What requests see when their pipeline moves to other nodes: the pause, and the tokens before and after it.

    python -m benchmarks.reconfiguration [--live 1 8 64] [--contexts 128 1024 4096] [--switches 3] [--rate 125000000]

Four real daemons on loopback, a pipeline of two stages on two of them, and live requests that stream, each with a
prompt of so many tokens.  A plan that begins from what runs moves the pipeline to the other two nodes, and the next one
back, in four ways:

- copy in rounds: ours.  KV is copied while requests decode, and what is left while they wait.
- stop and copy: the same, with everything left for the end.
- recompute: the new pipeline computes all contexts again.
- stop and restart: all daemons are killed and started with the new plan; once they serve, clients send their prompts
  again, each with as many tokens more as it has.  The processes are forked from one that has imported everything.

Clients note the instant of each token.  Of each request, the gap over the stop less its median gap in the calm before
is what the move added.  Gaps over instants of that calm, by the same clock, say what the machine adds when nothing is
moved.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks.busy import Reading
from benchmarks.moves import PAIRS, REQUEST_TOKENS_MAX, Way, a_problem, first_plan, next_plan, on, slots_for, switch_of
from benchmarks.reconfiguration_rows import Moved, limit_ns, row_of, table
from benchmarks.streams import Added, Clients, Interval, gaps_within
from specs import codec, journal
from specs.checker import VerifiedPlan
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND
from tests.checkpoints import make_checkpoint
from tests.processes.cluster import LLM, Daemon, adopt, daemons, document

CALM_GAPS = 20  # of each request, before anything is moved
CALM_S = 1.0  # and at least so long
AFTER_GAPS = 3  # of each request, after the switch
PROBE_EVERY_S = 0.1
OFTEN_TOKENS_MAX = 65536  # of all prompts; what is larger is moved in our way once
TIMEOUT_S = 240
POLL_S = 0.01
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 8192,
}


class _Journal:
    """What a daemon's journal says from now on of pipelines that close, read as it grows and nothing twice.

    A reader of the whole journal would take the processor from what is measured.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._path = max((daemon.state / "journal").glob("*.jsonl"))
        self._at = self._path.stat().st_size
        self._rest = ""
        self._found: list[journal.Record] = []

    def found(self) -> Sequence[journal.Record]:
        with self._path.open(encoding="utf-8") as file:
            file.seek(self._at)
            *lines, self._rest = (self._rest + file.read()).split("\n")
            self._at = file.tell()
        told = [line for line in lines if any(f'"kind":"{kind}"' in line for kind in ("closed", "handedover"))]
        self._found += [codec.decode(journal.Record, line.encode()) for line in told]
        return self._found


@attrs.define(eq=False)
class Bench:
    """A cluster that serves, on one pair of nodes."""

    problem: Problem
    checkpoint: Path
    directory: Path
    stack: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)
    running: list[Daemon] = attrs.field(factory=list)
    at: int = 0  # index into PAIRS
    lives: int = 0

    def start(self) -> None:
        """Start daemons with a plan that serves on the pair."""
        self.lives += 1
        directory = self.directory / str(self.lives)
        directory.mkdir()
        problem = on(self.problem, PAIRS[self.at])
        self.running = self.stack.enter_context(daemons(problem, self.checkpoint, directory))
        adopt(self.running, first_plan(problem))
        _wait_for(lambda: all(each.get("/health").status_code == 200 for each in self.running))

    def kill(self) -> None:
        """End all daemons at once."""
        for daemon in self.running:
            daemon.signal(signal.SIGKILL)

    @property
    def urls(self) -> dict[str, str]:
        """Where fronts listen."""
        return {daemon.name: daemon.url for daemon in self.running}

    @property
    def pids(self) -> dict[str, int]:
        """Whom to count the CPU time of: daemons, and these clients."""
        found = {daemon.name: daemon.process.pid for daemon in self.running}
        return {name: pid for name, pid in found.items() if pid is not None} | {"clients": os.getpid()}


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what was awaited did not happen")
        time.sleep(POLL_S)


async def move(bench: Bench, way: Way, live: int, context: int, seed: int) -> Moved:
    """Let requests stream, and move them."""
    old = PAIRS[bench.at]
    bench.at = 1 - bench.at
    planned = None if way is Way.RESTART else next_plan(bench.running, PAIRS[bench.at], way)
    clients = Clients(llm=LLM, urls=bench.urls)
    clients.begin(live, context, REQUEST_TOKENS_MAX - context - 1, seed)
    probing = asyncio.create_task(clients.probe(PROBE_EVERY_S))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await clients.until_each_has(3)
            calm_from, before = time.time_ns(), Reading.now(bench.pids)
            await asyncio.gather(asyncio.sleep(CALM_S), clients.until_each_has(CALM_GAPS))
            calm, cores_calm = _lap(calm_from, before, bench)
            change_from, before = time.time_ns(), Reading.now(bench.pids)
            tokens = sum(stream.context for stream in clients.streams)
            handed = None
            cores: dict[str, float] = {}
            if planned is None:
                probing.cancel()
                stop = await _restart(bench, clients)
            else:
                stop, handed = await _switch(bench, planned, old[0])
                cores = _lap(change_from, before, bench)[1]
            await clients.until_each_has(AFTER_GAPS)
            change = change_from, time.time_ns()
    finally:
        probing.cancel()
        await clients.end()
    return Moved(
        way=way,
        added=tuple(Added.of(stream.instants, calm, stop, change) for stream in clients.streams),
        context_tokens=tokens / live,
        calm=calm,
        stop=stop,
        change=change,
        calm_gaps_ns=_gaps(clients, calm),
        change_gaps_ns=_gaps(clients, (change[0], stop[0])),
        calm_ttft_ns=_ttfts(clients, calm),
        change_ttft_ns=_ttfts(clients, change),
        cores_calm=cores_calm,
        cores_change=cores,
        handed=handed,
        limit_ns=0 if planned is None else limit_ns(bench.problem, planned, tokens),
        old=old,
        new=PAIRS[bench.at],
    )


def _lap(began: int, before: Reading, bench: Bench) -> tuple[Interval, dict[str, float]]:
    now = time.time_ns()
    return (began, now), Reading.now(bench.pids).since(before, (now - began) / NANOS_PER_SECOND)


def _gaps(clients: Clients, within: Interval) -> tuple[int, ...]:
    return tuple(gap for stream in clients.streams for gap in gaps_within(stream.instants, within))


def _ttfts(clients: Clients, within: Interval) -> tuple[int, ...]:
    return tuple(came - sent for sent, came in clients.first_tokens if within[0] <= sent <= within[1])


async def _restart(bench: Bench, clients: Clients) -> Interval:
    began = time.time_ns()
    bench.kill()
    await asyncio.to_thread(bench.start)
    await clients.again(bench.urls)
    return began, time.time_ns()


async def _switch(bench: Bench, planned: VerifiedPlan, leader: str) -> tuple[Interval, journal.HandedOver | None]:
    """Order a switch at one node, and wait until it is done; give when the old pipeline computed nothing any more."""
    (daemon,) = (each for each in bench.running if each.name == leader)
    records = _Journal(daemon)
    reply = await asyncio.to_thread(daemon.put, document(planned))
    assert reply.status_code == 200, reply.text
    old = switch_of(planned).old
    while True:
        await asyncio.sleep(POLL_S)
        new = records.found()
        closed = next((r for r in new if isinstance(r.what, journal.Closed) and r.what.pipeline == old), None)
        if closed is None:
            continue
        handed = next((r for r in new if isinstance(r.what, journal.HandedOver) and r.what.pipeline == old), None)
        if handed is None:
            return (closed.at_unix_ns, closed.at_unix_ns), None
        assert isinstance(handed.what, journal.HandedOver)
        return (handed.at_unix_ns - handed.what.halted_ns, handed.at_unix_ns), handed.what


# --- rows ------------------------------------------------------------------------------------------------------------


async def measure(bench: Bench, live: int, options: argparse.Namespace, until: float) -> list[dict[str, object]]:
    """Move so many requests, of each length and in every way, on one cluster, while there is time."""
    rows = []
    seeds = itertools.count()
    for context in options.contexts:
        moves: dict[Way, list[Moved]] = {way: [] for way in Way}
        switches = options.switches if live * context <= OFTEN_TOKENS_MAX else 1
        try:
            for way in order(switches):
                async with asyncio.timeout(until - time.monotonic()):
                    moves[way].append(await move(bench, way, live, context, next(seeds)))
        except TimeoutError:
            print(f"there was no time for all of {live} x {context}", file=sys.stderr)
        rows += [{"live": live, "prompt": context, **row_of(found)} for found in moves.values() if found]
        print(*rows[-len(moves) :], sep="\n", file=sys.stderr, flush=True)
        if time.monotonic() > until:
            break
    return rows


def order(switches: int) -> list[Way]:
    """Let the baselines come once each, between moves of ours; a restart is the last."""
    return [Way.ROUNDS, Way.STOP_AND_COPY, Way.RECOMPUTE, *itertools.repeat(Way.ROUNDS, switches - 1), Way.RESTART]


def main(argv: list[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--live", type=int, nargs="+", default=[1, 8, 64], help="requests that stream")
    parser.add_argument("--contexts", type=int, nargs="+", default=[128, 1024, 4096], help="tokens of each prompt")
    parser.add_argument("--switches", type=int, default=3, help="moves of ours, for each of the baselines' one")
    parser.add_argument("--rate", type=int, default=125_000_000, help="bytes per second of each link")
    parser.add_argument("--within", type=int, default=420, help="seconds; what there is no time for is left out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemons are stopped
    os.environ["OMP_NUM_THREADS"] = "1"  # of the process that daemons are forked from
    until = time.monotonic() + options.within
    rows = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        checkpoint = make_checkpoint(Path(name) / "llm", "llama", **SHAPE)
        for live in options.live:
            directory = Path(name) / str(live)
            directory.mkdir()
            problem = a_problem(checkpoint, PAIRS[0], slots_for(live), options.rate)
            bench = Bench(problem=problem, checkpoint=checkpoint, directory=directory, stack=stack)
            bench.start()
            rows += asyncio.run(measure(bench, live, options, until))
            bench.kill()
        (llm,) = bench.problem.llms
    size = sum(tensor.bytes for tensor in llm.tensors)
    kv = sum(unit.kv_bytes_per_token for unit in llm.units)
    load = os.getloadavg()
    if options.json:
        print(json.dumps({"load_average": load, "weights_bytes": size, "kv_bytes": kv, "rows": rows}, indent=1))
        return 0
    print(
        f"{size / 1e6:.1f} MB of weights, {kv} bytes of KV per token, links of {options.rate / 1e6:.0f} MB/s, "
        f"load average {load[0]:.1f}, {os.cpu_count()} cores\n"
    )
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
