"""One plan being carried out on one node: the shell around the pure core.

Events of the transport, the stages and the clock go into `Machine.take`; the actions that come out are done here, with
the node's equipment.  Nothing in this module decides anything about the plan.
"""

import asyncio
import logging
import time

from executor import messages
from executor.engine.errors import EngineError
from executor.equipment import Equipment
from executor.errors import OutOfMemory
from executor.loading import Loaded
from executor.machine import Machine
from executor.mail import REPORT
from executor.messages import Message
from executor.store import segments
from executor.traffic import Interrupted
from executor.transport import interface as wire
from specs import journal
from specs.cluster import NodeId
from specs.errors import MalformedDocument
from specs.plan import Continuity, PipelineId, StepId, Switch, Transfer
from specs.protocols import events as core
from specs.protocols.facts import lacks, open_pipelines
from specs.protocols.node import InForce
from specs.protocols.nouns import Copy, LossReason, Passage
from specs.protocols.plan_switch_nouns import PlanName
from specs.timing import progress_deadline_ns
from specs.units import Bytes, Nanos

_log = logging.getLogger(__name__)

# Memory that the system does not give may be free a little later; a transfer is tried a few times at most.
_MEMORY_AGAIN_SECONDS = 1


class Shell:
    """Carries out one plan, from its adoption until `end`; then it waits for what is under way, to free its memory."""

    def __init__(self, loaded: Loaded, before: InForce | None, equipment: Equipment) -> None:
        self.loaded = loaded
        self.verified, self.digest, self.generation = loaded.verified, loaded.digest, loaded.verified.plan.generation
        self.store, self.files = loaded.store, loaded.files
        self.name = PlanName(generation=self.generation, digest=self.digest)
        self.machine = Machine(self.name, loaded.node_plan, before)
        self._equipment = equipment
        self._node = equipment.node
        plan, problem = loaded.verified.plan, loaded.verified.problem
        self._blobs = {blob.id: blob for blob in plan.blobs}
        self._llms = {llm.id: llm for llm in problem.llms}
        self._transfers = {step.id: step for step in plan.steps if isinstance(step, Transfer)}
        self._over = False
        self._handed_over: list[journal.HandedOver] = []  # what the core does not know yet
        self._usable: frozenset[PipelineId] = frozenset()
        self._told: tuple[frozenset[PipelineId], frozenset[PipelineId]] | None = None  # the front: usable and closed
        self._known_lost: frozenset[NodeId] = frozenset()
        self._known_lacks: frozenset[Copy] = frozenset()
        self._resized: frozenset[StepId] = frozenset()

    @property
    def lost(self) -> frozenset[NodeId]:
        """The peers that count as lost under this plan."""
        return self._known_lost

    # --- life ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to carry out the plan."""
        self._equipment.tasks.spawn(self._note_held())
        draining = sorted(self.machine.state.draining & self._equipment.leaders.keys())
        for action in self.machine.begin():
            self._do(action)
        for pipeline in draining:
            self._drain(pipeline)
        self._notice()

    async def _note_held(self) -> None:
        """Write down what is held at the start, a few lines in each turn of the event loop: tokens wait for no file."""
        for copy in self.machine.plan.held:
            self.note(journal.BlobHeld(blob=copy.blob, place=copy.place))
            await asyncio.sleep(0)

    def end(self) -> InForce:
        """Stop: another plan takes over what this one has, what is under way is abandoned, and nothing is heard."""
        self.take_receipts()
        self._over = True
        state, plan = self.machine.state, self.machine.plan
        for handing in state.handing:
            self._equipment.leaders[handing.pipeline].abort_hand_over()
        for leader in self._equipment.leaders.values():
            leader.resizing.abort()
        under_way = [plan.passage[step] for step in sorted(state.receiving | state.sending)]
        needed = (copy for passage in under_way for copy in (passage.source, passage.destination))
        for passage in under_way:
            self._abandon(passage)
        self.store.clear(kept={(copy.blob, copy.place) for copy in needed})
        return self.machine.now

    @property
    def is_done(self) -> bool:
        """Whether all memory has been given up, after the end."""
        return self._over and self.store.is_empty

    def note(self, what: journal.What) -> None:
        """Write into the journal under this plan."""
        self._equipment.journal.write(self.generation, what)

    # --- events --------------------------------------------------------------------------------------------------

    def take(self, event: core.Event) -> None:
        """Let the core take an event, and do what is due."""
        self.take_receipts()
        if not self._over:
            self._learn(event)

    def take_receipts(self) -> None:
        """Let the core know that requests were handed over, before anything else is decided about their pipeline."""
        while self._handed_over and not self._over:
            receipt = self._handed_over.pop(0)
            self.note(receipt)
            self._learn(core.HandedOver(receipt.pipeline))

    def _learn(self, event: core.Event) -> None:
        before, actions = self.machine.state, self.machine.take(event)
        if self.machine.state is not before:
            self.note(journal.LearntUnderPlan(event=event))
        for action in actions:
            self._do(action)
        self._notice()

    def met(self, peer: NodeId, life: str, plan: PlanName | None) -> None:
        """Know in which life a peer is, and which plan it carries out: under another than this one it is not heard."""
        if (lost := self.machine.meet(peer, life)) is not None:
            self.take(lost)
        if plan == self.name:
            self._equipment.hearing.heard(peer, time.monotonic_ns())

    def hear(self, peer: NodeId, payload: bytes) -> None:
        """Take a report; of one that was made under another plan only who made it counts."""
        try:
            message = messages.decode(payload)
        except MalformedDocument as error:
            _log.warning("%s: %s", peer, error)
            return
        self.met(peer, message.life, message.name)
        if message.name == self.name:
            self.take(core.Heard(peer, message.report))

    def on_blob(self, step: StepId, event: wire.BlobArrived | wire.BlobSent | wire.BlobFailed) -> None:
        """Take the end of a transfer."""
        passage = self.machine.plan.passage[step]
        if self._over:
            self._let_go(passage)
            return
        match event:
            case wire.BlobArrived(elapsed_ns=elapsed, size_bytes=size, detour=detour):
                self._arrived(passage, elapsed, size, detour)
            case wire.BlobSent(elapsed_ns=elapsed, sent_bytes=size, detour=detour):
                self._note_detour(step, detour)
                self.note(journal.TransferSent(step=step, elapsed_ns=elapsed, bytes=size))
                self.take(core.SendDone(step))
            case wire.BlobFailed():
                self._failed(passage, event)

    def _note_detour(self, step: StepId, detour: str) -> None:
        if detour:
            self.note(journal.TransferDetoured(step=step, reason=detour))

    def _let_go(self, passage: Passage) -> None:
        """Give up the memory at this end of a transfer that outlived its plan."""
        for copy, node in ((passage.source, passage.sender), (passage.destination, passage.receiver)):
            if node == self._node:
                self.store.release(copy.blob, copy.place)

    def _arrived(self, passage: Passage, elapsed_ns: Nanos, size: Bytes, detour: str = "") -> None:
        copy = passage.destination
        self._note_detour(passage.step, detour)
        self.store.hold(self._blobs[copy.blob], copy.place)
        self.note(journal.TransferEnded(step=passage.step, elapsed_ns=elapsed_ns, bytes=size))
        self.note(journal.BlobHeld(blob=copy.blob, place=copy.place))
        self.take(core.Arrived(passage.step))

    def _failed(self, passage: Passage, failure: wire.BlobFailed) -> None:
        _log.info("%s", failure.sentence)
        self.note(journal.TransferFailed(step=passage.step, reason=failure.sentence))
        failed = core.ReceiveFailed if passage.receiver == self._node else core.SendFailed
        is_corrupt = failed is core.ReceiveFailed and failure.kind is wire.FailureKind.CORRUPT
        self.take(core.Corrupt(passage.step) if is_corrupt else failed(passage.step))
        if failure.kind is wire.FailureKind.STALLED:
            self.take(core.PeerLost(NodeId(failure.peer), LossReason.STALLED))

    def disconnected(self, peer: NodeId) -> None:
        """Messages to or from a peer are gone: whoever waits for an answer to one must ask again, elsewhere if it can.

        The core is not told: the peer may come back, and if it does not, its silence will say so.
        """
        self._notice()
        self.files.disconnected(peer)
        self._equipment.front.broken(peer)
        for part in self.machine.plan.parts:
            if part.leader == self._node:
                self._equipment.leaders[part.pipeline].disconnected(peer, member=peer in part.members)
            elif part.leader != peer and {self._node, peer} <= set(part.members) and part.pipeline in self._usable:
                self._equipment.mail.send(part.leader, Interrupted(pipeline=part.pipeline))

    def _notice(self) -> None:
        """Tell the parts of this node what the core has learned."""
        state = self.machine.state
        lost = frozenset(loss.node for loss in state.lost)
        if lost != self._known_lost:
            reasons = {loss.node: loss.reason for loss in state.lost}
            for node in sorted(lost - self._known_lost):
                self.note(journal.PeerLost(node=node, reason=reasons[node]))
            self._known_lost = lost
            self._equipment.mail.lose(lost)
        # Nothing is lacking while nobody is lost and nobody has refused; the search is dear, events are many.
        missing = lacks(self.machine.plan, state) if state.lost or state.refused else ()
        for lack in missing:
            if lack.copy not in self._known_lacks:
                self.note(journal.Lacks(blob=lack.copy.blob, place=lack.copy.place, because=lack.because))
        self._known_lacks = frozenset(lack.copy for lack in missing)
        part = self.machine.plan.part
        suspects = self._equipment.hearing.suspects
        self._usable = frozenset(each for each in open_pipelines(state) if suspects.isdisjoint(part[each].members))
        if state.resized != self._resized:
            self._resized = state.resized
            done = (each for each in self.machine.plan.sizings if each.step in state.resized)
            self._equipment.front.resized({each.pipeline: each.slots for each in done})
        if (told := (self._usable, state.closed)) != self._told:  # at first always: the front knows the plan before
            self._told = told
            self._equipment.front.openings(*told)

    # --- actions -------------------------------------------------------------------------------------------------

    def _do(self, action: core.Action) -> None:  # noqa: C901, PLR0912 - one table
        equipment = self._equipment
        match action:
            case core.Tell(peer=peer, report=report):
                message = Message(plan=self.digest, generation=self.generation, life=equipment.life, report=report)
                equipment.transport.send_message(peer, [REPORT, messages.encode(message)])
            case core.Receive(step=step):
                self._receive(self.machine.plan.passage[step])
            case core.Send(step=step):
                self._send(self.machine.plan.passage[step])
            case core.Abandon(step=step):
                self._abandon(self.machine.plan.passage[step])
            case core.BuildStage(pipeline=pipeline):
                equipment.tasks.spawn(self._build(pipeline))
            case core.FreeStage(pipeline=pipeline):
                equipment.host.free(pipeline)
                self.note(journal.StageFreed(pipeline=pipeline))
            case core.Prove(pipeline=pipeline):
                equipment.tasks.spawn(self._prove(pipeline))
            case core.Open(pipeline=pipeline):
                equipment.leaders[pipeline].open()
                self.note(journal.Opened(pipeline=pipeline))
            case core.Close():
                self._close(action)
            case core.HandOver(pipeline=pipeline, successor=successor):
                self._hand_over(pipeline, successor)
            case core.AbortHandOver(pipeline=pipeline):
                equipment.leaders[pipeline].abort_hand_over()
            case core.Resize():
                self._resize(action)
            case core.Release(step=step, copy=copy):
                equipment.host.release(self._blobs[copy.blob], copy.place)
                self.store.release(copy.blob, copy.place)
                self.note(journal.Released(step=step))

    def _name(self, step: StepId) -> str:
        """Name a transfer as no other plan does."""
        return f"{self.generation}:{step}"

    def _receive(self, passage: Passage) -> None:
        copy = passage.destination
        blob = self._blobs[copy.blob]
        try:
            memory = self.store.reserve(blob, copy.place)
        except OutOfMemory as error:
            self._equipment.tasks.spawn(self._receive_later(passage.step, str(error)))
            return
        if passage.sender == self._node:
            return  # `_send` copies within this node
        self._equipment.transport.expect_blob(
            wire.ExpectedBlob(
                peer=passage.sender,
                transfer_id=self._name(passage.step),
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
        self.take(core.ReceiveFailed(step))

    def _send(self, passage: Passage) -> None:
        self.note(journal.TransferStarted(step=passage.step))
        contents = self.store.contents(passage.source.blob, passage.source.place)
        if passage.receiver == self._node:
            self._equipment.tasks.spawn(self._copy(passage, contents))
            return
        transfer = self._transfers[passage.step]
        self._equipment.transport.send_blob(
            wire.OutgoingBlob(
                peer=passage.receiver,
                transfer_id=self._name(passage.step),
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
            destination = None
        if destination is not None:
            await asyncio.to_thread(destination.__setitem__, slice(None), contents)
        if self._over:
            self._let_go(passage)
        elif destination is None:
            self.take(core.SendFailed(passage.step))
        else:
            self._arrived(passage, Nanos(time.monotonic_ns() - began), Bytes(len(contents)))
            self.take(core.SendDone(passage.step))

    def _abandon(self, passage: Passage) -> None:
        other = passage.sender if passage.receiver == self._node else passage.receiver
        if other != self._node:  # a copy within this node ends by itself
            self._equipment.transport.abandon_blob(other, self._name(passage.step))

    async def _build(self, pipeline: PipelineId) -> None:
        llm = next(each.llm for each in self.verified.plan.pipelines if each.id == pipeline)
        await self.files.wait_for_files(llm)
        if self._over:
            return
        try:
            await self._equipment.host.build(pipeline)
        except (EngineError, OutOfMemory) as error:
            _log.warning("%s: %s", pipeline, error)
            self.note(journal.StageFailed(pipeline=pipeline, reason=str(error)))
            self.take(core.StageFailed(pipeline))
            return
        if not self._over:
            self.note(journal.StageBuilt(pipeline=pipeline))
            self.take(core.StageBuilt(pipeline))

    async def _prove(self, pipeline: PipelineId) -> None:
        leader = self._equipment.leaders[pipeline]
        canary = await self.files.wait_for_canary(leader.pipeline.llm)
        right = await leader.prove(canary)
        if not self._over:
            self.note(journal.Proved(pipeline=pipeline, right=right))
            self.take(core.Proved(pipeline, right))

    def _close(self, close: core.Close) -> None:
        self.note(journal.Closed(pipeline=close.pipeline, ending=close.ending, successor=close.successor))
        if close.continuity is Continuity.DRAIN:
            self._drain(close.pipeline)
        else:
            self._equipment.leaders[close.pipeline].close()

    def _drain(self, pipeline: PipelineId) -> None:
        self._equipment.leaders[pipeline].drain(lambda: self.take(core.Drained(pipeline)))

    def _hand_over(self, pipeline: PipelineId, successor: PipelineId) -> None:
        """Copy KV to the successor as the plan's switch says; where a chain of switches leads there, as none does."""
        steps = (step for step in self.verified.plan.steps if isinstance(step, Switch))
        how = next((step.hand_over for step in steps if (step.old, step.new) == (pipeline, successor)), None)

        def handed_over(receipt: journal.HandedOver) -> None:
            self._handed_over.append(receipt)
            # After the word to a front on this node, which comes on the next turn of the loop.
            asyncio.get_running_loop().call_soon(self.take_receipts)

        self._equipment.leaders[pipeline].hand_over(successor, how, handed_over)

    def _resize(self, resize: core.Resize) -> None:
        resizing = self._equipment.leaders[resize.pipeline].resizing
        before, began = resizing.slots, time.monotonic_ns()

        def resized() -> None:
            elapsed = Nanos(time.monotonic_ns() - began)
            sizes = {"slots_before": before, "slots": resize.slots}
            self.note(journal.Resized(step=resize.step, pipeline=resize.pipeline, elapsed_ns=elapsed, **sizes))
            self.take(core.Resized(resize.step))

        resizing.begin(resize.slots, resized)
