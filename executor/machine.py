"""The daemon's core: keeps what one node knows under a plan, by `specs.protocols.node`.

Nothing here waits, reads a clock or opens a socket: events go in, actions come out, and the shell does them.
"""

from specs.cluster import NodeId
from specs.protocols import node
from specs.protocols.events import Action, Event
from specs.protocols.node import InForce
from specs.protocols.nouns import NodePlan, NodeState
from specs.protocols.plan_switch_nouns import PlanName


class Machine:
    """One node under one plan, which it adopts in the place of another if there was one.

    `take` must be called for one event at a time, and its actions done in their order.
    """

    def __init__(self, name: PlanName, plan: NodePlan, before: InForce | None = None) -> None:
        self.now, self._due = node.adopt(before, name, plan)

    @property
    def plan(self) -> NodePlan:
        """What the plan is for this node."""
        return self.now.plan

    @property
    def state(self) -> NodeState:
        """What the node knows under it."""
        return self.now.state

    def begin(self) -> tuple[Action, ...]:
        """Give the actions that are due on adopting the plan; later calls give none."""
        due, self._due = self._due, ()
        return due

    def take(self, event: Event) -> tuple[Action, ...]:
        """Take an event and give the actions that are due now."""
        self.now, actions = node.take(self.now, event)
        return actions

    def meet(self, peer: NodeId, life: str) -> Event | None:
        """Know in which life a peer is; give the event that follows, which is to be taken."""
        self.now, lost = node.meet(self.now, peer, life)
        return lost
