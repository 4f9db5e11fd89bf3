"""Requests that entered at this node, from the first token of the prompt to the last of the answer.

The front keeps every request's tokens.  A pipeline that closes or dies, a leader that is lost, a connection that
breaks: the request is submitted again, with the tokens it has, to a pipeline that is open, under the next plan if there
is none under this one.  Each submission is an *attempt* with an id of its own, which no earlier life of this node has
used either, so that nothing late of another attempt is ever taken for an answer.
"""

import asyncio
import secrets
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

import attrs

from executor.choices import pack_tokens, tokens_digest
from executor.engine.request import Request, RequestId, SamplingParams
from executor.engine.sampler import Sampled
from executor.kv_traffic import Guest, HandedOver, Resume
from executor.notes import Later, TakeNote
from executor.pipelines.pauses import Pauses
from executor.pipelines.post import Post
from executor.traffic import Cancel, Returned, Submit, Token
from specs import journal
from specs.cluster import NodeId
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import PipelineId, Plan
from specs.problem import Problem
from specs.protocols.kv_hand_over_nouns import HandOverId
from specs.units import NANOS_PER_SECOND, Nanos

# Where a plan has no pipeline left that could open, requests wait this long for another plan: somebody has to notice,
# to plan, and to move what is needed.
PATIENCE_NS = Nanos(60 * NANOS_PER_SECOND)


@attrs.frozen(kw_only=True)
class Door:
    """A pipeline, as fronts see it."""

    pipeline: PipelineId
    llm: LlmId
    leader: NodeId
    weight: int  # new requests are shared in proportion to it
    slots: int  # requests of this front in it at once, at most


def doors_of(problem: Problem, plan: Plan, leader_of: Callable[[PipelineId], NodeId]) -> tuple[Door, ...]:
    """List the doors of all pipelines of a plan, those included that run when it begins."""
    weights = {row.pipeline: row.weight for row in plan.routing}
    facts = Facts(problem, plan)
    return tuple(
        Door(
            pipeline=pipeline.id,
            llm=pipeline.llm,
            leader=leader_of(pipeline.id),
            weight=weights[pipeline.id],
            slots=facts.slots_at_first[pipeline.id],
        )
        for pipeline in facts.pipelines.values()
    )


@attrs.frozen
class Generated:
    """One token of the answer; `finish` is "stop" or "length" with the last."""

    sampled: Sampled
    finish: str | None
    pipeline: PipelineId


@attrs.frozen
class GaveUp:
    """The request cannot be served under this plan; retryable if it may be under another."""

    sentence: str
    retryable: bool


@attrs.define(eq=False)
class _Live:
    """A request on its way."""

    llm: LlmId
    prompt_tokens: int
    tokens: list[int]
    max_tokens: int
    end_tokens: frozenset[int]
    sampling: SamplingParams
    answer: asyncio.Queue[Generated | GaveUp] = attrs.field(factory=asyncio.Queue)
    door: Door | None = None
    attempt: str = ""
    told_at: float = 0.0  # when the last token came; 0: none has
    was_handed_over: bool = False  # since then

    @property
    def has_begun(self) -> bool:
        """Whether there is a token of the answer."""
        return len(self.tokens) > self.prompt_tokens


