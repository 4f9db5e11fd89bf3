"""What is random in a round of `kill_rounds`, drawn from a seed and its number; and the plan before them all."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from random import Random

import attrs

from specs.checker import VerifiedPlan
from specs.plan import Continuity
from specs.problem import Problem
from specs.wishes import Service
from tests.processes.cluster import draw_wish, make_plan, make_problem, weights_bytes, with_service

NODES = 4
PROMPTS = ("Order is law", "times are predictions", "a", "and every request keeps its tokens", "What is left of it?")
TOKENS_MAX = 200
_WISHES = 6
_LOADING_S = 2  # that a transfer of the whole LLM takes, about
_SMALL_BYTES = 3_400_000  # a part of the LLM, with KV of two requests
# Where devices decode so fast, KV is written faster than links copy it, and requests wait while all is copied; where
# they decode so slowly, it is copied in rounds of a second or two.
_FAST, _SLOW = 5 * 10**9, 12 * 10**7


class Moment(Enum):
    """When the fault happens."""

    BEFORE_ACCEPTANCE = "before acceptance"
    ACCEPTING = "accepting"
    LOADING = "loading"
    ROUNDS = "rounds of a hand-over"
    STOPPED = "stopped for a hand-over"
    AFTER = "after"


class Fault(Enum):
    """What happens to the victim."""

    KILL = "killed"
    HANG = "hung"
    HANG_AND_KILL = "hung, then killed"
    KILL_HOLDERS = "killed with all that hold a copy"


class Role(Enum):
    """Who is the victim; where the plan has no hand-over, it is anybody."""

    ANYBODY = "anybody"
    OLD_LEADER = "old leader"
    NEW_LEADER = "new leader"
    TARGET_STAGE = "target stage"
    FRONT = "front"


_MOMENTS = (*Moment, Moment.LOADING, *(Moment.ROUNDS,) * 4, *(Moment.STOPPED,) * 3)
_FAULTS = (*(Fault.KILL,) * 12, *(Fault.HANG,) * 3, *(Fault.HANG_AND_KILL,) * 3, Fault.KILL_HOLDERS)


@attrs.frozen(kw_only=True)
class Asked:
    """One streaming request."""

    prompt: str
    tokens: int


@attrs.frozen(kw_only=True)
class Client:
    """It asks one thing after the other."""

    front: int
    seed: str

    def asks(self) -> Iterator[Asked]:
        """Draw what it asks, for ever."""
        chance = Random(self.seed)
        while True:
            yield Asked(prompt=chance.choice(PROMPTS), tokens=chance.choice((chance.randint(20, 199), TOKENS_MAX)))


@attrs.frozen(kw_only=True)
class Draws:
    """What a round is: all that is random in it."""

    clients: tuple[Client, ...]
    wishes: tuple[Service, ...]  # the first that changes what the moment needs counts
    mended: Service  # with which wish the cluster is mended
    device_rate: int  # bytes/s at which devices are said to read memory
    gives_up_the_source: bool  # under the first plan: the LLM may go with its last holder
    continuity: Continuity | None  # in which requests move under the first plan; None: as the planner thinks best
    entries: tuple[int, int]  # where the plans are put, counted among the nodes that live
    fault: Fault
    role: Role
    anybody: int
    moment: Moment
    late_s: float  # after that moment
    hang_s: float

    @classmethod
    def of(cls, seed: int, number: int, problem: Problem) -> "Draws":
        """Draw a round."""
        chance = Random(f"{seed} {number}")
        nodes = len(problem.cluster.nodes)
        fault, moment = chance.choice(_FAULTS), chance.choice(_MOMENTS)
        if fault is Fault.KILL_HOLDERS:
            moment = Moment.AFTER
        in_hand_over = moment in {Moment.ROUNDS, Moment.STOPPED}
        late = {Moment.ROUNDS: 0.3, Moment.STOPPED: 0.05}.get(moment, 0.5)
        return cls(
            clients=tuple(
                Client(front=chance.randrange(nodes), seed=f"{seed} {number} {each}")
                for each in range(chance.randint(2, 3))
            ),
            wishes=tuple(draw_wish(problem, chance).services[0] for _ in range(_WISHES)),
            mended=draw_wish(problem, chance).services[0],
            device_rate=_FAST if moment is Moment.STOPPED else _SLOW,
            gives_up_the_source=chance.random() < 0.6,
            continuity=Continuity.COPY if in_hand_over else chance.choice((None, *Continuity)),
            entries=(chance.randrange(nodes), chance.randrange(nodes)),
            fault=fault,
            role=chance.choice(tuple(Role)) if in_hand_over else Role.ANYBODY,
            anybody=chance.randrange(nodes),
            moment=moment,
            late_s=chance.choice((0.0, chance.uniform(0, late))),
            hang_s=chance.choice((chance.uniform(0.2, 2.0), chance.uniform(4.0, 6.0))),
        )


def with_rate(problem: Problem, device_rate: int) -> Problem:
    """Describe the devices as ones that read their memory at this rate, in bytes/s."""
    kinds = tuple(attrs.evolve(kind, memory_bytes_per_second=device_rate) for kind in problem.cluster.device_kinds)
    return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, device_kinds=kinds))


def first_plan(checkpoint: Path) -> VerifiedPlan:
    """Plan a service from the node with the checkpoint; two of the others have less room."""
    problem = make_problem(checkpoint, NODES, rate=weights_bytes(checkpoint) // _LOADING_S, live=2, context=256)
    places = tuple(
        attrs.evolve(place, memory_bytes=_SMALL_BYTES) if place.id in ("n2/cpu0", "n3/cpu0") else place
        for place in problem.cluster.places
    )
    problem = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
    return make_plan(with_service(problem, tuple(place.id for place in places if place.device is not None)))
