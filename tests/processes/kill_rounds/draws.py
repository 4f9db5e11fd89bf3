"""What is random in a round of `kill_rounds`, drawn from a seed and its number; and the plan before them all."""

import signal
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from random import Random

import attrs

from specs.checker import VerifiedPlan
from specs.plan import Activate, Continuity, Release, Switch, Transfer
from specs.problem import Problem
from specs.wishes import Service
from tests.processes.cluster import draw_wish, make_plan, make_problem, weights_bytes, with_service

NODES = 4
PROMPTS = ("Order is law", "times are predictions", "a", "and every request keeps its tokens", "What is left of it?")
TOKENS_MAX = 200
_WISHES = 20
_LOADING_S = 2  # that a transfer of the whole LLM takes, about
_SMALL_BYTES = 3_400_000  # a part of the LLM, with KV of two requests
# Where devices decode so fast, KV is written faster than links copy it, and requests wait while all is copied; where
# they decode so slowly, it is copied in rounds of a second or two.
_FAST, _SLOW = 5 * 10**9, 12 * 10**7


class Deed(Enum):
    """At what a daemon is caught: a record of its journal, or what a role of KV hand-over learns or does."""

    NONE = "none: before the plan is put"
    ACCEPTED = "Accepted"
    ADOPTED = "Adopted"
    OFFERED = "TransferStarted"
    HELD = "BlobHeld"
    BUILT = "StageBuilt"
    OPENED = "Opened"
    INVITES = "Invite"
    RESERVES = "Reserve"
    HEARS_OF_SEATS = "LearntAsStage"
    COPIES = "CopyOrdered"
    WROTE = "Wrote"
    HALTS = "Halt"
    HANDS_OUT = "HandOut"
    HEARS_AS_FRONT = "LearntAsFront"
    GOES_ON_ELSEWHERE = "Moved"
    TAKES_OVER = "TookOver"
    HANDED_OVER = "HandedOver"
    CLOSED = "Closed"
    FREED = "StageFreed"
    RELEASED = "Released"


OF_STEPS = {
    Deed.OFFERED: Transfer,
    Deed.HELD: Transfer,
    Deed.BUILT: Activate,
    Deed.OPENED: Activate,
    Deed.CLOSED: Switch,
    Deed.FREED: Switch,
    Deed.RELEASED: Release,
}
IN_HAND_OVERS = tuple(Deed)[tuple(Deed).index(Deed.INVITES) : tuple(Deed).index(Deed.HANDED_OVER) + 1]
_OFTEN = (Deed.HELD, Deed.COPIES, Deed.WROTE)  # and so not only at the first


class Fault(Enum):
    """What happens to the victim."""

    KILL = "killed"
    HANG = "hung"
    HANG_AND_KILL = "hung, then killed"
    KILL_HOLDERS = "killed with all that hold a copy"  # when the plan is carried out

    @property
    def signal(self) -> signal.Signals:
        """What it begins with."""
        return signal.SIGKILL if self in {Fault.KILL, Fault.KILL_HOLDERS} else signal.SIGSTOP


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
            yield Asked(
                prompt=chance.choice(PROMPTS), tokens=chance.choice((chance.randint(20, 199), TOKENS_MAX, TOKENS_MAX))
            )


@attrs.frozen(kw_only=True)
class Draws:
    """What a round is: all that is random in it."""

    clients: tuple[Client, ...]
    wishes: tuple[Service, ...]  # the first whose plan has what the deed needs counts
    mended: Service  # with which wish the cluster is mended
    device_rate: int  # bytes/s at which devices are said to read memory
    gives_up_the_source: bool  # under the first plan: the LLM may go with its last holder
    continuity: Continuity | None  # in which requests move under the first plan; None: as the planner thinks best
    entries: tuple[int, int]  # where the plans are put, counted among the nodes that live
    fault: Fault
    deed: Deed
    time: int  # for which time in this round it is done
    late_s: float | None  # after it; None: before anything comes of it
    anybody: int  # the victim, where no plan has what the deed needs
    hang_s: float

    @classmethod
    def of(cls, seed: int, number: int, problem: Problem) -> "Draws":
        """Draw a round."""
        chance = Random(f"{seed} {number}")
        nodes = len(problem.cluster.nodes)
        deed = chance.choice(tuple(Deed))
        return cls(
            clients=tuple(
                Client(front=chance.randrange(nodes), seed=f"{seed} {number} {each}")
                for each in range(3 if deed in IN_HAND_OVERS else chance.randint(2, 3))
            ),
            wishes=tuple(draw_wish(problem, chance).services[0] for _ in range(_WISHES)),
            mended=draw_wish(problem, chance).services[0],
            device_rate=chance.choice((_FAST, _SLOW)),
            gives_up_the_source=chance.random() < 0.6,
            continuity=Continuity.COPY if deed in IN_HAND_OVERS else chance.choice((None, *Continuity)),
            entries=(chance.randrange(nodes), chance.randrange(nodes)),
            fault=chance.choice(_FAULTS),
            deed=deed,
            time=chance.randint(1, 20) if deed in _OFTEN else 1,
            late_s=chance.choice((None, 0.0, chance.uniform(0, 0.05), chance.uniform(0, 0.5))),
            anybody=chance.randrange(nodes),
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
