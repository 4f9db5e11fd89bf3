"""Who sends what to whom where each blob has its own holders and its own wanting places: a swarm, acted out in time.

The optimal multicast (`planner.multicast`) wants sources that hold everything and receivers that hold nothing.  From
any other state a swarm is acted out instead (`planner.packing.swarm`).  What comes out is an order of moves;
`planner.transfers` lays it on links.
"""

from collections.abc import Sequence

from planner.demands import Demand
from planner.packing.ground import Ground
from planner.packing.swarm import Acted, orders
from planner.routes import NoRoute, Routes
from planner.search import Progress, Search
from planner.transfers import Move
from specs.cluster import Cluster


class OutOfTime(Exception):
    """The clock's limit came before the first order reached everybody."""


def gather(
    cluster: Cluster, routes: Routes, demands: Sequence[Demand], search: Search, *, decision: str, bound_ns: int
) -> list[Move]:
    """Order the moves that bring every blob to all that want it.

    Orders are tried until one ends by `bound_ns`, which none can beat, or until a limit is reached; each move acted
    out is a step of the search.  Raises NoRoute when no order that we can find reaches all: some place that wants a
    blob is joined to none that ever holds it.  Raises OutOfTime when the clock ends the first order.
    """
    wanted = sum(len(demand.wanting) for demand in demands)
    if not wanted:
        return []
    ground = Ground(cluster, routes, [(each.blob.bytes, each.holders, each.wanting) for each in demands])
    best = Acted(moves=[], end_ns=0, complete=False)
    for best in orders(ground, search, bound_ns):
        if best.complete:
            search.tell(Progress(decision=decision, value=best.end_ns, bound=bound_ns or None))
    if not best.complete and search.left_s() == 0:
        done = f"{len(best.moves):,} of {wanted:,} transfers were put in order"
        raise OutOfTime(f"the time was over before the first plan was whole: {done}")
    if not best.complete:
        raise NoRoute(_unreached(ground, demands, best))
    return [
        Move(blob=demands[blob].blob, source=ground.places[source], destination=ground.places[destination])
        for _, blob, source, destination in best.moves
    ]


def _unreached(ground: Ground, demands: Sequence[Demand], acted: Acted) -> str:
    got = {(blob, ground.places[destination]) for _, blob, _, destination in acted.moves}
    blob, place = next(
        (demand.blob.id, place)
        for index, demand in enumerate(demands)
        for place in demand.wanting
        if (index, place) not in got
    )
    return f"no path of links leads to {place} from any place that holds or gets {blob}"
