"""Which nodes must know from the start what the right tokens of an LLM are, so that every other node can ask them.

A plan says who holds what at the start, so that all nodes agree on the answer: whoever holds the whole LLM, in whatever
memories, or, where nobody does, whoever holds a part.  A part came from a checkpoint, from which the canary can be
computed, or under a plan before, under which the canary came too.  A source that cannot know it refuses the plan.
"""

from collections.abc import Mapping

from specs.blobs import BlobId
from specs.cluster import NodeId
from specs.llm import LlmId
from specs.plan import Plan
from specs.problem import Problem


def sources_of(problem: Problem, plan: Plan) -> Mapping[LlmId, tuple[NodeId, ...]]:
    """Name the sources of each LLM, in the order of the problem's holdings."""
    node_of = {place.id: place.node for place in problem.cluster.places}
    found: dict[LlmId, tuple[NodeId, ...]] = {}
    for llm in problem.llms:
        blobs = [blob for blob in plan.blobs if blob.llm == llm.id]
        held: dict[NodeId, set[BlobId]] = {}
        for holding in problem.holdings:
            node = node_of[holding.place]
            if holding.llm == llm.id and node is not None:
                held.setdefault(node, set()).update(blob.id for blob in blobs if holding.has(blob))
        whole = tuple(node for node, its in held.items() if len(its) == len(blobs))
        found[llm.id] = whole or tuple(node for node, its in held.items() if its)
    return found


def proved_llms(plan: Plan) -> frozenset[LlmId]:
    """Name the LLMs of which the plan opens pipelines: only these need a canary."""
    return frozenset(pipeline.llm for pipeline in plan.pipelines)
