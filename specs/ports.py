"""The order of transfers: what each waits for.

A transfer uses two *ports*: the first and the last link of its route.  On each port, transfers run one after another in
the order in which they stand in the plan.  A transfer also waits for the one that brings its blob to its source.  The
planner predicts times with this order, the checker judges it, and the daemons follow it.
"""

from collections import defaultdict
from collections.abc import Sequence

import attrs

from specs.blobs import BlobId
from specs.cluster import Cluster, LinkId, NodeId, PlaceId
from specs.plan import Plan, StepId, Transfer
from specs.timing import links_by_id, route_ends


@attrs.frozen(kw_only=True)
class Ends:
    """Where a route begins and where it ends."""

    source: PlaceId
    destination: PlaceId
    source_node: NodeId | None
    destination_node: NodeId | None
    send_port: LinkId
    receive_port: LinkId


@attrs.frozen
class Hop:
    """A transfer with the ends of its route and its predecessors spelled out."""

    transfer: Transfer
    ends: Ends
    after_send: StepId | None  # the transfer before it on its send port
    after_receive: StepId | None  # the transfer before it on its receive port
    after_arrival: StepId | None  # the transfer that brings the blob to the source; absent: held from the start

    @property
    def source(self) -> PlaceId:
        """The memory that sends."""
        return self.ends.source

    @property
    def destination(self) -> PlaceId:
        """The memory that receives."""
        return self.ends.destination

    @property
    def source_node(self) -> NodeId | None:
        """The node of the memory that sends."""
        return self.ends.source_node

    @property
    def destination_node(self) -> NodeId | None:
        """The node of the memory that receives."""
        return self.ends.destination_node

    @property
    def send_port(self) -> LinkId:
        """The first link of the route."""
        return self.ends.send_port

    @property
    def receive_port(self) -> LinkId:
        """The last link of the route."""
        return self.ends.receive_port

    @property
    def predecessors(self) -> tuple[StepId, ...]:
        """Transfers that must be over before this one starts."""
        waits = (self.after_send, self.after_receive, self.after_arrival)
        return tuple(step for step in waits if step is not None)


@attrs.frozen(kw_only=True)
class Order:
    """The transfers of a plan in its order, and what each waits for: see `Hop`, which says the same of one transfer."""

    transfers: Sequence[Transfer]
    ends: Sequence[Ends]  # of each route of the plan
    after_send: Sequence[StepId | None]
    after_receive: Sequence[StepId | None]
    after_arrival: Sequence[StepId | None]

    def hops(self) -> tuple[Hop, ...]:
        """Spell out every transfer."""
        ends = [self.ends[transfer.route] for transfer in self.transfers]
        return tuple(map(Hop, self.transfers, ends, self.after_send, self.after_receive, self.after_arrival))


def order_of(cluster: Cluster, plan: Plan) -> Order:
    """Say what every transfer of a plan waits for.

    The plan's routes and links must exist in the cluster (invariant REF).
    """
    ends = _ends(cluster, plan)
    transfers = [step for step in plan.steps if isinstance(step, Transfer)]
    last_sent: dict[LinkId, StepId] = {}
    last_received: dict[LinkId, StepId] = {}
    arrivals: defaultdict[BlobId, dict[PlaceId, StepId]] = defaultdict(dict)
    after_send, after_receive, after_arrival = [], [], []
    for transfer in transfers:
        of_route, arrived = ends[transfer.route], arrivals[transfer.blob]
        after_send.append(last_sent.get(of_route.send_port))
        after_receive.append(last_received.get(of_route.receive_port))
        after_arrival.append(arrived.get(of_route.source))
        last_sent[of_route.send_port] = last_received[of_route.receive_port] = transfer.id
        arrived.setdefault(of_route.destination, transfer.id)
    return Order(
        transfers=transfers,
        ends=ends,
        after_send=after_send,
        after_receive=after_receive,
        after_arrival=after_arrival,
    )


def hops(cluster: Cluster, plan: Plan) -> tuple[Hop, ...]:
    """Spell out every transfer of a plan, in the plan's order.

    The plan's routes and links must exist in the cluster (invariant REF).
    """
    return order_of(cluster, plan).hops()


def _ends(cluster: Cluster, plan: Plan) -> list[Ends]:
    """Say of each route of a plan where it begins and ends."""
    links = links_by_id(cluster)
    node_of = {place.id: place.node for place in cluster.places}
    found = []
    for route in plan.routes:
        source, destination = route_ends(links, route)
        found.append(
            Ends(
                source=source,
                destination=destination,
                source_node=node_of[source],
                destination_node=node_of[destination],
                send_port=route.links[0],
                receive_port=route.links[-1],
            )
        )
    return found


def ticks(order: Order) -> dict[StepId, int]:
    """Depth of each transfer in the order: 1 for one that waits for nothing, else one more than its deepest wait.

    With blobs of equal size and links of equal rate this is the tick in which the transfer ends.
    """
    depth: dict[StepId | None, int] = {None: 0}  # where there is nothing to wait for
    waits = zip(order.after_send, order.after_receive, order.after_arrival, strict=True)
    for transfer, (sent, received, arrived) in zip(order.transfers, waits, strict=True):
        depth[transfer.id] = 1 + max(depth[sent], depth[received], depth[arrived])
    return {step: deep for step, deep in depth.items() if step is not None}
