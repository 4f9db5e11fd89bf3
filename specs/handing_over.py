"""Pre-copy: how much KV is left to copy while it is written, and how long its requests then wait.

The rounds of live migration (Clark et al., Live Migration of Virtual Machines, NSDI 2005), with the KV of tokens for
pages of memory: a round copies what was written since the round before it began, so that less and less is left where
copying is faster than writing.  PipeLive (Bai et al., arXiv 2604.12171) does the same with the KV of pipelines.  KV is
only ever appended, so what a round has to copy is what was computed since, and nothing twice.

Whole tokens, rounded against us.  Every context counts as long as requests may be at the start, every slot as one that
decodes.  Prompts that come meanwhile are left out: requests with too much left are computed again (`specs.plan`).
"""

from collections.abc import Sequence

import attrs

from specs.cluster import Link, LinkId
from specs.llm import Llm
from specs.plan import KvPath, Pipeline, Route
from specs.problem import Problem
from specs.timing import decode_ns, device_rate, route_latency_ns, transfer_ns
from specs.units import Bytes, BytesPerSecond, Nanos, Tokens, ceil_div

# Clark et al. stop after 29 rounds: what is not nearly there by then never will be.
ROUNDS_MAX = 30

# Of a round: the old leader tells its stage to copy, the new stage its leader what is there, that one the old leader.
_MESSAGES_OF_ROUND = 3
# After the last one: the old leader tells the front, and the front the new leader.
_MESSAGES_AT_END = 2


@attrs.frozen(kw_only=True)
class Way:
    """How the KV of some layers gets from an old stage to a new one."""

    bytes_per_token: Bytes  # of all these layers
    bytes_per_second: BytesPerSecond
    latency_ns: Nanos


@attrs.frozen(kw_only=True)
class PreCopy:
    """The KV of one pipeline is copied while it is written."""

    ways: tuple[Way, ...]  # side by side
    slots: int
    request_tokens_max: Tokens
    lap_ns: Nanos  # from an iteration of a request to its next; at least 1
    lap_tokens: int  # that an iteration gives a request at most: more than one where tokens are drafted
    wait_ns: Nanos  # after an iteration, until the others under way have ended
    iteration_ns: Nanos  # of the new pipeline

    @property
    def tokens_max(self) -> Tokens:
        """Tokens of all contexts."""
        return Tokens(self.slots * self.request_tokens_max)

    def copy_ns(self, tokens: int) -> Nanos:
        """Time until the KV of so many tokens is there, on every way."""
        times = (transfer_ns(Bytes(tokens * w.bytes_per_token), w.bytes_per_second, w.latency_ns) for w in self.ways)
        return max(times, default=Nanos(0))

    @property
    def latency_ns(self) -> Nanos:
        """Time of a message: messages are small, and go where KV goes."""
        return max((way.latency_ns for way in self.ways), default=Nanos(0))

    def round_ns(self, tokens: int) -> Nanos:
        """Time of a round that copies so many tokens, with its messages."""
        return Nanos(self.copy_ns(tokens) + _MESSAGES_OF_ROUND * self.latency_ns)

    def written_tokens(self, during_ns: Nanos) -> Tokens:
        """Give how many tokens are computed in this time at most.

        Two iterations of one request are a lap apart, so in t ns each slot sees at most floor(t / lap) + 1.
        """
        iterations = during_ns // self.lap_ns + 1
        return Tokens(min(self.slots * self.lap_tokens * iterations, self.tokens_max))

    def left_tokens(self, rounds: int) -> tuple[Tokens, ...]:
        """Give how many tokens the last round copies at most, if it comes after none, one, ... so many others.

        Before it the iterations under way end, at most one of each slot.
        """
        under_way = self.slots * self.lap_tokens
        return tuple(Tokens(min(tokens + under_way, self.tokens_max)) for tokens in self._dirty_tokens(rounds))

    def _dirty_tokens(self, rounds: int) -> list[Tokens]:
        """Give how many tokens are computed and not there at most, before the first and after each of so many rounds.

        At first that is every context; after a round it is what was written meanwhile.  Its time and what is written in
        it grow with what it copies, and after the first round no more is left than before it, so by induction no round
        leaves more than the one before it.
        """
        dirty = [self.tokens_max]
        for _ in range(rounds):
            dirty.append(self.written_tokens(self.round_ns(dirty[-1])))
        return dirty

    def rounds(self, rest_tokens_max: int, rounds_max: int = ROUNDS_MAX) -> int | None:
        """Give the number of rounds after which the last one copies no more; None: more than `rounds_max`."""
        left = self.left_tokens(rounds_max)
        return next((done for done, tokens in enumerate(left) if tokens <= rest_tokens_max), None)

    def rounds_ns(self, rounds: int) -> Nanos:
        """Time that so many rounds take at most."""
        return Nanos(sum(self.round_ns(tokens) for tokens in self._dirty_tokens(rounds)[:rounds]))

    def pause_ns(self, rest_tokens_max: int) -> Nanos:
        """Time from a request's last token in the old pipeline to its first in the new one, at most.

        No iteration begins any more, and those under way end; then all that is left is copied in a last round, and the
        new pipeline computes an iteration.
        """
        rest = min(rest_tokens_max, self.tokens_max)
        told_ns = _MESSAGES_AT_END * self.latency_ns
        return Nanos(self.wait_ns + self.round_ns(rest) + told_ns + self.iteration_ns)


