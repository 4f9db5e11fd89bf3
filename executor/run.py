"""A node at work: what lives as long as its daemon, and the plan under which it serves now.

Adopting a plan is one turn of the event loop: no request in a pipeline that both plans name notices it.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import torch

from executor.addresses import check_free, peers_of
from executor.admission import Current
from executor.equipment import Equipment
from executor.errors import ExecutorError, Rewired
from executor.files import Files
from executor.hearing import Hearing
from executor.journal import Journal
from executor.loading import Before, Loaded, Loading
from executor.mail import REPORT, WORD, Mail
from executor.pipelines.front import Front, doors_of
from executor.pipelines.host import Host
from executor.pipelines.kv_stages import KvStages
from executor.pipelines.leader import Leader
from executor.resizable import check_resizable
from executor.senders import Senders
from executor.shell import Shell
from executor.store import Store
from executor.tasks import Tasks
from executor.traffic import Missed
from executor.transport import interface as wire
from executor.transport.choosing import TransportKind, choose_carrier
from executor.transport.tcp import listen_tcp
from specs import journal
from specs.checker import VerifiedPlan
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import PipelineId, StepId
from specs.problem import Problem
from specs.protocols import events as core
from specs.protocols.node_plan import node_plan
from specs.protocols.nouns import LossReason
from specs.protocols.plan_switch_nouns import PlanName
from specs.timing import node_deadline_ns
from specs.units import NANOS_PER_SECOND

_log = logging.getLogger(__name__)

TICK_NS = 200_000_000


@attrs.frozen(kw_only=True)
class Setting:
    """What a daemon brings to every plan."""

    node: NodeId
    checkpoints: Mapping[LlmId, Path]  # of the LLMs that this node holds on disk
    state_directory: Path
    transport: TransportKind


class Run:
    """One node under one plan after the other: `load` a plan, then `adopt` it, or give up its store."""

    def __init__(self, setting: Setting, log: Journal, tasks: Tasks) -> None:
        self.node = setting.node
        self._setting = setting
        self._journal = log
        self._tasks = tasks
        self._mail = Mail(self.node, self._tasks.spawn)
        self._mail.on_missed = self._disconnected
        self._hearing = Hearing()
        self._devices: dict[PlaceId, torch.device] = {}
        self._host = Host(
            node=self.node, files=self._directory, device_of=lambda place: self._devices[place], post=self._mail
        )
        self.front = Front(self.node, self._mail, log.note)
        self._equipment: Equipment | None = None  # from the first plan on, which says where the node listens
        self._address: wire.Peer | None = None
        self._realm = ""
        self._met: dict[str, wire.Peer] = {}
        self.shell: Shell | None = None  # of the plan that is being carried out
        self._named: set[PipelineId] = set()  # pipelines of all plans that were ever adopted
        self.adopted_s = 0  # since 1970, when it was adopted
        self.on_word: Callable[[NodeId, memoryview], None]  # a peer speaks about plans
        self.on_tick: Callable[[], None]
        self._ending: dict[int, Shell] = {}  # of earlier plans, by generation: transfers of theirs are not over

    def _directory(self, llm: LlmId) -> Path:
        assert self.shell is not None, "stages are built under a plan"
        return self.shell.files.directory(llm)

    @property
    def leaders(self) -> Mapping[PipelineId, Leader]:
        """The pipelines that are led from here."""
        return {} if self._equipment is None else self._equipment.leaders

    @property
    def current(self) -> Current | None:
        """The plan that is being carried out, as admission looks at it."""
        if self.shell is None:
            return None
        return Current(
            verified=self.shell.verified,
            state=self.shell.machine.state,
            named=frozenset(self._named),
            slots={name: leader.resizing.slots for name, leader in self.leaders.items()},
        )

    @property
    def heard_again(self) -> list[NodeId]:
        """Name the nodes that count as lost, for as long as this plan lasts, and yet speak."""
        return [] if self.shell is None else self._hearing.again(self.shell.lost, time.monotonic_ns())

    # --- plans ---------------------------------------------------------------------------------------------------

    async def load(self, verified: VerifiedPlan, digest: str) -> Loaded:
        """Find out whether this node can carry out a plan, and bring it to where the plan begins.

        Nothing that serves changes.  Raises ExecutorError, EngineError or InvalidProblem where it cannot, and OSError
        where the node's address cannot be had.
        """
        problem, plan, shell = verified.problem, verified.plan, self.shell
        peers = peers_of(problem)
        devices = _devices(problem, self.node)
        if shell is None and peers[self.node] != self._address:
            check_free(peers[self.node])
        elif peers[self.node] != self._address:
            raise Rewired(f"{self.node} listens at another address than the plan says; start its daemon again")
        for place, device in devices.items():
            if self._devices.get(place, device) != device:
                raise Rewired(f"{place} is {self._devices[place]} here, the plan has it as {device}")
        check_resizable(problem, plan, devices)
        here = [p for p in problem.cluster.places if p.node == self.node and p.kind is not PlaceKind.SWITCH]
        before = None
        if shell is not None:
            before = Before(problem=shell.verified.problem, plan=shell.verified.plan, store=shell.store)
        loaded = Loaded(
            verified=verified,
            digest=digest,
            node_plan=await asyncio.to_thread(node_plan, problem, plan, self.node),
            peers=peers,
            devices=devices,
            store=Store({p.id: p.memory_bytes for p in here}, devices, None if shell is None else shell.store),
            files=Files(
                problem,
                plan,
                self.node,
                self._setting.state_directory,
                self._mail,
                None if shell is None else shell.files,
            ),
            senders=await asyncio.to_thread(Senders, problem, plan, self.front.leader_of),
        )
        await Loading(
            node=self.node,
            problem=problem,
            plan=plan,
            checkpoints=self._setting.checkpoints,
            files=loaded.files,
            store=loaded.store,
            before=before,
        ).load(loaded.node_plan.held)
        try:
            if shell is None:
                await self._listen(peers[self.node], problem.cluster.name)
        except (OSError, ExecutorError):
            loaded.store.clear()
            raise
        self._meet(peer for name, peer in peers.items() if name not in self._met)
        return loaded

    async def _listen(self, address: wire.Peer, realm: str) -> None:
        """Take peers from now on, at the address that a plan gives; none has been adopted yet.  Raises OSError."""
        if (address, realm) == (self._address, self._realm):
            return
        self._address, self._met = None, {}
        if self._equipment is not None:
            await self._equipment.transport.close()
        carrier = choose_carrier(self._setting.transport, address.host)
        transport = await listen_tcp(address, realm=realm, on_event=self._on_transport, carrier=carrier)
        if self._equipment is None:
            self._tasks.spawn(self._tick())
        self._mail.connect(transport)
        self._equipment = Equipment(
            node=self.node,
            life=secrets.token_hex(8),
            journal=self._journal,
            transport=transport,
            tasks=self._tasks,
            mail=self._mail,
            hearing=self._hearing,
            host=self._host,
            front=self.front,
            leaders={},
        )
        self._address, self._realm = address, realm
        self._mail.leaders = self._equipment.leaders
        self._mail.host, self._mail.front = self._host, self.front
        self._mail.kv_stages = KvStages(self._host, self._mail, self._journal.note)

    @property
    def life(self) -> str:
        """A name of this process, and of no other before or after it."""
        assert self._equipment is not None, "only who knows of peers speaks with them"
        return self._equipment.life

    def met(self, peer: NodeId, life: str, adopted: PlanName | None) -> None:
        """Know in which life a peer is, and which plan it carries out."""
        if self.shell is not None:
            self.shell.met(peer, life, adopted)

    def send_word(self, peer: NodeId, buffers: Sequence[bytes]) -> None:
        """Speak about plans with a node that some plan has named; to any other nothing can be said."""
        if self._equipment is not None and peer in self._met:
            self._equipment.transport.send_message(peer, [WORD, *buffers])

    def _meet(self, peers: Iterable[wire.Peer]) -> None:
        assert self._equipment is not None
        new = {peer.name: peer for peer in peers if peer.name != self.node}
        self._equipment.transport.meet(list(new.values()))
        self._met |= new

    def adopt(self, loaded: Loaded) -> None:
        """Carry out a plan from now on in the place of the one before.

        What both name goes on: pipelines, with their requests, and blobs.  Pipelines that the plan does not name close
        here, and their requests go back to their fronts.
        """
        equipment, old = self._equipment, self.shell
        assert equipment is not None, "`load` listens"
        problem, plan = loaded.verified.problem, loaded.verified.plan
        now = time.monotonic_ns()
        lost = frozenset[NodeId]() if old is None else old.lost
        before = None if old is None else old.end()
        if old is not None and not old.is_done:
            self._ending[old.generation] = old
        self._devices |= loaded.devices
        self._named.update(Facts(problem, plan).pipelines)
        self._host.adopt(problem, plan, loaded.store)
        self._lead(loaded)
        for peer in () if old is None else sorted(set(old.machine.plan.peers) - set(loaded.node_plan.peers)):
            for leader in self.leaders.values():
                leader.disconnected(peer, member=False)
        self._mail.files = loaded.files
        self._mail.may_send = loaded.senders.may
        self._meet(loaded.peers.values())
        self._hearing.adopt(loaded.node_plan.peers, node_deadline_ns(plan), lost, now)
        self._mail.adopt(loaded.node_plan.peers)
        self.front.adopt(doors_of(problem, plan, self._host.leader_of))
        self.shell = Shell(loaded, before, equipment)
        self.adopted_s = int(time.time())
        self._journal.write(plan.generation, journal.Adopted(plan=loaded.digest, problem=plan.problem))
        if drafted := ", ".join(each.llm for each in plan.speculations):
            _log.warning(
                "the plan has tables for drafting %s; this node decodes without drafts, to the same tokens", drafted
            )
        self.shell.begin()
        for peer in sorted(lost.intersection(loaded.node_plan.peers)):
            self._disconnected(peer)
            self._mail.send(peer, Missed())
        _log.info("generation %d was adopted within %.1f ms", plan.generation, (time.monotonic_ns() - now) / 10**6)

    def _lead(self, loaded: Loaded) -> None:
        """Lead the plan's pipelines that begin on this node, and no others."""
        assert self._equipment is not None
        leaders = self._equipment.leaders
        facts = Facts(loaded.verified.problem, loaded.verified.plan)
        for gone in sorted(leaders.keys() - facts.pipelines.keys()):
            leaders.pop(gone).close()
        for name, slots in facts.slots_at_first.items():
            if name not in leaders and self._host.leader_of(name) == self.node:
                pipeline, spawn = facts.pipelines[name], self._tasks.spawn
                leaders[name] = Leader(pipeline, slots, self._host, self._mail, spawn, self._journal.note)

    def take_receipts(self) -> None:
        """Let the plan in force know what was done under it so far: what is judged next depends on it."""
        if self.shell is not None:
            self.shell.take_receipts()

    def keep_open(self, counted_on: core.CountedOn) -> None:
        """Let no switch of the plan in force end the pipelines that a plan counts on which may be adopted next."""
        if self.shell is not None and frozenset(counted_on.pipelines) != self.shell.machine.state.counted_on:
            self.shell.take(counted_on)

    async def stop(self) -> None:
        """End it: requests go back to their fronts, connections close, memory is freed."""
        self.front.close("the node is being stopped")
        for leader in self.leaders.values():
            leader.close()
        self._mail.disconnect()
        await self._tasks.close()
        if self._equipment is not None:
            await self._equipment.transport.close()
        await self._host.close()

    # --- events --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Let time pass: repeat what may have been lost, ask for what is missing, notice silence."""
        while True:
            self.on_tick()
            if self.shell is not None:
                now = time.monotonic_ns()
                self.front.tick(now)
                silent = self._hearing.silent(self.shell.lost, now)
                self.shell.take(core.Tick())
                self.shell.files.ask(self.shell.lost, now)
                for node in silent:
                    self.shell.take(core.PeerLost(node, LossReason.SILENT))
            await asyncio.sleep(TICK_NS / NANOS_PER_SECOND)

    def _on_transport(self, event: wire.Event) -> None:
        match event:
            case wire.MessageReceived(peer=peer, payload=payload):
                self._on_message(NodeId(peer), payload)
            case wire.PeerLost(peer=peer, sentence=sentence):
                if self._hearing.broke(NodeId(peer)):
                    _log.info("%s", sentence)
                self._disconnected(NodeId(peer))
            case _:
                self._on_blob(event)

    def _on_blob(self, event: wire.BlobArrived | wire.BlobSent | wire.BlobFailed) -> None:
        generation, _, step = event.transfer_id.partition(":")
        if self.shell is not None and int(generation) == self.shell.generation:
            self.shell.on_blob(StepId(int(step)), event)
        elif (ending := self._ending.get(int(generation))) is not None:
            ending.on_blob(StepId(int(step)), event)
            if ending.is_done:
                del self._ending[ending.generation]

    def _on_message(self, peer: NodeId, payload: memoryview) -> None:
        kind, rest = bytes(payload[:1]), payload[1:]
        if kind == WORD:
            self.on_word(peer, rest)
        elif self.shell is None:
            return  # a peer that has this node's first plan already
        elif kind == REPORT:
            self.shell.hear(peer, bytes(rest))
        else:
            self._hearing.heard(peer, time.monotonic_ns())
            self._mail.receive(peer, rest)

    def _disconnected(self, peer: NodeId) -> None:
        """Ask again for what was under way to and from a peer: it is gone."""
        if self.shell is not None:
            self.shell.disconnected(peer)


def _devices(problem: Problem, node: NodeId) -> dict[PlaceId, torch.device]:
    """Find the torch device of each memory of a node: GPUs in the order of the description, the CPU for all others."""
    here = [place for place in problem.cluster.places if place.node == node and place.kind is not PlaceKind.SWITCH]
    gpus = [place.id for place in here if place.kind is PlaceKind.DEVICE and place.device != "cpu"]
    if not torch.cuda.is_available():
        gpus = []
    return {
        place.id: torch.device("cuda", gpus.index(place.id)) if place.id in gpus else torch.device("cpu")
        for place in here
    }
