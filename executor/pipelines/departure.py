"""A pipeline's requests go over to its successor: the source leader of `specs.protocols.kv_hand_over` at work."""

import asyncio
import time
from collections.abc import Callable, Mapping

from executor.choices import Choice, pack_tokens
from executor.engine.request import RequestId
from executor.kv_traffic import Card, CopyKv, Handed, HandedOver, Invited, KvRow
from executor.notes import AtSource
from executor.pipelines.host import Host
from executor.pipelines.led import Led
from specs import journal
from specs.cluster import NodeId
from specs.handing_over import shared_kv
from specs.plan import HandOver, Pipeline, PipelineId
from specs.protocols import kv_hand_over
from specs.protocols import kv_hand_over_events as ev
from specs.protocols.kv_hand_over_nouns import Hosting, Invitation, Live, Path, Phase, SourceState
from specs.protocols.kv_hand_over_terms import terms_of
from specs.units import Bytes, Nanos

TICK_SECONDS = 0.2

OnHandedOver = Callable[[journal.HandedOver], None]


class Departure:
    """Hands the requests of one pipeline over."""

    def __init__(self, led: Led) -> None:
        self._led = led
        self._state = SourceState()
        self._plan: _Wish | None = None
        self._rounds = 0
        self._copied_bytes = 0
        self._halted_at = 0
        self._known: dict[str, int] = {}  # tokens on the card of each guest

    def begin(self, successor: PipelineId, how: HandOver, on_handed_over: OnHandedOver) -> None:
        """Begin to hand over, once more whenever it fails, until it is done or `abort` is called."""
        self.abort()
        self._plan = _Wish(self._led.pipeline, successor, how, self._led.host, on_handed_over)
        self._rounds = self._copied_bytes = self._halted_at = 0
        self._known.clear()
        self._led.spawn(self._tick(self._plan))

    @property
    def state(self) -> SourceState:
        """How far it is."""
        return self._state

    def abort(self) -> None:
        """Forget what was copied, and go on; harmless when nothing was, or when all was handed over."""
        self._take(ev.Abort())
        self._plan = None

    def disconnected(self, peer: NodeId) -> None:
        """Learn that messages to or from a node were lost: where requests wait for the target leader, decode on."""
        current = self._state.current
        if (
            current is not None
            and current.phase is not Phase.ROUNDS
            and peer == self._led.host.leader_of(current.id.new)
        ):
            self._take(ev.Abort())

    def hear(self, hosting: Hosting) -> None:
        """Learn what the target leader has."""
        self._take(ev.HostingIs(hosting))

    def boundary(self) -> None:
        """Learn that an iteration or a request has ended."""
        if self._state.current is not None:
            batcher = self._led.batcher
            self._take(ev.Boundary(self._live(), is_heeded=batcher.is_paused, is_quiet=batcher.boundary))

    def _live(self) -> tuple[Live, ...]:
        return tuple(each for each in self._led.batcher.live() if each.request in self._led.fronts)

    async def _tick(self, plan: "_Wish") -> None:
        while self._plan is plan:
            if self._state.current is None:
                self._take(ev.Begin(plan.successor, self._live()))
            else:
                self._take(ev.Tick())
            await asyncio.sleep(TICK_SECONDS)

    def _take(self, event: ev.SourceEvent) -> None:
        if self._plan is None:
            return
        plan, before = self._plan, self._state
        self._state, actions = kv_hand_over.step(plan.terms, before, event)
        self._led.note(AtSource(plan.terms, event, before, self._state, actions))
        if self._state.current is not None:
            self._rounds = self._state.current.round
        for action in actions:
            self._do(plan, action)

    def _do(self, plan: "_Wish", action: ev.SourceAction) -> None:
        match action:
            case ev.Invite(invitation):
                self._led.post.send(self._led.host.leader_of(plan.successor), self._invited(invitation))
            case ev.Copy():
                self._copy(plan, action)
            case ev.Halt():
                self._halted_at = time.monotonic_ns()
                self._led.batcher.pause()
                self.boundary()
            case ev.GoOn():
                self._led.batcher.go_on()
                self._led.pump()
            case ev.HandOut():
                self._hand_out(plan, action)
            case ev.Failed():
                pass  # the next tick begins another

    def _invited(self, invitation: Invitation) -> Invited:
        cards = []
        for fresh in invitation.fresh:
            request = self._led.batcher.as_it_stands(RequestId(fresh.request))
            self._known[fresh.request] = fresh.tokens
            cards.append(
                Card(
                    request=fresh.request,
                    packed=pack_tokens(request.tokens[: fresh.tokens]),
                    prompt_tokens=request.prompt_tokens,
                    max_tokens=request.max_tokens,
                    end_tokens=tuple(sorted(request.end_tokens)),
                    choice=Choice.of(request.sampling),
                )
            )
        return Invited(invitation=invitation, cards=tuple(cards))

    def _copy(self, plan: "_Wish", copy: ev.Copy) -> None:
        rows = tuple(
            KvRow(request=row.request, slot=row.slot, seat=row.seat, start=row.start, end=row.end) for row in copy.rows
        )
        tokens = sum(row.end - row.start for row in rows)
        for path in plan.terms.paths:
            self._copied_bytes += tokens * plan.token_bytes[path]
            order = CopyKv(id=copy.id, path=path, bytes_per_second=plan.rates.get(path), rows=rows)
            self._led.post.send(self._led.host.node_of_stage(self._led.pipeline.id, path.old_stage), order)

    def _hand_out(self, plan: "_Wish", action: ev.HandOut) -> None:
        """Tell each front once, and forget what was handed over; what is left goes back when the pipeline closes."""
        copied = [RequestId(request) for request in action.requests]
        of_front: dict[NodeId, list[Handed]] = {front: [] for front in self._led.fronts.values()}
        for request in copied:
            of_front[self._led.fronts[request]].append(Handed(request=request, known=self._known[request]))
        recomputed = len(self._led.fronts) - len(copied)
        for front, guests in of_front.items():
            self._led.post.send(front, HandedOver(id=action.id, guests=tuple(guests)))
        self._led.batcher.take_out(copied)
        for request in copied:
            del self._led.fronts[request]
        self._plan = None
        plan.on_handed_over(
            journal.HandedOver(
                pipeline=self._led.pipeline.id,
                successor=plan.successor,
                copied=len(copied),
                recomputed=recomputed,
                rounds=self._rounds,
                bytes=Bytes(self._copied_bytes),
                halted_ns=Nanos(time.monotonic_ns() - self._halted_at if self._halted_at else 0),
            )
        )


class _Wish:
    """What the plan wants of a hand-over."""

    def __init__(
        self, old: Pipeline, successor: PipelineId, how: HandOver, host: Host, on_handed_over: OnHandedOver
    ) -> None:
        new = host.planned(successor)
        assert new is not None, "the plan names both"
        kv = shared_kv(host.llm_of(old.id), old, new)
        self.successor = successor
        self.on_handed_over = on_handed_over
        self.token_bytes: Mapping[Path, Bytes] = {Path(old_stage=a, new_stage=b): size for (a, b), size in kv.items()}
        self.rates: Mapping[Path, int] = {
            Path(old_stage=path.old_stage, new_stage=path.new_stage): path.bytes_per_second for path in how.paths
        }
        self.terms = terms_of(host.llm_of(old.id), old, new, how)