def shared_kv(llm: Llm, old: Pipeline, new: Pipeline) -> dict[tuple[int, int], Bytes]:
    """For each pair of an old and a new stage that share layers: the bytes of their KV per token."""
    found = {}
    for source, ours in enumerate(old.stages):
        for destination, theirs in enumerate(new.stages):
            units = llm.units[max(ours.first_unit, theirs.first_unit) : min(ours.end_unit, theirs.end_unit)]
            size = sum(unit.kv_bytes_per_token for unit in units)
            if size:
                found[source, destination] = Bytes(size)
    return found


def far_pairs(llm: Llm, old: Pipeline, new: Pipeline) -> tuple[tuple[int, int], ...]:
    """Name the pairs of stages that share layers and are on different devices: each needs a path."""
    return tuple(
        (source, destination)
        for source, destination in shared_kv(llm, old, new)
        if old.stages[source].place != new.stages[destination].place
    )


def pre_copy(
    problem: Problem,
    links: dict[LinkId, Link],
    routes: Sequence[Route],
    old: Pipeline,
    new: Pipeline,
    paths: Sequence[KvPath],
) -> PreCopy:
    """Ask how the KV of a pipeline gets to its successor.

    `paths` names each of `far_pairs` once.  Within a device KV is read and written at the rate of its memory.  The
    pipeline has a batch under way for each stage, or for each slot where these are fewer.  A request's next token takes
    its batch through all stages, and in as many turns of the slowest stage as there are batches each has been through.
    """
    llm = problem.llm(old.llm)
    path_of = {(path.old_stage, path.new_stage): path for path in paths}
    ways = []
    for pair, kv_bytes in shared_kv(llm, old, new).items():
        path = path_of.get(pair)
        if path is None:
            device = next(place for place in problem.cluster.places if place.id == old.stages[pair[0]].place)
            rate, latency_ns = device_rate(problem, device, llm.dtype).memory_bytes_per_second, Nanos(0)
            size = Bytes(2 * kv_bytes)
        else:
            rate, latency_ns = path.bytes_per_second, route_latency_ns(links, routes[path.route])
            size = kv_bytes
        ways.append(Way(bytes_per_token=size, bytes_per_second=rate, latency_ns=latency_ns))
    drafted = max((each.length_max for each in problem.profile.draftings if each.llm == llm.id), default=0)
    batches = max(1, min(len(old.stages), old.slots))
    times = decode_ns(problem, attrs.evolve(old, slots=ceil_div(old.slots, batches)))
    return PreCopy(
        ways=tuple(ways),
        slots=old.slots,
        request_tokens_max=old.request_tokens_max,
        lap_ns=Nanos(max(1, sum(times))),
        lap_tokens=1 + drafted,
        wait_ns=Nanos(batches * max(times, default=0) if batches > 1 else 0),
        iteration_ns=Nanos(sum(decode_ns(problem, new))),
    )
