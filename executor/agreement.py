"""Which plan this node carries out next, agreed with the other nodes: the shell around `specs.protocols.plan_switch`.

A plan comes from a person or from a peer.  It is judged and loaded here (`admission`, `Run.load`), which changes
nothing that serves; whether it is accepted, and when it is adopted, the protocol decides.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from executor import admission, messages
from executor.engine.errors import EngineError
from executor.errors import ExecutorError
from executor.journal import Journal
from executor.loading import Loaded
from executor.messages import AskPlan, PlanIs, StandingIs, Word
from executor.run import Run
from executor.tasks import Tasks
from executor.transport.framing import FRAME_BYTES_MAX
from specs import codec, journal
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.errors import InvalidProblem, MalformedDocument, SpecError
from specs.plan import Plan
from specs.problem import Problem
from specs.protocols import node, plan_switch
from specs.protocols import plan_switch_nouns as switch
from specs.protocols.plan_switch_nouns import Offer, PlanName

_log = logging.getLogger(__name__)

# A document is large, and judging it takes a while: it is not asked for again sooner.
ASK_AGAIN_SECONDS = 2

_DOCUMENT_BYTES_MAX = FRAME_BYTES_MAX - 2**16  # what stands before it in its message is far shorter


@attrs.frozen
class Taken:
    """The plan is carried out, or will be once every node of its cluster has accepted it."""

    plan: PlanName
    is_adopted: bool


Answer = Taken | admission.Malformed | admission.Broken | admission.Stale | admission.NotForUs | admission.Unable


class Agreement:
    """One node's part in agreeing on plans.  Plans are judged one after the other."""

    def __init__(self, run: Run, log: Journal, tasks: Tasks, state_directory: Path) -> None:
        self._run = run
        self._journal = log
        self._tasks = tasks
        self._path = state_directory / "generation"
        self.state = plan_switch.begin(run.node, _read(self._path))
        log.write(0, journal.Started(settled=self.state.settled))
        self._documents: dict[PlanName, bytes] = {}  # of plans that are accepted or adopted
        self._loaded: dict[PlanName, Loaded] = {}  # of those that are accepted
        self._asked: dict[PlanName, float] = {}  # when, in seconds of a monotonic clock
        self._judging = asyncio.Lock()
        self._has_left = False
        self.on_left: Callable[[], None] = lambda: None  # the node is to begin a new life
        run.on_word, run.on_tick = self.hear, self.tick

    @property
    def document(self) -> bytes | None:
        """The document of the plan that is carried out."""
        return None if self.state.adopted is None else self._documents[self.state.adopted.name]

    @property
    def generation_max(self) -> int:
        """The highest generation that this node ever accepted."""
        return plan_switch.promised(self.state)

    # --- plans ---------------------------------------------------------------------------------------------------

    async def offer(self, document: bytes) -> Answer:
        """Judge a document {"problem": ..., "plan": ...}; what is refused changes nothing that serves."""
        try:
            problem, plan, name, is_of_this_problem = await asyncio.to_thread(_read_document, document)
        except (MalformedDocument, InvalidProblem) as error:
            return admission.Malformed(str(error))
        if len(document) > _DOCUMENT_BYTES_MAX:
            what = f"the document has {len(document):,} bytes; nodes pass on at most {_DOCUMENT_BYTES_MAX:,}"
            return admission.Unable((what,))
        async with self._judging:
            if not is_of_this_problem:
                verdict = await asyncio.to_thread(admission.judge, problem, plan, self._run.node, self._run.current)
                assert not isinstance(verdict, VerifiedPlan), "rule FOR"
                return verdict
            return await self._judge(document, problem, plan, name)

    async def _judge(self, document: bytes, problem: Problem, plan: Plan, name: PlanName) -> Answer:
        offer = Offer(name=name, parent=plan.parent, nodes=tuple(node.id for node in problem.cluster.nodes))
        if offer in (self.state.adopted, *self.state.accepted):
            return self._answer(offer, admission.Stale(""), self._step(switch.Offered(offer)))
        while True:
            shell = self._run.shell
            verdict = await asyncio.to_thread(admission.judge, problem, plan, self._run.node, self._run.current)
            loaded = None
            if isinstance(verdict, VerifiedPlan):
                try:
                    loaded = await self._run.load(verdict, name.digest)
                except (ExecutorError, EngineError, SpecError) as error:
                    verdict = admission.Unable((str(error),))
                except OSError as error:  # somebody took the address after it was found free
                    verdict = admission.Unable((f"{self._run.node} cannot listen: {error.strerror}",))
            if self._run.shell is shell:
                break
            if loaded is not None:
                loaded.store.clear()  # another plan was adopted meanwhile, and it was loaded from what was there before
        if loaded is not None:
            assert isinstance(verdict, VerifiedPlan), "others are not loaded"
            self._run.take_receipts()
            verdict = admission.judge_again(verdict, self._run.current)
            if isinstance(verdict, VerifiedPlan):
                self._loaded[offer.name], self._documents[offer.name] = loaded, document
            else:
                loaded.store.clear()
        unable = None if isinstance(verdict, VerifiedPlan) else admission.sentence_of(verdict)
        refused = admission.Stale("") if isinstance(verdict, VerifiedPlan) else verdict
        return self._answer(offer, refused, self._step(switch.Offered(offer, unable)))

    def _answer(self, offer: Offer, refused: Answer, reason: str | None) -> Answer:
        if reason is None:
            return Taken(offer.name, is_adopted=offer == self.state.adopted)
        return admission.Stale(reason) if isinstance(refused, admission.Stale) else refused

    # --- the protocol --------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let time pass."""
        self._step(switch.Tick())

    def hear(self, peer: NodeId, frame: memoryview) -> None:
        """Take a peer's word about plans; one that makes no sense is dropped with a line in the log."""
        try:
            word, document = messages.read(frame)
        except MalformedDocument as error:
            _log.warning("%s: %s", peer, error)
            return
        match word:
            case StandingIs(standing=standing, life=life):
                self._run.met(peer, life, standing.adopted)
                self._step(switch.Heard(peer, standing))
            case AskPlan(plan=plan):
                if plan in self._documents:
                    self._send(peer, PlanIs(plan=plan), self._documents[plan])
            case PlanIs(plan=plan):
                if plan not in self._documents:
                    self._tasks.spawn(self._take(peer, bytes(document)))

    async def _take(self, peer: NodeId, document: bytes) -> None:
        answer = await self.offer(document)
        if not isinstance(answer, Taken):
            _log.warning("the plan that came from %s: %s", peer, admission.sentence_of(answer))

    def _step(self, event: switch.Event) -> str | None:
        """Let the protocol take an event, and do what is due; give the reason when the plan offered is refused."""
        if self._has_left:
            return f"{self._run.node} has given up its plan and begins a new life"
        before, (self.state, actions) = self.state, plan_switch.step(self.state, event)
        if self.state != before:
            self._note_learnt(before, event)
        reason = None
        for action in actions:
            match action:
                case switch.Record(generation=generation):
                    _write(self._path, generation)
                case switch.Adopt(plan=plan):
                    self._run.adopt(self._loaded.pop(plan))
                    for other in self._documents.keys() - {plan, *(each.name for each in self.state.accepted)}:
                        del self._documents[other]
                case switch.Leave(plan=plan):
                    _log.warning("generation %d, which others carry out, leaves this node out", plan.generation)
                    self._has_left = True
                    self.on_left()
                case switch.Forget(plan=plan, reason=why):
                    if isinstance(event, switch.Offered) and event.offer.name == plan:
                        reason = why
                    was_accepted = self.state != before and any(each.name == plan for each in before.accepted)
                    self._forget(plan, why, was_accepted=was_accepted)
                case switch.AskPlan(peer=peer, plan=plan):
                    self._ask(peer, plan)
                case switch.Tell(peer=peer, standing=standing):
                    self._send(peer, StandingIs(standing=standing, life=self._run.life))
        self._keep_open()
        return reason

    def _keep_open(self) -> None:
        """Keep what plans count on that may be adopted next: within the step that changed which plans these are."""
        plans = {plan: loaded.node_plan for plan, loaded in self._loaded.items()}
        self._run.keep_open(node.counted_on(self.state, plans))

    def _note_learnt(self, before: switch.SwitchState, event: switch.Event) -> None:
        self._note(journal.LearntOfPlans(event=event))
        for offer in self.state.accepted[len(before.accepted) :]:
            self._note(journal.Accepted(plan=offer.name.digest, generation=offer.name.generation))
        for each in self.state.declined:
            if each not in before.declined:
                self._note(journal.Declined(plan=each.plan.digest, generation=each.plan.generation, reason=each.reason))

    def _forget(self, plan: PlanName, reason: str, *, was_accepted: bool) -> None:
        loaded = self._loaded.pop(plan, None)
        if loaded is not None:
            loaded.store.clear()
        if self.state.adopted is None or plan != self.state.adopted.name:
            self._documents.pop(plan, None)
        if was_accepted:
            self._note(journal.Forgotten(plan=plan.digest, generation=plan.generation, reason=reason))

    def _ask(self, peer: NodeId, plan: PlanName) -> None:
        now = time.monotonic()
        if plan not in self._documents and now - self._asked.get(plan, -ASK_AGAIN_SECONDS) >= ASK_AGAIN_SECONDS:
            self._asked[plan] = now
            self._send(peer, AskPlan(plan=plan))

    def _send(self, peer: NodeId, word: Word, document: bytes = b"") -> None:
        self._run.send_word(peer, messages.write(word, document))

    def _note(self, what: journal.What) -> None:
        self._journal.write(0 if self._run.shell is None else self._run.shell.generation, what)

    # --- what people see -----------------------------------------------------------------------------------------

    def status(self) -> Mapping[str, object]:
        """Describe the plan that is accepted and not adopted yet, and what was declined."""
        offer = plan_switch.foremost(self.state)
        accepted = None
        if offer is not None:
            accepted = {
                "digest": offer.name.digest,
                "generation": offer.name.generation,
                "nodes": list(offer.nodes),
                "awaited": list(plan_switch.awaited(self.state)),
            }
        return {
            "generation_max": self.generation_max,
            "accepted": accepted,
            "declined": [
                {"digest": each.plan.digest, "generation": each.plan.generation, "reason": each.reason}
                for each in self.state.declined
            ],
        }


def _read_document(document: bytes) -> tuple[Problem, Plan, PlanName, bool]:
    """Read a document, name its plan, and tell whether it is a plan of its problem; large ones take a while."""
    problem, plan = admission.read(document)
    name = PlanName(generation=plan.generation, digest=codec.digest(plan))
    return problem, plan, name, plan.problem == codec.digest(problem)


def _read(path: Path) -> int:
    """Read the generation that an earlier life recorded; 0 where there was none."""
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0


def _write(path: Path, generation: int) -> None:
    """Record a generation so that no crash undoes it."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(str(generation))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name is in the folder, which is written on its own
    finally:
        os.close(folder)
