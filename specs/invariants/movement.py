"""Rules CAUSE, PORT, LINK and FULL: what may cross which link when."""

from collections.abc import Iterable, Iterator

from specs.cluster import LinkId
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import StepId, Transfer
from specs.timing import route_latency_ns, transfer_ns
from specs.units import Bytes, BytesPerSecond, Nanos

Crossing = tuple[int, int, int]  # start_ns, end_ns, bytes_per_second


def sources_hold(facts: Facts) -> Iterator[Violation]:
    """CAUSE: the source of a transfer holds the blob before it starts, by the plan's order and by its times.

    Whether the source has given the blob up in the meantime is the business of rule LAST.
    """
    for transfer, came in zip(facts.order.transfers, facts.order.after_arrival, strict=True):
        source = facts.order.ends[transfer.route].source
        if transfer.blob in facts.held.get(source, ()):
            continue
        arrival = facts.arrivals.get(source, {}).get(transfer.blob)
        if arrival is None or came is None:
            why = "never receives it" if arrival is None else f"receives it only by the later step {arrival.id}"
            yield Violation("CAUSE", f"transfer {transfer.id}", f"it sends {transfer.blob} from {source}, which {why}")
        elif arrival.end_ns > transfer.start_ns:
            yield Violation(
                "CAUSE",
                f"transfer {transfer.id}",
                f"it starts at {transfer.start_ns} ns, but {source} holds {transfer.blob} only from "
                f"{arrival.end_ns} ns (transfer {arrival.id})",
            )


def ports_take_turns(facts: Facts) -> Iterator[Violation]:
    """PORT: on the first and on the last link of a route, transfers run one at a time in the plan's order."""
    order = facts.order
    by_id: dict[StepId, Transfer] = {transfer.id: transfer for transfer in order.transfers}
    for transfer, sent, received in zip(order.transfers, order.after_send, order.after_receive, strict=True):
        for before, is_sender in ((sent, True), (received, False)):
            if before is not None and by_id[before].end_ns > transfer.start_ns:
                ends = order.ends[transfer.route]
                port = ends.send_port if is_sender else ends.receive_port
                yield Violation(
                    "PORT",
                    f"transfer {transfer.id}",
                    f"it starts at {transfer.start_ns} ns, but transfer {before} occupies port {port} until "
                    f"{by_id[before].end_ns} ns: daemons would run them one after the other, later than predicted",
                )


def links_carry(facts: Facts) -> Iterator[Violation]:
    """LINK: rates on a link sum to at most its capacity at every instant, and no transfer beats its own rate.

    A hand-over has the rates of its paths from its first round to the switch.
    """
    yield from _too_short(facts)
    by_route: dict[int, list[Transfer]] = {}
    for transfer in facts.order.transfers:
        by_route.setdefault(transfer.route, []).append(transfer)
    copied = _copied(facts)
    routes_over: dict[LinkId, list[int]] = {}
    for index in sorted(by_route.keys() | copied.keys()):
        for link in facts.plan.routes[index].links:
            routes_over.setdefault(link, []).append(index)
    loads: dict[tuple[int, ...], tuple[int, int]] = {}  # links that are crossed by the same routes carry the same
    for link, routes in routes_over.items():
        together = tuple(routes)
        if together not in loads:
            moved = [each for index in routes for each in by_route.get(index, ())]
            crossings = [(each.start_ns, each.end_ns, each.bytes_per_second) for each in moved]
            loads[together] = highest_load(crossings + [each for index in routes for each in copied.get(index, ())])
        (load, at_ns), capacity = loads[together], facts.links[link].bytes_per_second
        if load > capacity:
            yield Violation(
                "LINK",
                f"link {link}",
                f"at {at_ns} ns transfers cross it at {load} bytes/s, it carries {capacity}: they would be late",
            )


def _copied(facts: Facts) -> dict[int, list[Crossing]]:
    """When and at what rates hand-overs cross each route."""
    found: dict[int, list[Crossing]] = {}
    for switch in facts.switches:
        if switch.hand_over is not None:
            for path in switch.hand_over.paths:
                crossing = (switch.hand_over.start_ns, switch.at_ns, path.bytes_per_second)
                found.setdefault(path.route, []).append(crossing)
    return found


def _too_short(facts: Facts) -> Iterator[Violation]:
    latency = [route_latency_ns(facts.links, route) for route in facts.plan.routes]
    least_ns: dict[tuple[Bytes, BytesPerSecond, Nanos], Nanos] = {}  # many transfers are alike
    for transfer in facts.order.transfers:
        alike = (facts.blob_bytes[transfer.blob], transfer.bytes_per_second, latency[transfer.route])
        if alike not in least_ns:
            least_ns[alike] = transfer_ns(*alike)
        if transfer.end_ns - transfer.start_ns < least_ns[alike]:
            size, rate, wait = alike
            yield Violation(
                "LINK",
                f"transfer {transfer.id}",
                f"it is predicted to take {transfer.end_ns - transfer.start_ns} ns; {size} bytes at {rate} "
                f"bytes/s and {wait} ns of latency take {least_ns[alike]} ns",
            )


def highest_load(crossings: Iterable[Crossing]) -> tuple[int, int]:
    """Give the highest sum of rates at one instant, and the first instant that has it; (0, 0) when nothing crosses.

    A transfer counts from its start up to, not including, its end.
    """
    crossings = sorted(crossings)
    load = at_ns = free_ns = 0
    for start_ns, end_ns, rate in crossings:
        if start_ns < free_ns or end_ns <= start_ns:
            return _of_overlapping(crossings)
        free_ns = end_ns
        if rate > load:
            load, at_ns = rate, start_ns
    return load, at_ns


def _of_overlapping(crossings: list[Crossing]) -> tuple[int, int]:
    # At one instant, what ends is subtracted before what begins is added: its negative rate sorts first.
    changes = [(start_ns, rate) for start_ns, end_ns, rate in crossings if start_ns < end_ns]
    changes += [(end_ns, -rate) for start_ns, end_ns, rate in crossings if start_ns < end_ns]
    changes.sort()
    load = highest = highest_at_ns = 0
    for at_ns, change in changes:
        load += change
        if load > highest:
            highest, highest_at_ns = load, at_ns
    return highest, highest_at_ns


def targets_are_filled(facts: Facts) -> Iterator[Violation]:
    """FULL: targets and residents end with all blobs of their LLM; no place receives a blob twice or one it holds."""
    whole = [(target.llm, target.place) for target in facts.problem.targets]
    whole += [(resident.llm, resident.place) for resident in facts.plan.residents]
    for llm, place in whole:
        held, arrived = facts.held.get(place, ()), facts.arrivals.get(place, {})
        for blob in facts.blobs_of_llm[llm]:
            if blob.id not in arrived and blob.id not in held:
                yield Violation("FULL", f"place {place}", f"it never receives {blob.id}: {llm} would be incomplete")
    for transfer in facts.order.transfers:
        place = facts.order.ends[transfer.route].destination
        first = facts.arrivals[place][transfer.blob]
        if transfer.blob in facts.held.get(place, ()):
            why = "holds it from the start"
        elif first is not transfer:
            why = f"receives it by transfer {first.id} already"
        else:
            continue
        yield Violation("FULL", f"transfer {transfer.id}", f"it sends {transfer.blob} to {place}, which {why}")
