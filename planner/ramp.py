"""The ramp: how many tokens pipelines serve while weights arrive, and which of several drafts of a plan is best at it.

At every instant requests come as fast as the open pipelines of their LLM can serve them, and are shared by the plan's
routing weights.  A pipeline with weight w takes w / W of all tokens, W being the sum over the open ones; each token
takes, of every device in it, the time of the device's stages in a full decode iteration over the number of requests in
it.  The device with the largest sum of w times that over its pipelines is full first: with load L its inverse times W
is the rate of the LLM.  Prompts, and devices that several LLMs share, are left out: they weigh alike on all drafts.
"""

from collections.abc import Sequence

import attrs

from planner.formation import Opening
from planner.outcome import Tried
from specs.cluster import PlaceId
from specs.plan import Aim, RoutingWeight
from specs.problem import Problem
from specs.timing import decode_ns
from specs.units import NANOS_PER_SECOND, Nanos

# Times that differ by less are equal to who chooses: predictions of transfers are no more exact, and pipelines that
# form early are worth it.  In percent of the least time.
EQUAL_PERCENT = 3
# A token of the slowest device takes far longer than this fraction of a nanosecond, so that rounding is no matter.
_PARTS = 1000


@attrs.frozen(kw_only=True)
class Draft:
    """One way to carry out the same decisions: what is compared of it."""

    made_by: str
    blobs: int
    completion_ns: Nanos  # of all transfers but the late ones
    cover_ns: Nanos  # until, for every LLM with targets, these together hold it
    openings: Sequence[Opening]
    routing: Sequence[RoutingWeight]


def best(problem: Problem, drafts: Sequence[Draft], aim: Aim) -> tuple[int, tuple[Tried, ...]]:
    """Choose a draft: its index, and what all of them achieve, the chosen one first and then the better ones first.

    Tokens are counted up to the same instant for all, the last completion among them, so that who ends sooner serves
    at full speed for longer.  For completion or cover, what is least by no more than `EQUAL_PERCENT` counts as equal,
    and more tokens decide; for the ramp tokens come first.  Of equal ones the first is chosen.
    """
    if len(drafts) == 1:
        return 0, ()
    until = Nanos(max(each.completion_ns for each in drafts))
    served = [tokens(problem, each.openings, each.routing, until) for each in drafts]
    first = [each.cover_ns if aim is Aim.COVER else each.completion_ns for each in drafts]
    least = min(first)

    def key(index: int) -> tuple[int, int, int]:
        if aim is Aim.RAMP:
            return -served[index], first[index], index
        late = first[index] if 100 * first[index] > (100 + EQUAL_PERCENT) * least else 0
        return late, -served[index], first[index]

    ranked = sorted(range(len(drafts)), key=lambda index: (*key(index), index))
    unit = "tokens" if aim is Aim.RAMP else "ns"
    tried = tuple(
        Tried(
            decision="transfers",
            subject=problem.name,
            way=f"{drafts[index].made_by}, {drafts[index].blobs:,} blobs",
            value=served[index] if aim is Aim.RAMP else first[index],
            unit=unit,
            besides=f"{served[index]:,} tokens by {until / NANOS_PER_SECOND:.3f} s",
        )
        for index in ranked
    )
    return ranked[0], tried


def tokens(problem: Problem, openings: Sequence[Opening], routing: Sequence[RoutingWeight], until_ns: Nanos) -> int:
    """Tokens that these pipelines serve up to an instant, rounded down."""
    weights = {row.pipeline: row.weight for row in routing}
    served = 0
    for llm in dict.fromkeys(each.pipeline.llm for each in openings):
        mine = [each for each in openings if each.pipeline.llm == llm]
        open_now = _Open()
        before = Nanos(0)
        for at, opens, opening in _changes(mine, until_ns):
            served += open_now.tokens(at - before)
            before = at
            open_now.change(problem, opening, weights[opening.pipeline.id], opens=opens)
        served += open_now.tokens(until_ns - before)
    return served // _PARTS


def _changes(openings: Sequence[Opening], until_ns: Nanos) -> list[tuple[Nanos, bool, Opening]]:
    """List what opens and closes when, in order of time."""
    found = [(each.open_ns, True, each) for each in openings if each.open_ns < until_ns]
    found += [
        (each.close_ns, False, each) for each in openings if each.close_ns is not None and each.close_ns < until_ns
    ]
    return sorted(found, key=lambda row: row[:2])


@attrs.define
class _Open:
    """The open pipelines of one LLM, and how much of each device's time they take."""

    _weight: int = 0
    _loads: dict[PlaceId, int] = attrs.field(factory=dict)  # ns per `_PARTS` tokens of one unit of weight, times weight

    def change(self, problem: Problem, opening: Opening, weight: int, *, opens: bool) -> None:
        """Add a pipeline that opens, or take away one that closes."""
        sign = 1 if opens else -1
        pipeline = opening.pipeline
        self._weight += sign * weight
        for stage, time_ns in zip(pipeline.stages, decode_ns(problem, pipeline), strict=True):
            load = weight * (time_ns * _PARTS // pipeline.slots)
            self._loads[stage.place] = self._loads.get(stage.place, 0) + sign * load

    def tokens(self, nanos: int) -> int:
        """Thousandths of tokens that they serve in this time."""
        busiest = max(self._loads.values(), default=0)
        return nanos * self._weight * _PARTS * _PARTS // busiest if busiest else 0
