"""One look at a cluster: what each daemon says of itself, of the plan, and of the others (`GET /status`)."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from planner.asking import get, many
from planner.errors import BadState
from specs.cluster import NodeId
from specs.errors import MalformedDocument
from specs.protocols.plan_switch_nouns import Declined, PlanName

AT_REST = frozenset({"complete", "incomplete"})  # phases in which nothing goes on


@attrs.frozen(kw_only=True)
class Accepted:
    """A plan that a node has accepted and not adopted, the nodes of it, and whose acceptance it has not heard of."""

    plan: PlanName
    nodes: tuple[NodeId, ...]
    awaited: tuple[NodeId, ...]


@attrs.frozen(kw_only=True)
class Said:
    """What one daemon says."""

    url: str
    node: NodeId
    plan: PlanName | None  # that it carries out
    cluster: str | None  # of that plan
    generation_max: int  # of all plans that it ever accepted
    accepted: Accepted | None
    declined: tuple[Declined, ...]
    phase: str  # of its plan; empty without one
    lost: tuple[tuple[NodeId, str], ...]  # whom it counts as lost under its plan, and the reason
    heard_again: tuple[NodeId, ...]  # those of the lost who speak again
    document: Mapping[str, Any] = attrs.field(eq=False)  # all of the answer

    @property
    def draining(self) -> tuple[str, ...]:
        """Name the pipelines led there that finish their requests: that may take any time."""
        return tuple(self.document.get("pipelines", {}).get("draining", ()))

    @property
    def kept_open(self) -> tuple[str, ...]:
        """Name the pipelines led there whose successor is open, and which the plan that is accepted counts on."""
        return tuple(self.document.get("pipelines", {}).get("kept_open", ()))

    @property
    def requests(self) -> int:
        """How many requests have entered there and not ended."""
        found = self.document.get("requests", {})
        return int(found.get("running", 0)) + int(found.get("waiting", 0))


@attrs.frozen(kw_only=True)
class Look:
    """What a cluster said, all at once or nearly so."""

    said: tuple[Said, ...]
    failed: tuple[tuple[str, str], ...]  # a URL that gave nothing, and why

    def of(self, node: NodeId) -> Said | None:
        """Find what a node says; None when it did not answer."""
        return next((each for each in self.said if each.node == node), None)

    @property
    def current(self) -> PlanName | None:
        """Name the plan that the cluster carries out: the highest generation that any node has adopted.

        Of two with the same generation, which leave each other's nodes out, that of more nodes.
        """
        counts = Counter(each.plan for each in self.said if each.plan is not None)
        return max(counts, key=lambda plan: (plan.generation, counts[plan], plan.digest), default=None)

    @property
    def accepted(self) -> Accepted | None:
        """Find what some node has accepted and would adopt after the current plan, the highest generation."""
        floor = 0 if self.current is None else self.current.generation
        found = [each.accepted for each in self.said if each.accepted is not None]
        found = [each for each in found if each.plan.generation > floor]
        return max(found, key=lambda each: (each.plan.generation, each.plan.digest), default=None)

    def stands_on(self, plan: PlanName) -> tuple[NodeId, ...]:
        """Name the nodes that have accepted or adopted a plan."""
        return tuple(
            each.node
            for each in self.said
            if each.plan == plan or (each.accepted is not None and each.accepted.plan == plan)
        )

    def declined(self, plan: PlanName) -> tuple[tuple[NodeId, str], ...]:
        """Say who declines a plan, and why."""
        found = [(said.node, each) for said in self.said for each in said.declined]
        return tuple((node, each.reason) for node, each in found if each.plan == plan)


def look(urls: Sequence[str], within_s: float, cluster: str | None = None) -> Look:
    """Ask every daemon, many at once; those that serve another cluster than the one named do not count.

    Raises BadState where two say that they are the same node.
    """
    answers = list(zip(urls, many(urls, lambda url: _of(cluster, _said(url, within_s))), strict=True))
    said = tuple(each for _, each in answers if isinstance(each, Said))
    for one, other in ((a, b) for number, a in enumerate(said) for b in said[:number]):
        if one.node == other.node:
            raise BadState(f"{other.url} and {one.url} both say that they are {one.node}")
    return Look(said=said, failed=tuple((url, each) for url, each in answers if isinstance(each, str)))


def _said(url: str, within_s: float) -> Said | str:
    body = get(url, "status", within_s)
    if isinstance(body, str):
        return body
    try:
        return read(url, json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError, MalformedDocument) as error:
        return f"its answer is no status: {error!r}"


def _of(cluster: str | None, said: Said | str) -> Said | str:
    if isinstance(said, str) or cluster is None or said.cluster in (cluster, None):
        return said
    return f"{said.node} serves cluster {said.cluster}, not {cluster}"


def read(url: str, status: Mapping[str, Any]) -> Said:
    """Read the document of GET /status.  Raises what comes of a document that is none."""
    coming, plan = status["next"], status["plan"]
    accepted = coming["accepted"]
    return Said(
        url=url,
        node=NodeId(status["node"]),
        plan=None if plan is None else _name(plan),
        cluster=None if plan is None else plan["cluster"],
        generation_max=coming["generation_max"],
        accepted=None
        if accepted is None
        else Accepted(plan=_name(accepted), nodes=tuple(accepted["nodes"]), awaited=tuple(accepted["awaited"])),
        declined=tuple(Declined(plan=_name(each), reason=each["reason"]) for each in coming["declined"]),
        phase="" if plan is None else status["phase"],
        lost=() if plan is None else tuple(sorted(status["lost"].items())),
        heard_again=() if plan is None else tuple(status["heard_again"]),
        document=status,
    )


def _name(document: Mapping[str, Any]) -> PlanName:
    return PlanName(generation=document["generation"], digest=document["digest"])
