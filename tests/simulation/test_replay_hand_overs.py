"""Daemons with one line changed that hand requests over with their KV: their journals do not pass."""

import asyncio
import inspect
import re
import textwrap

import attrs
import pytest

from executor.pipelines import arrival, departure, front
from planner.reconfiguring.beginning import begin
from planner.solve import solve
from specs import codec
from specs.checker import verify
from specs.journal import TookOver
from specs.plan import Continuity
from specs.problem import Target
from specs.protocols import kv_hand_over, kv_hand_over_target
from specs.replay import replay
from specs.replay.hand_over import ROLES
from specs.state import RunningCluster
from tests.processes.cluster import LLM, document, make_plan, make_problem
from tests.processes.test_reconfiguration import switched_by
from tests.simulation.world import Answer, World, virtual_time

pytestmark = pytest.mark.slow

# Where a line of a daemon is changed, from what to what, and what the replay of the journals says of it.
_BROKEN = {
    "takes iterations under way for ended": (
        departure.Departure, "boundary", "is_quiet=batcher.boundary", "is_quiet=True",
        "Boundary .* no iteration ends after the last boundary",
    ),
    "copies from another slot": (
        departure.Departure, "_copy", "slot=row.slot", "slot=row.slot + 1", "CopyOrdered .* what the source leader says"
    ),
    "invites with tokens in another order": (
        departure.Departure, "_invited", "pack_tokens(request.tokens[: fresh.tokens])",
        "pack_tokens(request.tokens[: fresh.tokens][::-1])", "TookOver .* the very tokens that its front has",
    ),
    "says that it has handed over more": (
        departure.Departure, "_hand_out", "copied=len(copied)", "copied=len(copied) + 1",
        "HandedOver .* requests were handed out, as many as it says",
    ),
    "begins a round before the last is whole": (
        kv_hand_over, "_next_round", "each.seat is None or each.held < each.goal", "each.seat is None",
        "(Copy|Halt) was done as it was not due|(Copy|Halt) was due",
    ),
    "hands out before all is there": (
        kv_hand_over, "_hand_out", "(current.is_whole or not current.guests)", "current",
        "HandOut was done as it was not due; .* once all of their KV is there",
    ),
    "copies with one token less": (
        kv_hand_over, "_copy", "guest.held, guest.goal)", "guest.held, guest.goal - 1)",
        "Copy was done as it was not due",
    ),
    "gives every guest the same seat": (
        arrival.Arrival, "_reserve", "return self._led", "return 0 if request else self._led",
        "gets seat 0, which is another's",
    ),
    "takes over with tokens in another order": (
        arrival.Arrival, "_take_over", "tokens = card.tokens + self._tails[action.id, action.request]",
        "tokens = self._tails[action.id, action.request] + card.tokens", "TookOver .* the very tokens",
    ),
    "says that KV is there which is not": (
        kv_hand_over_target, "hosting", "held[guest.request] == guest.final.computed", "held",
        "HostingIs .* what its target leader has; n. has told nothing of the kind",
    ),
    "counts a token more than was written": (
        kv_hand_over_target, "_take", "tokens=chunk.end)", "tokens=chunk.end + 1)",
        "HeldIs .* a stage holds what was written to it; n. has told nothing of the kind",
    ),
    "leaves the seat of a request that goes on open": (
        kv_hand_over_target, "_resume", "del guests[claim.request]", "pass",
        "GiveBack was done as it was not due; a seat is free once every stage has closed it",
    ),
    "resumes with other tokens than it has": (
        front.Front, "handed_over", "live.tokens[known[before] :]", "live.tokens[: len(live.tokens) - known[before]]",
        "TookOver .* the very tokens that its front has",
    ),
    "resumes under the old name": (
        front.Front, "handed_over", "attempt=live.attempt", "attempt=before", "Resumed .* under a new name"
    ),
}  # fmt: skip


def _change(patch, owner, name, old, new):
    function = inspect.unwrap(vars(owner)[name])
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, (name, old, source.count(old))
    made = {}
    exec(source.replace(old, new), function.__globals__, made)  # the daemon's own source, but for a line
    patch.setattr(owner, name, made[name])
    rules = getattr(owner, "_RULES", ())
    patch.setattr(owner, "_RULES", tuple(made[name] if rule is function else rule for rule in rules), raising=False)


def _moved(checkpoint, directory):
    """Move a pipeline to another node while requests decode, with their KV; give the journals and the plans."""
    with virtual_time(1) as (network, _):
        problem = make_problem(checkpoint, 3, rate=10**9, context=256)
        nodes = tuple(
            attrs.evolve(each, address=f"127.0.0.1:{7000 + n}") for n, each in enumerate(problem.cluster.nodes)
        )
        problem = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, nodes=nodes))
        old, new = (attrs.evolve(problem, targets=(Target(llm=LLM, place=place),)) for place in ("n1/cpu0", "n2/cpu0"))
        first = make_plan(old)
        world = World(first.problem, checkpoint, directory, network)
        plans = {codec.digest(first.plan): first}

        async def run():
            for daemon in world.daemons.values():
                await daemon.adopt(document(first))
            await asyncio.sleep(5)
            answers = [Answer(node, (5, 6, 7 + n), 120) for n, node in enumerate(("n0", "n1", "n2") * 2)]
            asking = [asyncio.ensure_future(world.ask(world.daemons[each.node], each)) for each in answers]
            await asyncio.sleep(0.5)
            told = tuple(daemon.state() for daemon in world.daemons.values())
            begun = begin(RunningCluster(problem=first.problem, plan=first.plan, nodes=told), new)
            second = solve(begun.problem, begun.request).verified
            second = verify(second.problem, switched_by(second, Continuity.COPY))
            plans[codec.digest(second.plan)] = second
            await world.daemons["n1"].adopt(document(second))
            await asyncio.wait(asking, timeout=60)
            await asyncio.sleep(8)  # longer than a target leader waits for guests
            await world.close()

        network.loop.set_exception_handler(lambda *_: None)  # a broken daemon may break
        network.loop.run_until_complete(run())
        return world.journals(), plans


def test_healthy_daemons_hand_requests_over(checkpoint, tmp_path):
    lives, plans = _moved(checkpoint, tmp_path)
    found = replay(lives, plans)
    assert found.breaches == found.notes == ()
    records = [record.what for life in lives for record in life.records]
    assert sum(isinstance(each, TookOver) for each in records) > 1
    assert found.hand_over_records == sum(isinstance(each, ROLES) for each in records) < 60


@pytest.mark.parametrize("what", _BROKEN)
def test_a_hand_over_with_one_line_changed_is_caught(what, checkpoint, tmp_path):
    *where, sentence = _BROKEN[what]
    with pytest.MonkeyPatch.context() as patch:
        _change(patch, *where)
        kept = _moved(checkpoint, tmp_path)
    said = [f"{each.node}, {each.sentence}" for each in replay(*kept).breaches]
    assert any(re.search(f"^n., record [0-9]+: .*{sentence}", each) for each in said), said
