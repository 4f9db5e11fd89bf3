"""What is wrong with a mix, and what it achieves.  Plain loops over its phases."""

from collections.abc import Iterator

from specs.decisions.mix.question import HOUR_NS, Mix, MixQuestion, Objective, Phase, Unit, UnitCount


def weights(question: MixQuestion, objective: Objective) -> dict[str, tuple[int, int, int]]:
    """For each unit: what one that is up in the end, one start and one stop add to the objective."""
    if objective is Objective.DEVICES:
        return {unit.name: (sum(part.count for part in unit.devices), 0, 0) for unit in question.units}
    if objective is Objective.CHANGES:
        return {unit.name: (0, 1, 1) for unit in question.units}
    return {unit.name: (question.hours * unit.cost, unit.start_cost, unit.stop_cost) for unit in question.units}


def final_counts(question: MixQuestion, mix: Mix) -> dict[str, int]:
    """How many units of each shape are up after the last phase; the mix must name known units only."""
    counts = {unit.name: unit.running for unit in question.units}
    for phase in mix.phases:
        for sign, moves in ((1, phase.starts), (-1, phase.stops)):
            for move in moves:
                counts[move.unit] += sign * move.count
    return counts


def value(question: MixQuestion, mix: Mix, objective: Objective | None = None) -> int:
    """Work out one of the objectives (the question's own unless another is named) of a mix without faults."""
    of = weights(question, question.objective if objective is None else objective)
    total = sum(of[name][0] * count for name, count in final_counts(question, mix).items())
    for phase in mix.phases:
        total += sum(of[move.unit][1] * move.count for move in phase.starts)
        total += sum(of[move.unit][2] * move.count for move in phase.stops)
    return total


def faults(question: MixQuestion, mix: Mix) -> Iterator[str]:
    """Every way in which the mix does not answer the question, one sentence each."""
    if not mix.phases:
        yield "the mix has no phase; 1 that changes nothing is the least"
        return
    if len(mix.phases) > question.phases_max:
        yield f"the mix has {len(mix.phases)} phases, {question.phases_max} are allowed"
    named = tuple(_naming(question, mix))
    yield from named
    if named:
        return
    up = {unit.name: unit.running for unit in question.units}
    for index, phase in enumerate(mix.phases):
        where = f"phase {index}"
        for move in phase.starts:
            up[move.unit] += move.count
        yield from _devices_suffice(question, where, up)
        for move in phase.stops:
            if move.count > up[move.unit]:
                yield f"{where} stops {move.count} of unit {move.unit}, {up[move.unit]} are up"
            up[move.unit] = max(0, up[move.unit] - move.count)
        last = index + 1 == len(mix.phases)
        yield from load_is_served(question, where, phase, up, last=last)
    limits = ((question.changes_max, Objective.CHANGES), (question.cost_max, Objective.COST))
    for limit, objective in limits:
        reached = value(question, mix, objective)
        if limit is not None and reached > limit:
            yield f"{objective} of the mix are {reached}, {limit} are allowed"


def _naming(question: MixQuestion, mix: Mix) -> Iterator[str]:
    units = {unit.name: unit for unit in question.units}
    for index, phase in enumerate(mix.phases):
        where = f"phase {index}"
        for what, moves in (("starts", phase.starts), ("stops", phase.stops)):
            yield from _moves_are_of_units(f"{where} {what}", moves, units)
        seen: set[tuple[str, int]] = set()
        for flow in phase.flows:
            if flow.unit not in units:
                yield f"{where} gives load to unit {flow.unit}, which is not in the question"
            elif flow.ability >= len(units[flow.unit].abilities):
                yield f"{where} gives load to ability {flow.ability} of unit {flow.unit}, which it has not"
            if (flow.unit, flow.ability) in seen:
                yield f"{where} gives load to ability {flow.ability} of unit {flow.unit} twice"
            seen.add((flow.unit, flow.ability))


def _moves_are_of_units(where: str, moves: tuple[UnitCount, ...], units: dict[str, Unit]) -> Iterator[str]:
    seen: set[str] = set()
    for move in moves:
        if move.unit not in units:
            yield f"{where} unit {move.unit}, which is not in the question"
        if move.unit in seen:
            yield f"{where} unit {move.unit} twice"
        seen.add(move.unit)


def _devices_suffice(question: MixQuestion, where: str, up: dict[str, int]) -> Iterator[str]:
    used = {supply.kind: 0 for supply in question.supplies}
    for unit in question.units:
        for part in unit.devices:
            used[part.kind] += part.count * up[unit.name]
    for supply in question.supplies:
        if used[supply.kind] > supply.available:
            held = used[supply.kind]
            yield f"{where} needs {held} devices of kind {supply.kind} before it stops any, it has {supply.available}"


def load_is_served(question: MixQuestion, where: str, phase: Phase, up: dict[str, int], *, last: bool) -> Iterator[str]:
    """No unit does more than it has time for, and every demand gets what it must.

    Unit u:  sum over its flows of requests * request_ns  <=  units up * HOUR_NS * period_hours.
    Demand d:  sum of the flows that cover d  >=  (the whole demand after the last phase, else the floor) * period_hours
    """
    busy_ns = dict.fromkeys(up, 0)
    served = {demand.name: 0 for demand in question.demands}
    units = {unit.name: unit for unit in question.units}
    for flow in phase.flows:
        ability = units[flow.unit].abilities[flow.ability]
        busy_ns[flow.unit] += flow.requests * ability.request_ns
        for name in ability.covers:
            served[name] += flow.requests
    for name, busy in busy_ns.items():
        if busy > up[name] * HOUR_NS * phase.period_hours:
            yield f"{where} gives {up[name]} of unit {name} more load than they have time for"
    for demand in question.demands:
        wanted = (demand.requests_per_hour if last else demand.floor_per_hour) * phase.period_hours
        if served[demand.name] < wanted:
            what = "demand" if last else "the floor of demand"
            short = wanted - served[demand.name]
            yield f"{where} leaves {what} {demand.name} {short} requests in {phase.period_hours} hours short"
