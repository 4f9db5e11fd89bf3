"""A pipeline led from this node: it batches requests, starts iterations, and tells the fronts of every token."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import attrs

from executor.choices import Chosen
from executor.engine.batcher import Batcher
from executor.engine.errors import RequestRefused
from executor.engine.iteration import Limits
from executor.engine.request import Request, RequestId, SamplingParams
from executor.errors import MalformedFrame
from executor.notes import TakeNote
from executor.pipelines.arrival import Arrival
from executor.pipelines.departure import Departure, OnHandedOver
from executor.pipelines.host import Host
from executor.pipelines.led import Led
from executor.pipelines.post import Post
from executor.pipelines.resizing import Resizing
from executor.traffic import Cancel, Returned, SampledTokens, Submit, Token
from specs import journal
from specs.cluster import NodeId
from specs.plan import HandOver, Pipeline, PipelineId
from specs.units import Bytes, Nanos

_CANARY = RequestId("canary")
_CANARY_AGAIN_SECONDS = 0.2  # a member whose connection broke gets this long to come back


@attrs.frozen(kw_only=True)
class Canary:
    """A prompt and the tokens that follow it on a reference."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


class Leader:
    """The requests of one pipeline, which has so many slots at first."""

    def __init__(
        self,
        pipeline: Pipeline,
        slots: int,
        host: Host,
        post: Post,
        spawn: Callable[[Coroutine[object, object, None]], None],
        note: TakeNote,
    ) -> None:
        self.pipeline = pipeline
        self._host = host
        self._post = post
        self._spawn = spawn
        self._batcher = Batcher(
            Limits(
                slots=pipeline.slots,
                context_tokens=pipeline.request_tokens_max,
                tokens_per_iteration=pipeline.iteration_tokens_max,
                in_flight_max=len(pipeline.stages),
            )
        )
        self._fronts: dict[RequestId, NodeId] = {}
        led = Led(
            pipeline=pipeline,
            batcher=self._batcher,
            fronts=self._fronts,
            host=host,
            post=post,
            spawn=spawn,
            pump=self._pump,
            check=self._check_tokens,
            note=note,
        )
        self.departure = Departure(led)
        self.arrival = Arrival(led)
        self.resizing = Resizing(led, slots)
        self._wanted: dict[int, tuple[RequestId, ...]] = {}  # by iteration under way: whose tokens will be sampled
        self._canary: asyncio.Future[tuple[int, ...]] | None = None
        self._canary_tokens: list[int] = []
        self._proving: Canary | None = None
        self._open = False
        self._shut = False  # for ever
        self._on_drained: Callable[[], None] | None = None

    @property
    def live(self) -> int:
        """Requests waiting and running."""
        return self._batcher.waiting + self._batcher.running

    @property
    def live_tokens(self) -> int:
        """Tokens of the requests that have a slot."""
        return sum(len(each.request.tokens) for each in self._batcher.running_requests())

    async def prove(self, canary: Canary) -> bool:
        """Lead the canary through the pipeline; False when any token is wrong or the pipeline is closed first."""
        self._canary = asyncio.get_running_loop().create_future()
        self._lead(canary)
        return await self._canary == canary.tokens

    def _lead(self, canary: Canary) -> None:
        self._canary_tokens = []
        self._proving = canary
        if self._shut:
            self._end_canary(())
            return
        request = Request(
            id=_CANARY,
            tokens=canary.prompt,
            prompt_tokens=len(canary.prompt),
            max_tokens=len(canary.tokens),
            end_tokens=frozenset(),
            sampling=SamplingParams(),
        )
        self._batcher.add(request)
        self._pump()

    async def _lead_again(self, canary: Canary) -> None:
        await asyncio.sleep(_CANARY_AGAIN_SECONDS)
        self._lead(canary)

    def open(self) -> None:
        """Take requests from now on."""
        self._open = True

    def submit(self, front: NodeId, submit: Submit) -> None:
        """Take a request from a front, or return it.  Raises MalformedFrame for an id that is not the front's own."""
        if not submit.request.startswith(f"{front}:"):
            raise MalformedFrame(f"request {submit.request} for {self.pipeline.id} does not bear its front's name")
        if not self._open:
            self._return(front, submit.request)
            return
        try:
            request = submit.read()
            self._check_tokens(request)
            self._batcher.add(request)
        except RequestRefused as refusal:
            self._post.send(front, Returned(request=submit.request, shut=False, refusal=str(refusal)))
            return
        self._fronts[request.id] = front
        self._pump()

    def cancel(self, front: NodeId, cancel: Cancel) -> None:
        """Give up a request of this front for which nobody waits."""
        request = RequestId(cancel.request)
        if self._fronts.get(request) != front:
            return
        del self._fronts[request]
        self._batcher.cancel(request)
        self._boundary()
        self._pump()
        self._check_drained()

    def disconnected(self, peer: NodeId, *, member: bool) -> None:
        """Learn that messages to or from a node were lost: iterations, if it is a member; else tokens to its front."""
        self.departure.disconnected(peer)
        if member:
            self.give_back()
            return
        for request in [request for request, front in self._fronts.items() if front == peer]:
            self.cancel(peer, Cancel(pipeline=self.pipeline.id, request=request))
            self._return(peer, request)

    def sampled(self, answer: SampledTokens) -> None:
        """Take the tokens of an iteration from the last stage.

        Raises MalformedFrame when they are not as many, or not of the LLM.
        """
        wanted = self._wanted.get(answer.iteration)
        if wanted is None:
            return  # from before the requests were given back
        if len(wanted) != len(answer.tokens):
            raise MalformedFrame(
                f"{len(answer.tokens)} tokens came for iteration {answer.iteration} of {self.pipeline.id}, "
                f"which asked for {len(wanted)}"
            )
        known = self._host.vocabulary_size(self.pipeline.id)
        if any(chosen.token >= known for chosen in answer.tokens):
            raise MalformedFrame(f"iteration {answer.iteration} of {self.pipeline.id} gave a token beyond the {known}")
        self._complete(answer.iteration, answer.tokens)

    def give_back(self) -> None:
        """Return every request to its front; iterations under way come to nothing.  The canary is led again."""
        self._wanted.clear()
        for request in self._batcher.drain():
            if request.id != _CANARY:
                self._return(self._fronts.pop(request.id), request.id)
            elif self._proving is not None:
                self._spawn(self._lead_again(self._proving))
        self._boundary()
        self._check_drained()

    def close(self) -> None:
        """Take no more requests and return those that are live."""
        self._open, self._shut = False, True
        self._on_drained = None
        self.departure.abort()
        self.arrival.close()
        self.resizing.close()
        self.give_back()
        self._end_canary(())

    def drain(self, on_drained: Callable[[], None]) -> None:
        """Take no more requests; call back once those that are live have ended."""
        self._open, self._shut = False, True
        self._on_drained = on_drained
        self._check_drained()

    def hand_over(self, successor: PipelineId, how: HandOver | None, on_handed_over: OnHandedOver) -> None:
        """Copy the KV of the live requests to another pipeline; call back once the fronts know.

        Without a way to copy it there is nothing to wait for: requests are computed again.
        """
        if how is not None:
            self.departure.begin(successor, how, on_handed_over)
            return
        receipt = journal.HandedOver(
            pipeline=self.pipeline.id,
            successor=successor,
            copied=0,
            recomputed=self.live,
            rounds=0,
            bytes=Bytes(0),
            halted_ns=Nanos(0),
        )
        on_handed_over(receipt)

    def abort_hand_over(self) -> None:
        """Forget what was copied, and go on; harmless when nothing was, or when the hand-over has ended."""
        self.departure.abort()

    def _pump(self) -> None:
        while (iteration := self._batcher.next_iteration()) is not None:
            self._wanted[iteration.id] = tuple(entry.request for entry in iteration.sampled)
            self._spawn(self._start(iteration.id, self._host.start(self.pipeline.id, iteration)))

    async def _start(self, iteration: int, running: Awaitable[tuple[Chosen, ...] | None]) -> None:
        tokens = await running
        if tokens is not None:
            self._complete(iteration, tokens)

    def _complete(self, iteration: int, tokens: Sequence[Chosen]) -> None:
        wanted = self._wanted.pop(iteration, None)
        if wanted is None:
            return
        by_request = dict(zip(wanted, tokens, strict=True))
        for progress in self._batcher.complete(iteration, [chosen.token for chosen in tokens]):
            finish = None if progress.finish is None else progress.finish.value
            if progress.request == _CANARY:
                self._canary_tokens.append(progress.token)
                if finish is not None:
                    self._end_canary(tuple(self._canary_tokens))
                continue
            front = self._fronts[progress.request]
            if finish is not None:
                del self._fronts[progress.request]
            chosen = by_request[progress.request]
            self._post.send(front, Token(request=progress.request, index=progress.index, chosen=chosen, finish=finish))
        self._boundary()
        self._pump()
        self._check_drained()

    def _boundary(self) -> None:
        self.departure.boundary()
        self.resizing.boundary()

    def _return(self, front: NodeId, request: str) -> None:
        self._post.send(front, Returned(request=request, shut=self._shut))

    def _check_tokens(self, request: Request) -> None:
        known = self._host.vocabulary_size(self.pipeline.id)
        if max((*request.tokens, *request.end_tokens)) >= known:
            raise RequestRefused(f"request {request.id} has a token beyond the {known} of {self.pipeline.llm}")

    def _end_canary(self, tokens: tuple[int, ...]) -> None:
        if self._canary is not None and not self._canary.done():
            self._canary.set_result(tokens)

    def _check_drained(self) -> None:
        if self._on_drained is not None and self.live == 0:
            callback, self._on_drained = self._on_drained, None
            callback()
