"""The state that a plan leads to, for what-if questions: what comes next, before it is there."""

from specs import codec
from specs.blobs import BlobId
from specs.checker import VerifiedPlan
from specs.cluster import PlaceId
from specs.invariants.facts import Facts
from specs.protocols.nouns import Copy
from specs.protocols.plan_switch_nouns import PlanName
from specs.state import Load, RunningCluster, RunningNode
from specs.units import Tokens


def arrived(verified: VerifiedPlan, requests: int = 0, context_tokens: int = 0) -> RunningCluster:
    """The cluster when every step is done; each open pipeline has so many requests, each with so long a context."""
    problem, plan = verified.problem, verified.plan
    facts = Facts(problem, plan)
    held: dict[tuple[BlobId, PlaceId], None] = {}
    for place in facts.places:
        here = facts.held.get(place, set()) | facts.arrivals.get(place, {}).keys()
        held |= {(blob.id, place): None for blob in plan.blobs if blob.id in here}
    for place, releases in facts.releases.items():
        for blob in releases:
            held.pop((blob, place), None)
    node_of = {place.id: place.node for place in problem.cluster.places}
    return RunningCluster(
        problem=problem,
        plan=plan,
        nodes=tuple(
            RunningNode(
                node=node.id,
                plan=PlanName(generation=plan.generation, digest=codec.digest(plan)),
                generation_max=plan.generation,
                held=tuple(Copy(blob=blob, place=place) for blob, place in held if node_of[place] == node.id),
                leads=tuple(
                    Load(
                        pipeline=each.id,
                        live_requests=min(requests, each.slots),
                        live_tokens=Tokens(min(requests, each.slots) * context_tokens),
                        slots=None if facts.slots_at_end(each.id) == each.slots else facts.slots_at_end(each.id),
                    )
                    for each in facts.open_at_end
                    if node_of[each.stages[0].place] == node.id
                ),
            )
            for node in problem.cluster.nodes
        ),
    )
