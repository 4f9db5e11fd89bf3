"""Rule START: what stands by is near enough to where it would run."""

from collections.abc import Iterator

from specs.cluster import PlaceKind
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import Resident
from specs.timing import route_ends, route_latency_ns, transfer_ns
from specs.units import Nanos
from specs.wishes import Standby


def standbys_start_in_time(facts: Facts) -> Iterator[Violation]:
    """START: each standby has a resident copy that starts in time; residents are on places of their standby, once."""
    standbys = {standby.llm: standby for standby in facts.problem.standbys}
    seen: set[tuple[str, str]] = set()
    for index, resident in enumerate(facts.plan.residents):
        where = f"resident {index}"
        standby = standbys.get(resident.llm)
        if standby is None or resident.place not in standby.places:
            yield Violation("START", where, f"{resident.place} may not keep {resident.llm} for a standby")
        if (resident.llm, resident.place) in seen:
            yield Violation("START", where, f"{resident.place} keeps {resident.llm} twice")
        seen.add((resident.llm, resident.place))
        sentence = _not_a_way(facts, resident)
        if sentence is not None:
            yield Violation("START", where, sentence)
    for standby in facts.problem.standbys:
        yield from _late(facts, standby)


def start_ns(facts: Facts, resident: Resident) -> Nanos:
    """Time from a resident copy into the memory of a device: nothing where it is one."""
    if resident.route is None:
        return Nanos(0)
    route = facts.plan.routes[resident.route]
    rate = min(facts.links[link].bytes_per_second for link in route.links)
    return transfer_ns(facts.llm_bytes(resident.llm), rate, route_latency_ns(facts.links, route))


def _not_a_way(facts: Facts, resident: Resident) -> str | None:
    """Say what is wrong with a resident's route into a device."""
    if resident.route is None:
        if facts.places[resident.place].kind is PlaceKind.DEVICE:
            return None
        return f"{resident.place} is not a device, and no route says how {resident.llm} would get into one"
    source, destination = route_ends(facts.links, facts.plan.routes[resident.route])
    if source != resident.place or facts.places[destination].kind is not PlaceKind.DEVICE:
        return f"its route leads from {source} to {destination}, not from {resident.place} into a device"
    return None


def _late(facts: Facts, standby: Standby) -> Iterator[Violation]:
    mine = [resident for resident in facts.plan.residents if resident.llm == standby.llm]
    if not mine:
        yield Violation("START", f"standby {standby.llm}", "no place keeps a copy of it")
        return
    quickest = min(start_ns(facts, resident) for resident in mine)
    if quickest > standby.start_ns_max:
        sentence = f"its quickest copy starts in {quickest} ns, {standby.start_ns_max} are allowed"
        yield Violation("START", f"standby {standby.llm}", sentence)
