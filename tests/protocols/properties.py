"""What should be true of a cluster of nodes: in every state, and in the end."""

from collections.abc import Callable
from functools import partial

from specs.plan import PipelineId
from specs.plan import Release as ReleaseStep
from specs.protocols.facts import is_lost, is_settled, lacks
from specs.protocols.nouns import RUNNING, Copy, NodePlan, Part
from tests.protocols.world import World


def slots_of(cluster, world: World, pipeline: PipelineId) -> int:
    return dict(world.sizes).get(pipeline, cluster.plans[0].part[pipeline].slots)


def used(cluster, world: World, node: int) -> int:
    """What is in a node's memory: a blob takes 1, a stage 1 and 1 for each slot of its pipeline."""
    plan, state = cluster.plans[node], world.nodes[node]
    copies = state.held | {plan.passage[step].destination for step in state.receiving}
    return len(copies) + sum(1 + slots_of(cluster, world, each) for each in state.building - state.freed)


def rooms(plan: NodePlan) -> dict[int, int]:
    """What a node needs by the order of the plan's steps, in the same measure, when each step takes its room.

    So rule MEM counts it: what was there and was taken up to the step, less what steps before it have given up; with a
    stage that is when a copy of it is released, or, for a resize, when its pipeline has closed.
    """
    parts = {part.pipeline: part for part in plan.parts if part.needs}
    takes = [(RUNNING, len(plan.held)), *((each.step, 1) for each in plan.passages if each.receiver == plan.node)]
    gives = [(each.id, 1) for each in plan.releases]
    closings = []
    for part in parts.values():
        takes.append((part.step, 1 + part.slots))
        slots = part.slots
        for each in plan.sizings:
            if each.pipeline == part.pipeline and each.step > RUNNING:
                (gives if each.is_shrink else takes).append((each.step, abs(each.slots - slots)))
                slots = each.slots
        freed = min((each.id for each in plan.releases if _copy_of(each) in part.needs), default=None)
        if freed is not None:
            gives.append((freed, 1 + slots))
        closed = next((each.id for each in plan.switches if each.old == part.pipeline), None)
        if closed is not None:
            closings.append((closed, freed, 1 + slots))
    found = {
        step: sum(size for at, size in takes if at <= step) - sum(size for at, size in gives if at < step)
        for step, _ in takes
    }
    for step in found.keys() & {each.step for each in plan.sizings if not each.is_shrink}:
        found[step] -= sum(size for at, freed, size in closings if at < step and (freed is None or step < freed))
    return found


def _copy_of(release: ReleaseStep) -> Copy:
    return Copy(blob=release.blob, place=release.place)


def _all_fits(cluster, needed: list[dict[int, int]], world: World) -> bool:
    """In each memory is no more than MEM counts at the last step that has taken room there."""
    begun = {step for state in world.nodes for step in state.resizing | state.resized}
    for node, (plan, state) in enumerate(zip(cluster.plans, world.nodes, strict=True)):
        if node in world.dead:
            continue
        taken = begun | state.receiving | state.arrived | {plan.part[pipeline].step for pipeline in state.building}
        last = max(taken & needed[node].keys(), default=RUNNING)
        most = needed[node][last]
        if last == RUNNING:  # the leader may have given out more than the plan says
            most += sum(each.slots for each in cluster.carried_slots if plan.part[each.pipeline].needs)
        if used(cluster, world, node) > most:
            return False
    return True


def always(cluster) -> dict[str, Callable[[World], bool]]:
    """Properties of every state; those named by an id are broken by an action, see `breaches`."""
    ids = (
        "CAUSE", "EARLY", "GRANT", "HANDED", "NEVER-AGAIN", "ONE-RECEIVE", "ONE-SEND", "ORDER", "PROVED", "RELEASE",
        "ROOM", "RUNS", "SERVE", "SIZE", "TWICE",
    )  # fmt: skip
    rules: dict[str, Callable[[World], bool]] = {
        name: (lambda world, name=name: name not in world.breaches) for name in ids
    }
    rules["a blob is held only from the start or by a right arrival"] = partial(_held_by_right, cluster)
    rules["what an open pipeline computes with is held"] = partial(_open_is_held, cluster)
    rules["nothing is handed to a successor that has closed"] = _handed_to_what_serves
    rules["everything fits"] = partial(_all_fits, cluster, [rooms(plan) for plan in cluster.plans])
    rules["nobody is lost without a death, a suspicion or many failures"] = partial(_lost_with_reason, cluster)
    rules["lacks are blamed on a node that is lost"] = partial(_blame_is_due, cluster)
    return rules


