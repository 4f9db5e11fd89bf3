"""What is random in a round of `kill_rounds`, drawn from a seed and its number; and the plan before them all."""

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
_LOADING_S = 1  # that a transfer of the whole LLM takes, about
_SMALL_BYTES = 2_600_000  # KV, workspace and a part of the LLM


class Moment(Enum):
    """When the daemon dies."""

    BEFORE_ACCEPTANCE = "before acceptance"
    ACCEPTED = "between acceptance and adoption"
    TRANSFER = "in mid-transfer"
    HAND_OVER = "in mid-hand-over"
    SERVING = "while serving"


class Fault(Enum):
    """What happens to the daemon."""

    KILL = "is killed"
    HANG = "hangs"


@attrs.frozen(kw_only=True)
class Client:
    """One streaming request."""

    front: int
    after_s: float
    prompt: str
    tokens: int


@attrs.frozen(kw_only=True)
class Draws:
    """What a round is: all that is random in it."""

    clients: tuple[Client, ...]
    wishes: tuple[Service, Service]  # under which the fault happens, and with which the cluster is mended
    gives_up_the_source: bool  # under the first plan: the LLM may go with its last holder
    continuity: Continuity | None  # in which requests move under the first plan; None: as the planner thinks best
    entries: tuple[int, int]  # where the plans are put, counted among the nodes that live
    fault: Fault
    victim: int
    moment: Moment
    late_s: float  # after that moment
    hang_s: float

    @classmethod
    def of(cls, seed: int, number: int, problem: Problem) -> "Draws":
        """Draw a round."""
        chance = Random(f"{seed} {number}")
        nodes = len(problem.cluster.nodes)
        clients = tuple(
            Client(
                front=chance.randrange(nodes),
                after_s=chance.uniform(0, 2),
                prompt=chance.choice(PROMPTS),
                tokens=chance.randint(20, TOKENS_MAX),
            )
            for _ in range(chance.randint(3, 8))
        )
        return cls(
            clients=clients,
            wishes=(*draw_wish(problem, chance).services, *draw_wish(problem, chance).services),
            gives_up_the_source=chance.random() < 0.6,
            continuity=chance.choice((None, Continuity.COPY, Continuity.COPY)),
            entries=(chance.randrange(nodes), chance.randrange(nodes)),
            fault=chance.choice((Fault.KILL, Fault.KILL, Fault.KILL, Fault.HANG)),
            victim=chance.randrange(nodes),
            moment=chance.choice(tuple(Moment)),
            late_s=chance.choice((0.0, 0.0, chance.uniform(0, 0.5))),
            hang_s=chance.uniform(4.0, 6.0),
        )


def first_plan(checkpoint: Path) -> VerifiedPlan:
    """Plan a service from the node with the checkpoint; two of the others have room for a part of the LLM only."""
    problem = make_problem(checkpoint, NODES, rate=weights_bytes(checkpoint) // _LOADING_S, context=256)
    places = tuple(
        attrs.evolve(place, memory_bytes=_SMALL_BYTES) if place.id in ("n2/cpu0", "n3/cpu0") else place
        for place in problem.cluster.places
    )
    problem = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
    return make_plan(with_service(problem, tuple(place.id for place in places if place.device is not None)))
