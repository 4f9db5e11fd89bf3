"""The daemon's core: keeps one node's state under a plan, by the protocol `specs.protocols.block_multicast`.

Nothing here waits, reads a clock or opens a socket: events go in, actions come out, and the shell does them.
"""

from specs.protocols.block_multicast import begin, step
from specs.protocols.events import Action, Event
from specs.protocols.nouns import Carried, NodePlan


class Machine:
    """One node under one plan.

    `take` must be called for one event at a time, and its actions done in their order.
    """

    def __init__(self, plan: NodePlan, carried: Carried = Carried()) -> None:  # noqa: B008 - frozen
        self.plan = plan
        self.state, self._due = begin(plan, carried)

    def begin(self) -> tuple[Action, ...]:
        """Give the actions that are due on adopting the plan; later calls give none."""
        due, self._due = self._due, ()
        return due

    def take(self, event: Event) -> tuple[Action, ...]:
        """Take an event and give the actions that are due now."""
        self.state, actions = step(self.plan, self.state, event)
        return actions
