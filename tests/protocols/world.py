"""The state of a cluster of nodes and of the world around them, and short ways to write plans for it."""

import attrs

from specs.plan import Continuity, PipelineId, StepId, Switch
from specs.plan import Release as ReleaseStep
from specs.protocols.nouns import RUNNING, Copy, NodePlan, NodeState, Part, Passage, Report, Sizing


@attrs.frozen(kw_only=True, cache_hash=True)
class Faults:
    """How many of each may still happen."""

    losses: int = 0
    repeats: int = 0
    lates: int = 0
    breaks: int = 0
    corruptions: int = 0
    deaths: int = 0
    suspicions: int = 0  # a node that lives counts as lost
    wrong_tokens: int = 0
    bad_builds: int = 0


Letter = tuple[int, int, Report]  # teller, hearer


@attrs.frozen(kw_only=True, cache_hash=True)
class World:
    nodes: tuple[NodeState, ...]
    dead: frozenset[int] = frozenset()
    network: frozenset[Letter] = frozenset()  # the newest report on each way
    strays: frozenset[Letter] = frozenset()  # late or repeated ones
    acks: frozenset[tuple[StepId, bool]] = frozenset()  # the receiver has ended, the sender has not heard how
    cut: frozenset[StepId] = frozenset()  # receptions that must end without arrival
    faults: Faults
    # What the ALWAYS properties need to remember.
    arrivals: frozenset[StepId] = frozenset()  # right ones
    right: frozenset[PipelineId] = frozenset()  # pipelines whose canary was right
    ended: frozenset[PipelineId] = frozenset()  # pipelines that their leader closed
    handed: frozenset[PipelineId] = frozenset()  # pipelines whose requests' KV is with a successor
    aborted: frozenset[PipelineId] = frozenset()  # pipelines that took back a hand-over
    sizes: frozenset[tuple[PipelineId, int]] = frozenset()  # slots of pipelines that were resized, or run with others
    breaches: frozenset[str] = frozenset()  # ids of ALWAYS properties that an action broke


def a_passage(step: int, blob: str, sender: str, receiver: str) -> Passage:
    return Passage(
        step=StepId(step),
        source=Copy(blob=blob, place=sender),
        destination=Copy(blob=blob, place=receiver),
        sender=sender,
        receiver=receiver,
        send_port=f"{sender}/out",
        receive_port=f"{receiver}/in",
    )


def node_plans(
    held: dict[str, str],
    transfers: list[tuple[str, str, str]],
    pipelines: dict[str, list[tuple[str, str]]] | None = None,
    switches: list[tuple[str, str, Continuity]] | None = None,
    releases: list[tuple[str, str]] | None = None,
    *,
    tries_max: int = 5,
    running: dict[str, list[tuple[str, str]]] | None = None,
    slots: dict[str, int] | None = None,
    resizes: list[tuple[str, int]] | None = None,
) -> tuple[NodePlan, ...]:
    """Plans of all nodes from a few words.

    held: node -> its blobs, one letter each; transfers: (blob, sender, receiver) in order; pipelines: id -> stages,
    each a node with the blobs that it needs; releases: (blob, node); running: like pipelines, open at the start;
    slots: of a pipeline at first, where it is not 1; resizes: (pipeline, slots).
    """
    passages = [a_passage(step, *words) for step, words in enumerate(transfers)]
    parts = []
    at = len(passages)
    for pipeline, stages in [*(running or {}).items(), *(pipelines or {}).items()]:
        members = tuple(dict.fromkeys(node for node, _ in stages))
        is_running = pipeline in (running or {})
        parts.append((pipeline, RUNNING if is_running else at, members, stages))
        at += not is_running
    changes = []
    for old, new, continuity in switches or []:
        changes.append(Switch(id=at, old=old, new=new, continuity=continuity, at_ns=0))
        at += 1
    gone = []
    for blob, node in releases or []:
        gone.append((node, ReleaseStep(id=at, blob=blob, place=node, at_ns=0)))
        at += 1
    sizings, sizes = [], dict(slots or {})
    for pipeline, wanted in resizes or []:
        shrinks = wanted < sizes.get(pipeline, 1)
        sizings.append(Sizing(step=StepId(at), pipeline=pipeline, slots=wanted, is_shrink=shrinks))
        sizes[pipeline] = wanted
        at += 1
    return tuple(
        NodePlan(
            node=node,
            peers=tuple(each for each in held if each != node),
            held=tuple(Copy(blob=blob, place=node) for blob in blobs),
            passages=tuple(each for each in passages if node in (each.sender, each.receiver)),
            parts=tuple(
                Part(
                    pipeline=pipeline,
                    step=step,
                    leader=members[0],
                    members=members,
                    needs=tuple(Copy(blob=b, place=node) for home, needed in stages if home == node for b in needed),
                    slots=(slots or {}).get(pipeline, 1),
                )
                for pipeline, step, members, stages in parts
            ),
            switches=tuple(changes),
            releases=tuple(each for home, each in gone if home == node),
            sizings=tuple(sizings),
            tries_max=tries_max,
        )
        for node, blobs in held.items()
    )


def reordered(plans: tuple[NodePlan, ...], *order: int) -> tuple[NodePlan, ...]:
    """The same steps in another order: `order` lists their ids as they are to stand."""
    now = {step: StepId(at) for at, step in enumerate(order)} | {RUNNING: RUNNING}

    def row(steps, name):
        return tuple(
            sorted(
                (attrs.evolve(each, **{name: now[getattr(each, name)]}) for each in steps),
                key=lambda each: getattr(each, name),
            )
        )

    return tuple(
        attrs.evolve(
            plan,
            passages=row(plan.passages, "step"),
            parts=row(plan.parts, "step"),
            switches=row(plan.switches, "id"),
            releases=row(plan.releases, "id"),
            sizings=row(plan.sizings, "step"),
        )
        for plan in plans
    )
