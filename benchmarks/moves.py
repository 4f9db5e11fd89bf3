"""Plans that move a pipeline of two stages to two other nodes, and back: the same move, four ways.

Each of four nodes holds the half of the LLM that its stage needs, so that nothing but requests has to move: what is
measured is what requests see.
"""

import enum
from collections.abc import Sequence
from pathlib import Path

import attrs

from executor.admission import read
from planner.certify import certificates
from planner.outcome import Planned
from planner.reconfiguring.beginning import Begun, begin
from planner.reconfiguring.continuity import ways
from planner.routes import Routes
from planner.solve import Request, solve
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.handing_over import pre_copy
from specs.plan import Continuity, Release, Switch, Transfer
from specs.problem import Holding, Problem
from specs.profile import DeviceRate, Profile
from specs.state import RunningCluster, RunningNode
from specs.timing import links_by_id
from specs.units import Nanos
from specs.wishes import Objective, Service
from tests.processes.cluster import LLM, Daemon, make_problem

NODES = 4
REQUEST_TOKENS_MAX = 6144
PAIRS = (("n0", "n1"), ("n2", "n3"))


class Way(enum.Enum):
    """What becomes of the requests of the pipeline that closes."""

    ROUNDS = "copy in rounds"
    STOP_AND_COPY = "stop and copy"
    RECOMPUTE = "recompute"
    RESTART = "stop and restart"


def a_problem(checkpoint: Path, pair: Sequence[str], slots: int, rate: int) -> Problem:
    """Serve the LLM on a pair of nodes."""
    base = make_problem(checkpoint, NODES, rate=rate, live=slots, context=REQUEST_TOKENS_MAX)
    (llm,) = base.llms
    border = llm.units[len(llm.units) // 2].tensors[0]
    service = Service(
        llm=LLM,
        places=tuple(f"{node}/cpu0" for node in pair),
        objective=Objective.GOODPUT,
        depth_max=len(pair),
        moves_max=0,
    )
    return attrs.evolve(
        base,
        profile=Profile(
            rates=(
                DeviceRate(
                    device="cpu",
                    dtype="F32",
                    flops_per_second=10 * 10**9,
                    memory_bytes_per_second=2 * 10**9,
                    overhead_ns_per_unit=1_000_000,
                    source="about what an iteration takes here",
                ),
            )
        ),
        holdings=tuple(
            Holding(llm=LLM, place=f"{node}/cpu0", first_tensor=first, end_tensor=end)
            for pair in PAIRS
            for node, first, end in zip(pair, (0, border), (border, None), strict=True)
        ),
        targets=(),
        services=(service,),
    )


def slots_for(live: int) -> int:
    """Slots for these requests and a short one more; an even number, since the planner shares them between batches."""
    return live // 2 * 2 + 2


def on(problem: Problem, pair: Sequence[str]) -> Problem:
    """Wish for another pair."""
    (service,) = problem.services
    places = tuple(f"{node}/cpu0" for node in pair)
    return attrs.evolve(problem, services=(attrs.evolve(service, places=places),))


def first_plan(problem: Problem) -> VerifiedPlan:
    """Plan for a cluster where nothing runs."""
    outcome = solve(problem, Request())
    assert isinstance(outcome, Planned), outcome
    return outcome.verified


def next_plan(running: Sequence[Daemon], pair: Sequence[str], way: Way) -> VerifiedPlan:
    """Plan from what runs to another pair, and let requests go over in this way; the checker passes it."""
    problem, plan = read(running[0].get("/plan").content)
    nodes = tuple(codec.decode(RunningNode, daemon.get("/state").content) for daemon in running)
    begun = begin(RunningCluster(problem=problem, plan=plan, nodes=nodes), on(problem, pair))
    assert isinstance(begun, Begun), begun
    outcome = solve(begun.problem, begun.request)
    assert isinstance(outcome, Planned), outcome
    return in_this_way(outcome.verified, way)


def in_this_way(verified: VerifiedPlan, way: Way) -> VerifiedPlan:
    """Let the requests of the pipeline that closes go over in this way, whatever the planner would do."""
    problem, plan = verified.problem, verified.plan
    (switch,) = (step for step in plan.steps if isinstance(step, Switch))
    assert not any(isinstance(step, Transfer | Release) for step in plan.steps), "nothing but requests is to move"
    routes, changed = plan.routes, attrs.evolve(switch, continuity=Continuity.RECOMPUTE, hand_over=None)
    if way is not Way.RECOMPUTE:
        (old,) = (each for each in problem.running if each.pipeline.id == switch.old)
        (new,) = (each for each in plan.pipelines if each.id == switch.new)
        found = ways(problem, Routes(problem.cluster), old, new)
        copied = next(each for each in found if each.continuity is Continuity.COPY)
        assert copied.hand_over is not None
        routes = copied.routes
        asked = pre_copy(problem, links_by_id(problem.cluster), routes, old.pipeline, new, copied.hand_over.paths)
        how = attrs.evolve(copied.hand_over, copy_tokens_min=0)
        if way is Way.STOP_AND_COPY:  # everything may be left for the end, so everything is
            everything = asked.tokens_max
            how = attrs.evolve(how, rounds_max=1, rest_tokens_max=everything, pause_ns=asked.pause_ns(everything))
        done_ns = how.start_ns + asked.rounds_ns(how.rounds_max) + how.pause_ns
        changed = attrs.evolve(switch, continuity=Continuity.COPY, hand_over=how, at_ns=Nanos(done_ns))
    steps = tuple(changed if step is switch else step for step in plan.steps)
    other = attrs.evolve(plan, steps=steps, routes=routes, certificates=())
    verdict = verify(problem, attrs.evolve(other, certificates=certificates(problem, other)))
    assert isinstance(verdict, VerifiedPlan), verdict
    return verdict


def switch_of(verified: VerifiedPlan) -> Switch:
    """Find the only switch of a plan."""
    (switch,) = (step for step in verified.plan.steps if isinstance(step, Switch))
    return switch
