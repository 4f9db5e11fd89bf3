"""The order of transfers: what each waits for.

A transfer uses two *ports*: the first and the last link of its route.  On each port, transfers run one after another in
the order in which they stand in the plan.  A transfer also waits for the one that brings its blob to its source.  The
planner predicts times with this order, the checker judges it, and the daemons follow it.
"""

from collections.abc import Iterable

import attrs

from specs.blobs import BlobId
from specs.cluster import Cluster, LinkId, NodeId, PlaceId
from specs.plan import Plan, StepId, Transfer
from specs.timing import links_by_id, route_ends


@attrs.frozen(kw_only=True)
class Hop:
    """A transfer with its ends, its ports and its predecessors spelled out."""

    transfer: Transfer
    source: PlaceId
    destination: PlaceId
    source_node: NodeId | None
    destination_node: NodeId | None
    send_port: LinkId
    receive_port: LinkId
    after_send: StepId | None  # the transfer before it on its send port
    after_receive: StepId | None  # the transfer before it on its receive port
    after_arrival: StepId | None  # the transfer that brings the blob to the source; absent: held from the start

    @property
    def predecessors(self) -> tuple[StepId, ...]:
        """Transfers that must be over before this one starts."""
        waits = (self.after_send, self.after_receive, self.after_arrival)
        return tuple(step for step in waits if step is not None)


def hops(cluster: Cluster, plan: Plan) -> tuple[Hop, ...]:
    """Spell out every transfer of a plan, in the plan's order.

    The plan's routes and links must exist in the cluster (invariant REF).
    """
    links = links_by_id(cluster)
    node_of = {place.id: place.node for place in cluster.places}
    last_sent: dict[LinkId, StepId] = {}
    last_received: dict[LinkId, StepId] = {}
    arrival: dict[tuple[BlobId, PlaceId], StepId] = {}
    found = []
    for transfer in (step for step in plan.steps if isinstance(step, Transfer)):
        route = plan.routes[transfer.route]
        source, destination = route_ends(links, route)
        send_port, receive_port = route.links[0], route.links[-1]
        found.append(
            Hop(
                transfer=transfer,
                source=source,
                destination=destination,
                source_node=node_of[source],
                destination_node=node_of[destination],
                send_port=send_port,
                receive_port=receive_port,
                after_send=last_sent.get(send_port),
                after_receive=last_received.get(receive_port),
                after_arrival=arrival.get((transfer.blob, source)),
            )
        )
        last_sent[send_port] = transfer.id
        last_received[receive_port] = transfer.id
        arrival.setdefault((transfer.blob, destination), transfer.id)
    return tuple(found)


def ticks(order: Iterable[Hop]) -> dict[StepId, int]:
    """Depth of each transfer in the order: 1 for one that waits for nothing, else one more than its deepest wait.

    With blobs of equal size and links of equal rate this is the tick in which the transfer ends.
    """
    depth: dict[StepId, int] = {}
    for hop in order:
        depth[hop.transfer.id] = 1 + max((depth[step] for step in hop.predecessors), default=0)
    return depth