def _held_by_right(cluster, world: World) -> bool:
    return all(
        state.held.issubset(
            {*plan.held, *(cluster.passages[step].destination for step in world.arrivals if step in plan.passage)}
        )
        for plan, state in zip(cluster.plans, world.nodes, strict=True)
    )


def _open_is_held(cluster, world: World) -> bool:
    """Each member that lives and does not know better has its stage, and each blob that it needs."""
    return all(
        state.held.issuperset(part.needs) and part.pipeline in state.built - state.freed
        for node, (plan, state) in enumerate(zip(cluster.plans, world.nodes, strict=True))
        for part in plan.parts
        if node not in world.dead
        and plan.node in part.members
        and part.pipeline not in state.closed | state.unbuildable
        and part.pipeline in world.nodes[cluster.leaders[part.pipeline]].opened
    )


def _handed_to_what_serves(world: World) -> bool:
    return not any(
        each.successor in state.closed and each.pipeline not in state.closed
        for state in world.nodes
        for each in state.handing
    )


def _lost_with_reason(cluster, world: World) -> bool:
    def spent(*kinds):
        return sum(getattr(cluster.faults, kind) - getattr(world.faults, kind) for kind in kinds)

    return (
        spent("deaths", "suspicions") > 0
        or spent("breaks", "corruptions", "lates", "repeats") >= cluster.plans[0].tries_max
        or not any(state.lost for state in world.nodes)
    )


def _blame_is_due(cluster, world: World) -> bool:
    troubled = {loss.node for state in world.nodes for loss in state.lost}
    return all(
        lack.because in troubled
        for plan, state in zip(cluster.plans, world.nodes, strict=True)
        for lack in lacks(plan, state)
    )


def is_complete(cluster, world: World) -> bool:
    return not world.dead and all(
        step in world.nodes[cluster.index[passage.receiver]].arrived for step, passage in cluster.passages.items()
    )


def blame(cluster, world: World, copy: Copy) -> str | None:
    """Who is to blame that a copy is not where it was promised, worked out from all nodes at once; None: arrived."""
    home = next((p for p in cluster.passages.values() if p.destination == copy), None)
    if home is None or home.step in world.arrivals:
        return None
    sender, receiver = cluster.index[home.sender], cluster.index[home.receiver]
    apart = is_lost(world.nodes[sender], home.receiver) or is_lost(world.nodes[receiver], home.sender)
    if sender in world.dead or apart:
        return home.sender
    return blame(cluster, world, home.source) or "nobody"


def is_good(cluster, world: World) -> bool:
    """Nothing is under way, and every node that lives is complete or names exactly what it lacks."""
    if world.network or world.acks:
        return False
    for node, (plan, state) in enumerate(zip(cluster.plans, world.nodes, strict=True)):
        if node in world.dead:
            continue
        expected = {(copy, blame(cluster, world, copy)) for copy in plan.arrivals}
        said = {(lack.copy, lack.because) for lack in lacks(plan, state)}
        if not is_settled(plan, state) or said != {each for each in expected if each[1] is not None}:
            return False
        if not all(_pipeline_is_good(cluster, world, node, part) for part in plan.parts):
            return False
    return True


def _pipeline_is_good(cluster, world: World, node: int, part: Part) -> bool:
    state, leader = world.nodes[node], world.nodes[cluster.leaders[part.pipeline]]
    if part.pipeline not in state.closed and any(
        each.pipeline == part.pipeline and each.step not in state.resized for each in cluster.plans[node].sizings
    ):
        return False
    is_known = cluster.leaders[part.pipeline] not in world.dead and not is_lost(state, part.leader)
    if is_known and (part.pipeline in leader.closed) != (part.pipeline in state.closed):
        return False
    forgotten = part.is_running and part.pipeline in state.closed  # by a leader that was started again
    if is_known and not forgotten and (part.pipeline in leader.opened) != (part.pipeline in state.opened):
        return False
    if part.pipeline in state.closed:
        return part.pipeline in state.freed or part.pipeline not in state.building
    computes = cluster.plans[node].node not in part.members or part.pipeline in state.built
    return computes and part.pipeline in state.opened and part.pipeline in world.right
