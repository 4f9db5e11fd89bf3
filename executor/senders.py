"""Who may say what: each message between daemons has one rightful sender under the plan.

A node that is wrong about its part, or lies, could otherwise put tokens into an answer that it does not compute.
"""

from collections.abc import Callable, Mapping

from executor import kv_traffic, traffic
from executor.sources import sources_of
from specs.cluster import NodeId
from specs.invariants.facts import Facts
from specs.plan import PipelineId, Plan
from specs.problem import Problem
from specs.protocols.kv_hand_over_nouns import Held, Hosting, Seats


class Senders:
    """The rightful senders of one plan.  `leader_of_request` names the node that serves a request of this front."""

    def __init__(self, problem: Problem, plan: Plan, leader_of_request: Callable[[str], NodeId | None]) -> None:
        node_of = {place.id: place.node for place in problem.cluster.places}
        self._stages: Mapping[PipelineId, list[NodeId | None]] = {
            pipeline.id: [node_of[stage.place] for stage in pipeline.stages]
            for pipeline in Facts(problem, plan).pipelines.values()
        }
        self._sources = sources_of(problem, plan)
        self._leader_of_request = leader_of_request

    def _is_of_stage(self, peer: NodeId, pipeline: PipelineId, stage: int) -> bool:
        nodes = self._stages.get(pipeline, [])
        return stage < len(nodes) and nodes[stage] == peer

    def _is_leader(self, peer: NodeId, pipeline: PipelineId) -> bool:
        return self._is_of_stage(peer, pipeline, 0)

    def may(self, peer: NodeId, message: traffic.Message) -> bool:
        """Tell whether this message is the peer's to send.  Requests, questions and files anybody may send."""
        match message:
            case traffic.Forward(pipeline=pipeline, stage=stage):
                nodes = self._stages.get(pipeline, [])
                return 0 < stage < len(nodes) and nodes[stage - 1] == peer
            case traffic.SampledTokens(pipeline=pipeline):
                return self._stages.get(pipeline, [None])[-1] == peer
            case traffic.Interrupted(pipeline=pipeline):
                return peer in self._stages.get(pipeline, [])
            case traffic.ResizeStage(pipeline=pipeline):
                return self._is_leader(peer, pipeline)
            case traffic.StageResized(pipeline=pipeline, stage=stage):
                return self._is_of_stage(peer, pipeline, stage)
            case traffic.Token(request=request) | traffic.Returned(request=request):
                return self._leader_of_request(request) == peer
            case traffic.CanaryIs(llm=llm):  # a file proves itself by its digest, a canary by nothing
                return peer in self._sources.get(llm, ())
            case _:
                return self._may_hand_over(peer, message)

    def _may_hand_over(self, peer: NodeId, message: traffic.Message) -> bool:
        match message:
            case Hosting(id=id_):
                return self._is_leader(peer, id_.new)
            case Seats(pipeline=pipeline):
                return self._is_leader(peer, pipeline)
            case Held(pipeline=pipeline, stage=stage):
                return self._is_of_stage(peer, pipeline, stage)
            case kv_traffic.Invited(invitation=invitation):
                return self._is_leader(peer, invitation.id.old)
            case kv_traffic.CopyKv(id=id_) | kv_traffic.HandedOver(id=id_):
                return self._is_leader(peer, id_.old)
            case kv_traffic.Kv(chunks=chunks):
                return self._is_of_stage(peer, chunks[0].id.old, chunks[0].path.old_stage)
            case _:
                return True
