"""What an audit finds: per check, how much was looked at, what differs from the plan, and what is worth knowing."""

from collections.abc import Callable, Iterator
from functools import cached_property

import attrs

from planner.audit.journals import NodeJournal
from planner.audit.trace import Trace, make_trace
from specs import codec
from specs.blobs import BlobId
from specs.cluster import NodeId, PlaceId
from specs.invariants.facts import Facts
from specs.journal import Lacks, PeerLost
from specs.plan import Activate, Pipeline
from specs.ports import Hop
from specs.protocols.nouns import LossReason


@attrs.frozen
class Differs:
    """Something did not happen as planned."""

    where: str
    sentence: str


@attrs.frozen
class Note:
    """Something that the plan leaves open and a person may want to know."""

    where: str
    sentence: str


Remark = Differs | Note


@attrs.define
class Case:
    """A plan and the journals of a run, with what follows from them: derived once, when first asked for."""

    facts: Facts = attrs.field(on_setattr=attrs.setters.frozen)
    journals: tuple[NodeJournal, ...] = attrs.field(on_setattr=attrs.setters.frozen)

    @cached_property
    def digest(self) -> str:
        """Digest of the plan."""
        return codec.digest(self.facts.plan)

    @cached_property
    def trace(self) -> Trace:
        """The records under this plan."""
        return make_trace(self.journals, self.digest, self.facts.plan.generation)

    @cached_property
    def hops(self) -> tuple[Hop, ...]:
        """Every transfer, spelled out."""
        return self.facts.hops

    @cached_property
    def pipelines(self) -> tuple[Pipeline, ...]:
        """Every pipeline that the plan activates."""
        activated = {step.pipeline for step in self.facts.plan.steps if isinstance(step, Activate)}
        return tuple(each for each in self.facts.plan.pipelines if each.id in activated)

    @cached_property
    def ever_open(self) -> tuple[Pipeline, ...]:
        """Every pipeline that runs at the start or that the plan activates."""
        return (*self.facts.running.values(), *self.pipelines)

    @cached_property
    def why(self) -> dict[tuple[BlobId, PlaceId], NodeId]:
        """At which node the chain of causes of each lacking copy begins."""
        found = (entry.what for entry in self.trace.entries)
        return {(what.blob, what.place): what.because for what in found if isinstance(what, Lacks)}

    @cached_property
    def lost(self) -> dict[NodeId, LossReason]:
        """Nodes that some other counts as lost, and the first reason given."""
        ordered = sorted(self.trace.entries, key=lambda entry: entry.at_unix_ns)
        found: dict[NodeId, LossReason] = {}
        for entry in ordered:
            if isinstance(entry.what, PeerLost) and entry.what.reason is not LossReason.MUTUAL:
                found.setdefault(entry.what.node, entry.what.reason)
        return found

    def members(self, pipeline: Pipeline) -> tuple[NodeId, ...]:
        """Name the nodes of a pipeline's stages, each once; the first is the leader."""
        nodes = (self.facts.places[stage.place].node for stage in pipeline.stages)
        return tuple(dict.fromkeys(node for node in nodes if node is not None))


@attrs.frozen(kw_only=True)
class Check:
    """One thing that is compared: `run` looks at `examined` things and gives its remarks."""

    id: str
    sentence: str
    examined: Callable[[Case], int]
    run: Callable[[Case], Iterator[Remark]]


@attrs.frozen(kw_only=True)
class Finding:
    """The outcome of a check."""

    id: str
    sentence: str
    examined: int
    differs: tuple[Differs, ...]
    notes: tuple[Note, ...]


def run_check(check: Check, case: Case) -> Finding:
    """Run a check."""
    remarks = tuple(check.run(case))
    return Finding(
        id=check.id,
        sentence=check.sentence,
        examined=check.examined(case),
        differs=tuple(each for each in remarks if isinstance(each, Differs)),
        notes=tuple(each for each in remarks if isinstance(each, Note)),
    )