class Front:
    """All live requests of this node."""

    def __init__(self, node: NodeId, post: Post, note: TakeNote) -> None:
        self._node = node
        self._doors: dict[PipelineId, Door] = {}
        self._post = post
        self._note = note
        self._open: frozenset[PipelineId] = frozenset()
        self._shut: frozenset[PipelineId] = frozenset()  # they will never take a request again, their leaders said
        self._over: frozenset[PipelineId] = frozenset()  # and under this plan nobody else does either
        self._closed: str | None = None  # why nothing is served any more
        self._life = secrets.token_hex(8)
        self._waiting: dict[LlmId, deque[_Live]] = defaultdict(deque)
        self._attempts: dict[str, _Live] = {}
        self._load: dict[PipelineId, int] = {}
        self._hopeless: dict[LlmId, int] = {}  # since when, by the ticks
        self._count = 0
        self.pauses = Pauses()  # of requests that were handed over

    def adopt(self, doors: Sequence[Door]) -> None:
        """Know these pipelines from now on: requests in one that was known stay there, the others go on elsewhere."""
        gone = self._doors.keys() - {door.pipeline for door in doors}
        self._doors = {door.pipeline: door for door in doors}
        self._load = dict.fromkeys(self._doors, 0) | self._load
        self._open -= gone
        self._shut -= gone | self._over
        self._over = frozenset()  # whoever was lost under the plan before is not under this one
        self._move(live for live in self._attempts.values() if live.door and live.door.pipeline in gone)
        for pipeline in gone:
            del self._load[pipeline]

    def tick(self, now_ns: int) -> None:
        """Let time pass: requests for which no pipeline will open under this plan wait for another one only so long."""
        for llm, queue in self._waiting.items():
            # A leader that has returned requests may know the next plan, under which others will take them.
            if any(door.llm == llm and door.pipeline not in self._over for door in self._doors.values()):
                self._hopeless.pop(llm, None)
            elif now_ns - self._hopeless.setdefault(llm, now_ns) >= PATIENCE_NS:
                _give_up(queue, f"every pipeline of {llm} has closed, and under this plan none will open again")

    def resized(self, slots: Mapping[PipelineId, int]) -> None:
        """Know how many slots these pipelines have now."""
        self._doors |= {name: attrs.evolve(self._doors[name], slots=count) for name, count in slots.items()}
        self._dispatch()

    @property
    def waiting(self) -> int:
        """Requests that no pipeline has."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def running(self) -> int:
        """Requests that a pipeline has."""
        return len(self._attempts)

    def can_serve(self, llm: LlmId) -> bool:
        """Tell whether a pipeline of this LLM is open."""
        return any(self._doors[pipeline].llm == llm for pipeline in self._open - self._shut)

    def leader_of(self, request: str) -> NodeId | None:
        """Name the node that leads the pipeline that a request is in; None for one that is not under way."""
        live = self._attempts.get(request)
        return None if live is None or live.door is None else live.door.leader

    def loads(self) -> Mapping[PipelineId, int]:
        """Count this front's requests in each pipeline."""
        return dict(self._load)

    async def generate(
        self,
        *,
        llm: LlmId,
        prompt: tuple[int, ...],
        max_tokens: int,
        end_tokens: frozenset[int],
        sampling: SamplingParams,
    ) -> AsyncGenerator[Generated | GaveUp, None]:
        """Give the tokens of the answer as they come.  Leaving the iterator early cancels the request."""
        if self._closed is not None:
            yield GaveUp(self._closed, retryable=True)
            return
        live = _Live(
            llm=llm,
            prompt_tokens=len(prompt),
            tokens=list(prompt),
            max_tokens=max_tokens,
            end_tokens=end_tokens,
            sampling=sampling,
        )
        self._waiting[llm].append(live)
        self._dispatch()
        try:
            while True:
                item = await live.answer.get()
                yield item
                if isinstance(item, GaveUp) or item.finish is not None:
                    return
        finally:
            self._forget(live)

    def openings(self, pipelines: frozenset[PipelineId], shut: frozenset[PipelineId] = frozenset()) -> None:
        """Learn which pipelines are open now, and which will never take a request again under the plan.

        Requests in others than the open ones are submitted again; those of an LLM without hope are given up.  When a
        pipeline opens, requests of its LLM that have no token yet are submitted again too: until then every front has
        filled the few pipelines that there were, whose queues are long while the new one has nothing to do.
        """
        relieved = {self._doors[pipeline].llm for pipeline in pipelines - self._open}
        gone, self._open = self._open - pipelines, pipelines
        self._shut |= shut
        self._over |= shut
        self._move(
            live
            for live in self._attempts.values()
            if live.door and (live.door.pipeline in gone or (live.llm in relieved and not live.has_begun))
        )

    def broken(self, node: NodeId) -> None:
        """Learn that messages to or from a node were lost: what its pipelines have of ours is submitted again."""
        self._move(live for live in self._attempts.values() if live.door and live.door.leader == node)

    def token(self, token: Token) -> None:
        """Take one more token; late, repeated and unknown ones are dropped."""
        live = self._attempts.get(token.request)
        if live is None or token.index != len(live.tokens) - live.prompt_tokens:
            return
        assert live.door is not None
        live.tokens.append(token.chosen.token)
        self._note_pause(live)
        pipeline = live.door.pipeline
        if token.finish is not None:
            self._leave(live)
        live.answer.put_nowait(Generated(token.chosen.sampled(), token.finish, pipeline))
        self._dispatch()

    def returned(self, returned: Returned) -> None:
        """Take a request back from a pipeline that does not serve it any more."""
        live = self._attempts.get(returned.request)
        if live is None:
            return
        if returned.shut:
            assert live.door is not None
            self._shut |= {live.door.pipeline}
        if returned.refusal is not None:
            self._leave(live)
            live.answer.put_nowait(GaveUp(returned.refusal, retryable=False))
        else:
            self._again(live)
        self._dispatch()

    def handed_over(self, handed: HandedOver) -> None:
        """Go on with requests in the pipeline that has their KV; what else its predecessor has of ours goes elsewhere.

        Where that pipeline is not open here, all of them do.
        """
        door = self._doors.get(handed.id.new)
        known = {guest.request: guest.known for guest in handed.guests}
        self._note(Later(lambda: journal.LearntAsFront(id=handed.id, requests=tuple(known))))
        guests = []
        self._shut |= {handed.id.old} & self._doors.keys()
        for live in reversed([each for each in self._attempts.values() if each.door]):
            assert live.door is not None
            if live.door.pipeline != handed.id.old:
                continue
            live.was_handed_over = True
            before = live.attempt
            is_there = door is not None and door.pipeline in self._open - self._shut and before in known
            if door is None or not is_there or known[before] > len(live.tokens):
                self._again(live)
                continue
            self._leave(live)
            self._enter(live, door, handed.id)
            tail = pack_tokens(live.tokens[known[before] :])
            guests.append(Guest(request=before, attempt=live.attempt, tokens=len(live.tokens), packed=tail))
        if door is not None and guests:
            self._post.send(door.leader, Resume(id=handed.id, guests=tuple(reversed(guests))))
        self._dispatch()

    def close(self, sentence: str) -> None:
        """End every request, and those that still come."""
        self._closed = sentence
        for live in list(self._attempts.values()):
            self._again(live)
        for queue in self._waiting.values():
            _give_up(queue, sentence)

    def _note_pause(self, live: _Live) -> None:
        """Note how long a request that was handed over had to wait for its next token."""
        now = time.monotonic()
        if live.was_handed_over and live.told_at:
            self.pauses.observe(now - live.told_at)
        live.told_at, live.was_handed_over = now, False

    def _move(self, lives: Iterable[_Live]) -> None:
        """Take requests out of their pipelines and submit them again, the oldest first."""
        for live in reversed(list(lives)):
            assert live.door is not None
            self._post.send(live.door.leader, Cancel(pipeline=live.door.pipeline, request=live.attempt))
            self._again(live)
        self._dispatch()

    def _again(self, live: _Live) -> None:
        """Let a request wait for another pipeline, before those that have not begun."""
        self._leave(live)
        self._waiting[live.llm].appendleft(live)

    def _leave(self, live: _Live) -> None:
        del self._attempts[live.attempt]
        assert live.door is not None
        self._load[live.door.pipeline] -= 1
        live.door = None

    def _forget(self, live: _Live) -> None:
        """End a request, wherever it is: harmless when it has ended."""
        if live in self._waiting[live.llm]:
            self._waiting[live.llm].remove(live)
        if self._attempts.get(live.attempt) is live:
            assert live.door is not None
            self._post.send(live.door.leader, Cancel(pipeline=live.door.pipeline, request=live.attempt))
            self._leave(live)
            self._dispatch()

    def _dispatch(self) -> None:
        """Submit what waits to the open pipelines that have least to do for their weight."""
        for llm, queue in self._waiting.items():
            known = [door for door in self._doors.values() if door.llm == llm]
            doors = [door for door in known if door.pipeline in self._open - self._shut]
            while queue:
                free = [door for door in doors if self._load[door.pipeline] < door.slots]
                if not free:
                    break
                self._submit(queue.popleft(), min(free, key=self._crowding))

    def _crowding(self, door: Door) -> tuple[int, PipelineId]:
        return (self._load[door.pipeline] + 1) * 10**12 // door.weight, door.pipeline

    def _enter(self, live: _Live, door: Door, resumes: HandOverId | None = None) -> None:
        """Give a request a new name, by which this pipeline knows it; `resumes` names what brought its KV there."""
        self._count += 1
        before, live.attempt = live.attempt, f"{self._node}:{self._life}:{self._count}"
        if before:
            attempt, count, was_left = live.attempt, len(live.tokens), before not in self._attempts
            self._note(
                Later(
                    lambda: journal.Moved(
                        attempt=attempt,
                        before=before,
                        pipeline=door.pipeline,
                        tokens=count,
                        digest=tokens_digest(live.tokens[:count]),
                        was_left=was_left,
                        resumes=resumes,
                    )
                )
            )
        live.door = door
        self._attempts[live.attempt] = live
        self._load[door.pipeline] += 1

    def _submit(self, live: _Live, door: Door) -> None:
        self._enter(live, door)
        request = Request(
            id=RequestId(live.attempt),
            tokens=tuple(live.tokens),
            prompt_tokens=live.prompt_tokens,
            max_tokens=live.max_tokens,
            end_tokens=live.end_tokens,
            sampling=live.sampling,
        )
        self._post.send(door.leader, Submit.of(door.pipeline, request))


def _give_up(queue: deque[_Live], sentence: str) -> None:
    while queue:
        queue.popleft().answer.put_nowait(GaveUp(sentence, retryable=True))
