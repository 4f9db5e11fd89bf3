"""One plan being carried out on one node: the shell around the pure core.

Events of the transport, the stages and the clock go into `Machine.take`; the actions that come out are done here.
Nothing in this module decides anything about the plan.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path

import attrs
import torch

from executor import messages
from executor.addresses import peers_of
from executor.engine.errors import EngineError
from executor.errors import OutOfMemory
from executor.files import Files
from executor.hearing import Hearing
from executor.journal import Journal
from executor.loading import Before, Loading
from executor.machine import Machine, node_plan
from executor.mail import REPORT, Mail
from executor.pipelines.front import Front, doors_of
from executor.pipelines.host import Host
from executor.pipelines.leader import Leader
from executor.senders import Senders
from executor.store import Store, segments
from executor.traffic import Interrupted
from executor.transport import interface as wire
from executor.transport.tcp import listen_tcp
from specs import codec, journal
from specs.checker import VerifiedPlan
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.errors import MalformedDocument
from specs.llm import LlmId
from specs.plan import Continuity, PipelineId, StepId, Transfer
from specs.protocols import events as core
from specs.protocols.facts import lacks, open_pipelines
from specs.protocols.nouns import Copy, LossReason, Passage
from specs.timing import node_deadline_ns, progress_deadline_ns
from specs.units import NANOS_PER_SECOND, Bytes, Nanos

_log = logging.getLogger(__name__)

TICK_NS = 200_000_000
# Memory that the system does not give may be free a little later; a transfer is tried a few times at most.
_MEMORY_AGAIN_SECONDS = 1


@attrs.frozen(kw_only=True)
class Setting:
    """What a daemon brings to every plan."""

    node: NodeId
    checkpoints: Mapping[LlmId, Path]  # of the LLMs that this node holds on disk
    state_directory: Path
    device_of: Mapping[PlaceId, torch.device]  # places that are not here compute on the CPU


class Run:
    """Carries out one plan until `stop`.  Made by `start_run`."""

    def __init__(self, verified: VerifiedPlan, setting: Setting, log: Journal) -> None:
        self.verified = verified
        self.digest = codec.digest(verified.plan)
        self.node = setting.node
        self._setting = setting
        self._journal = log
        problem, plan = verified.problem, verified.plan
        self._nodes = peers_of(problem)
        here = {p.id: p for p in problem.cluster.places if p.node == self.node and p.kind is not PlaceKind.SWITCH}
        devices = {place: setting.device_of.get(place, torch.device("cpu")) for place in here}
        self.store = Store({place.id: place.memory_bytes for place in here.values()}, devices)
        self._blobs = {blob.id: blob for blob in plan.blobs}
        self._llms = {llm.id: llm for llm in problem.llms}
        self._transfers = {step.id: step for step in plan.steps if isinstance(step, Transfer)}
        self.machine = Machine(node_plan(problem, plan, self.node))
        self._tasks: set[asyncio.Task[None]] = set()
        self.mail = Mail(self.node, self._spawn)
        self.files = Files(problem, plan, self.node, setting.state_directory, self.mail)
        self.host = Host(
            problem=problem,
            plan=plan,
            node=self.node,
            store=self.store,
            files=self.files.directory,
            device_of=lambda place: devices[place],
            post=self.mail,
        )
        self.leaders = {
            pipeline.id: Leader(pipeline, self.host, self.mail, self._spawn)
            for pipeline in plan.pipelines
            if self.host.leader_of(pipeline.id) == self.node
        }
        self.front = Front(self.node, doors_of(plan, self.host.leader_of), self.mail)
        self.mail.files, self.mail.host = self.files, self.host
        self.mail.front, self.mail.leaders = self.front, self.leaders
        self.mail.may_send = Senders(problem, plan, self.front.leader_of).may
        self._transport: wire.Transport | None = None
        self._hearing = Hearing(self.machine.plan.peers, node_deadline_ns(plan))
        self._usable: frozenset[PipelineId] = frozenset()
        self._closed: frozenset[PipelineId] = frozenset()
        self._known_lost: frozenset[NodeId] = frozenset()
        self._known_lacks: frozenset[Copy] = frozenset()

    @property
    def address(self) -> wire.Peer:
        """Say where this node takes its peers."""
        return self._nodes[self.node]

    # --- life ----------------------------------------------------------------------------------------------------

    async def load(self, before: Before | None) -> None:
        """Take what the plan says is here; see `executor.loading`."""
        await Loading(
            node=self.node,
            problem=self.verified.problem,
            plan=self.verified.plan,
            checkpoints=self._setting.checkpoints,
            files=self.files,
            store=self.store,
            before=before,
        ).load(self.machine.plan.held)

    async def start(self) -> None:
        """Begin to carry out the plan.  Raises OSError when the node's address cannot be had."""
        self._transport = await listen_tcp(self.address, realm=self.digest, on_event=self._on_transport)
        self._transport.meet([peer for name, peer in self._nodes.items() if name != self.node])
        self.mail.connect(self._transport)
        self._hearing.begin(time.monotonic_ns())
        if drafted := ", ".join(each.llm for each in self.verified.plan.speculations):
            _log.warning(
                "the plan has tables for drafting %s; this node decodes without drafts, to the same tokens", drafted
            )
        for copy in self.machine.plan.held:
            self.note(journal.BlobHeld(blob=copy.blob, place=copy.place))
        self._perform(self.machine.begin())
        self._spawn(self._tick())

    async def stop(self) -> None:
        """End it: requests go back to their fronts, connections close, memory is freed."""
        self.front.close("the node has stopped carrying out the plan under which the request came")
        for leader in self.leaders.values():
            leader.close()
        self.mail.disconnect()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._transport is not None:
            await self._transport.close()
        await self.host.close()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug: the daemon decides what becomes of the process.
            task.get_loop().call_exception_handler({"message": "run", "exception": error, "task": task})

    def note(self, what: journal.What) -> None:
        """Write into the journal under this plan."""
        self._journal.write(self.verified.plan.generation, what)

    # --- events --------------------------------------------------------------------------------------------------

    def _take(self, event: core.Event) -> None:
        self._perform(self.machine.take(event))
        self._notice()

    async def _tick(self) -> None:
        """Let time pass: repeat what may have been lost, ask for what is missing, notice silence."""
        while True:
            now = time.monotonic_ns()
            silent = self._hearing.silent(self._known_lost, now)
            self._take(core.Tick())
            self.files.ask(self._known_lost, now)
            for node in silent:
                self._take(core.PeerLost(node, LossReason.SILENT))
            await asyncio.sleep(TICK_NS / NANOS_PER_SECOND)

    def _on_transport(self, event: wire.Event) -> None:
        match event:
            case wire.MessageReceived(peer=peer, payload=payload):
                self._on_message(NodeId(peer), payload)
            case wire.BlobArrived(transfer_id=transfer, elapsed_ns=elapsed, size_bytes=size):
                self._arrived(self._passage(transfer), elapsed, size)
            case wire.BlobSent(transfer_id=transfer, elapsed_ns=elapsed, sent_bytes=size):
                self.note(journal.TransferSent(step=StepId(int(transfer)), elapsed_ns=elapsed, bytes=size))
                self._take(core.SendDone(StepId(int(transfer))))
            case wire.BlobFailed():
                self._failed(event)
            case wire.PeerLost(peer=peer, sentence=sentence):
                self._disconnected(NodeId(peer), sentence)

    def _on_message(self, peer: NodeId, payload: memoryview) -> None:
        self._hearing.heard(peer, time.monotonic_ns())
        if bytes(payload[:1]) != REPORT:
            self.mail.receive(peer, payload[1:])
            return
        try:
            message = messages.decode(bytes(payload[1:]))
        except MalformedDocument as error:
            _log.warning("%s: %s", peer, error)
            return
        if message.is_current(self.digest, self.verified.plan.generation):
            self._take(core.Heard(peer, message.report))

    def _passage(self, transfer_id: str) -> Passage:
        return self.machine.plan.passage[StepId(int(transfer_id))]

    def _arrived(self, passage: Passage, elapsed_ns: Nanos, size: Bytes) -> None:
        copy = passage.destination
        self.store.hold(self._blobs[copy.blob], copy.place)
        self.note(journal.TransferEnded(step=passage.step, elapsed_ns=elapsed_ns, bytes=size))
        self.note(journal.BlobHeld(blob=copy.blob, place=copy.place))
        self._take(core.Arrived(passage.step))

    def _failed(self, failure: wire.BlobFailed) -> None:
        passage = self._passage(failure.transfer_id)
        _log.info("%s", failure.sentence)
        self.note(journal.TransferFailed(step=passage.step, reason=failure.sentence))
        receiving = passage.receiver == self.node
        if receiving and failure.kind is wire.FailureKind.CORRUPT:
            self._take(core.Corrupt(passage.step))
        elif receiving:
            self._take(core.ReceiveFailed(passage.step))
        else:
            self._take(core.SendFailed(passage.step))
        if failure.kind is wire.FailureKind.STALLED:
            self._take(core.PeerLost(NodeId(failure.peer), LossReason.STALLED))

    def _disconnected(self, peer: NodeId, sentence: str) -> None:
        """Messages to or from a peer are gone: whoever waits for an answer to one must ask again, elsewhere if it can.

        The core is not told: the peer may come back, and if it does not, its silence will say so.
        """
        if self._hearing.broke(peer):
            _log.info("%s", sentence)
        self._notice()
        self.files.disconnected(peer)
        self.front.broken(peer)
        for part in self.machine.plan.parts:
            if part.leader == self.node:
                self.leaders[part.pipeline].disconnected(peer, member=peer in part.members)
            elif part.leader != peer and {self.node, peer} <= set(part.members) and part.pipeline in self._usable:
                self.mail.send(part.leader, Interrupted(pipeline=part.pipeline))

    def _notice(self) -> None:
        """Tell the parts of this node what the core has learned."""
        state = self.machine.state
        lost = frozenset(loss.node for loss in state.lost)
        if lost != self._known_lost:
            reasons = {loss.node: loss.reason for loss in state.lost}
            for node in sorted(lost - self._known_lost):
                self.note(journal.PeerLost(node=node, reason=reasons[node]))
            self._known_lost = lost
            self.mail.lose(lost)
        # Nothing is lacking while nobody is lost and nobody has refused; the search is dear, events are many.
        missing = lacks(self.machine.plan, state) if state.lost or state.refused else ()
        for lack in missing:
            if lack.copy not in self._known_lacks:
                self.note(journal.Lacks(blob=lack.copy.blob, place=lack.copy.place, because=lack.because))
        self._known_lacks = frozenset(lack.copy for lack in missing)
        part = self.machine.plan.part
        suspects = self._hearing.suspects
        usable = frozenset(each for each in open_pipelines(state) if suspects.isdisjoint(part[each].members))
        if (usable, state.closed) != (self._usable, self._closed):
            self._usable, self._closed = usable, state.closed
            self.front.openings(usable, state.closed)

    # --- actions -------------------------------------------------------------------------------------------------

    def _perform(self, actions: Iterable[core.Action]) -> None:
        for action in actions:
            self._do(action)

    def _do(self, action: core.Action) -> None:  # noqa: C901 - one table
        match action:
            case core.Tell(peer=peer, report=report):
                message = messages.Message(plan=self.digest, generation=self.verified.plan.generation, report=report)
                if self._transport is not None:
                    self._transport.send_message(peer, [REPORT, messages.encode(message)])
            case core.Receive(step=step):
                self._receive(self.machine.plan.passage[step])
            case core.Send(step=step):
                self._send(self.machine.plan.passage[step])
            case core.Abandon(step=step):
                passage = self.machine.plan.passage[step]
                other = passage.sender if passage.receiver == self.node else passage.receiver
                if self._transport is not None:
                    self._transport.abandon_blob(other, str(step))
            case core.BuildStage(pipeline=pipeline):
                self._spawn(self._build(pipeline))
            case core.FreeStage(pipeline=pipeline):
                self.host.free(pipeline)
                self.note(journal.StageFreed(pipeline=pipeline))
            case core.Prove(pipeline=pipeline):
                self._spawn(self._prove(pipeline))
            case core.Open(pipeline=pipeline):
                self.leaders[pipeline].open()
                self.note(journal.Opened(pipeline=pipeline))
            case core.Close():
                self._close(action)
            case core.Release(step=step, copy=copy):
                self.host.release(self._blobs[copy.blob], copy.place)
                self.store.release(self._blobs[copy.blob], copy.place)
                self.note(journal.Released(step=step))

    def _receive(self, passage: Passage) -> None:
        copy = passage.destination
        blob = self._blobs[copy.blob]
        try:
            memory = self.store.reserve(blob, copy.place)
        except OutOfMemory as error:
            self._spawn(self._receive_later(passage.step, str(error)))
            return
        if passage.sender == self.node or self._transport is None:
            return  # `_send` copies within this node
        self._transport.expect_blob(
            wire.ExpectedBlob(
                peer=passage.sender,
                transfer_id=str(passage.step),
                destination=memory,
                segments=segments(self._llms[blob.llm], blob),
                progress_deadline_ns=progress_deadline_ns(self._transfers[passage.step]),
            )
        )

    async def _receive_later(self, step: StepId, reason: str) -> None:
        """Let a transfer for which there is no memory fail; the core tries it again, and gives up in the end."""
        _log.warning("transfer %s: %s", step, reason)
        self.note(journal.TransferFailed(step=step, reason=reason))
        await asyncio.sleep(_MEMORY_AGAIN_SECONDS)
        self._take(core.ReceiveFailed(step))

    def _send(self, passage: Passage) -> None:
        self.note(journal.TransferStarted(step=passage.step))
        contents = self.store.contents(passage.source.blob, passage.source.place)
        if passage.receiver == self.node:
            self._spawn(self._copy(passage, contents))
        elif self._transport is not None:
            transfer = self._transfers[passage.step]
            self._transport.send_blob(
                wire.OutgoingBlob(
                    peer=passage.receiver,
                    transfer_id=str(passage.step),
                    buffer=contents,
                    bytes_per_second=transfer.bytes_per_second,
                    progress_deadline_ns=progress_deadline_ns(transfer),
                )
            )

    async def _copy(self, passage: Passage, contents: memoryview) -> None:
        """Make a transfer between two places of this node."""
        began = time.monotonic_ns()
        try:
            destination = self.store.reserve(self._blobs[passage.destination.blob], passage.destination.place)
        except OutOfMemory:  # `_receive` has said so
            self._take(core.SendFailed(passage.step))
            return
        await asyncio.to_thread(destination.__setitem__, slice(None), contents)
        self._arrived(passage, Nanos(time.monotonic_ns() - began), Bytes(len(contents)))
        self._take(core.SendDone(passage.step))

    async def _build(self, pipeline: PipelineId) -> None:
        llm = next(each.llm for each in self.verified.plan.pipelines if each.id == pipeline)
        await self.files.wait_for_files(llm)
        try:
            await self.host.build(pipeline)
        except (EngineError, OutOfMemory) as error:
            _log.warning("%s: %s", pipeline, error)
            self.note(journal.StageFailed(pipeline=pipeline, reason=str(error)))
            self._take(core.StageFailed(pipeline))
            return
        self.note(journal.StageBuilt(pipeline=pipeline))
        self._take(core.StageBuilt(pipeline))

    async def _prove(self, pipeline: PipelineId) -> None:
        leader = self.leaders[pipeline]
        canary = await self.files.wait_for_canary(leader.pipeline.llm)
        right = await leader.prove(canary)
        self.note(journal.Proved(pipeline=pipeline, right=right))
        self._take(core.Proved(pipeline, right))

    def _close(self, close: core.Close) -> None:
        leader = self.leaders[close.pipeline]
        self.note(journal.Closed(pipeline=close.pipeline, ending=close.ending, successor=close.successor))
        if close.continuity is Continuity.RECOMPUTE:
            leader.close()
        else:
            leader.drain(lambda: self._take(core.Drained(close.pipeline)))
