"""Small changes of plans: most spoil them, some do not."""

from collections.abc import Callable, Sequence
from random import Random

import attrs

from specs.blobs import packed_bytes
from specs.certificates import FORMULAS
from specs.plan import (
    Activate,
    Claim,
    Continuity,
    Measure,
    Method,
    Pipeline,
    Plan,
    Release,
    Resize,
    RoutingWeight,
    Stage,
    Step,
    Switch,
    Transfer,
)
from specs.problem import Problem
from specs.witness import Price

Mutation = Callable[[Random, Problem, Plan], Plan]


def _numbered(steps: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(attrs.evolve(step, id=index) for index, step in enumerate(steps))


def _nudge(dice: Random, value: int) -> int:
    """A number near, or not so near; never below zero."""
    by = dice.choice([1, 1, 2, 1000, value // 3 + 1])
    return max(0, value + by * dice.choice([-1, 1]))


def _replaced(row: tuple, index: int, value: object) -> tuple:
    return (*row[:index], value, *row[index + 1 :])


def _step(dice: Random, plan: Plan, kind: type) -> int | None:
    return dice.choice([index for index, step in enumerate(plan.steps) if isinstance(step, kind)] or [None])


def _changed(plan: Plan, index: int | None, **changes: object) -> Plan:
    if index is None:
        return plan
    return attrs.evolve(plan, steps=_replaced(plan.steps, index, attrs.evolve(plan.steps[index], **changes)))


def drop_step(dice: Random, _: Problem, plan: Plan) -> Plan:
    index = dice.randrange(len(plan.steps))
    steps = plan.steps[:index] + plan.steps[index + 1 :]
    return attrs.evolve(plan, steps=steps if dice.random() < 0.5 else _numbered(steps))


def repeat_step(dice: Random, _: Problem, plan: Plan) -> Plan:
    steps = list(plan.steps)
    steps.insert(dice.randrange(len(steps) + 1), dice.choice(steps))
    return attrs.evolve(plan, steps=_numbered(steps))


def send_again(dice: Random, _: Problem, plan: Plan) -> Plan:
    """Append a transfer that is over already, after everything else."""
    index = _step(dice, plan, Transfer)
    if index is None:
        return plan
    step = plan.steps[index]
    end = max(each.end_ns for each in plan.steps if isinstance(each, Transfer)) + dice.choice([0, 10**6])
    again = attrs.evolve(step, start_ns=end, end_ns=end + step.end_ns - step.start_ns)
    return attrs.evolve(plan, steps=_numbered((*plan.steps, again)))


def exchange_steps(dice: Random, _: Problem, plan: Plan) -> Plan:
    steps = list(plan.steps)
    first = dice.randrange(len(steps))
    second = dice.choice([dice.randrange(len(steps)), min(first + 1, len(steps) - 1)])
    steps[first], steps[second] = steps[second], steps[first]
    return attrs.evolve(plan, steps=tuple(steps) if dice.random() < 0.1 else _numbered(steps))


def shuffle_steps(dice: Random, _: Problem, plan: Plan) -> Plan:
    return attrs.evolve(plan, steps=_numbered(dice.sample(plan.steps, len(plan.steps))))


def retime_transfer(dice: Random, _: Problem, plan: Plan) -> Plan:
    index = _step(dice, plan, Transfer)
    if index is None:
        return plan
    step = plan.steps[index]
    start, end = step.start_ns, step.end_ns
    which = dice.randrange(3)
    if which == 0:
        shifted = _nudge(dice, start)
        return _changed(plan, index, start_ns=shifted, end_ns=end + shifted - start)
    return (
        _changed(plan, index, start_ns=_nudge(dice, start))
        if which == 1
        else _changed(plan, index, end_ns=_nudge(dice, end))
    )


def retime_instant(dice: Random, _: Problem, plan: Plan) -> Plan:
    index = _step(dice, plan, dice.choice([Activate, Switch, Release]))
    return plan if index is None else _changed(plan, index, at_ns=_nudge(dice, plan.steps[index].at_ns))


def _later(step: Step, since: int, by: int) -> Step:
    """Push a step that begins at some instant or afterwards."""
    if isinstance(step, Transfer):
        pushed = step.start_ns >= since
        return attrs.evolve(step, start_ns=step.start_ns + by, end_ns=step.end_ns + by) if pushed else step
    if isinstance(step, Switch) and step.hand_over is not None and step.hand_over.start_ns >= since:
        step = attrs.evolve(step, hand_over=attrs.evolve(step.hand_over, start_ns=step.hand_over.start_ns + by))
    return attrs.evolve(step, at_ns=step.at_ns + by) if step.at_ns >= since else step


def delay_the_rest(dice: Random, _: Problem, plan: Plan) -> Plan:
    """Push everything that happens from some instant on."""
    begins = [step.start_ns if isinstance(step, Transfer) else step.at_ns for step in plan.steps]
    since, by = dice.choice(begins) + dice.choice([0, 1]), dice.choice([1, 1000, 10**6])
    return attrs.evolve(plan, steps=tuple(_later(step, since, by) for step in plan.steps))


def reroute(dice: Random, problem: Problem, plan: Plan) -> Plan:
    if dice.random() < 0.5:
        return _changed(plan, _step(dice, plan, Transfer), route=dice.randrange(len(plan.routes) + 1))
    index = dice.randrange(len(plan.routes))
    links = plan.routes[index].links
    place = dice.randrange(len(links))
    other = dice.choice([*problem.cluster.links]).id
    links = dice.choice(
        [_replaced(links, place, other), links[:place] + links[place + 1 :], (*links, other), links[::-1]]
    )
    return attrs.evolve(plan, routes=_replaced(plan.routes, index, attrs.evolve(plan.routes[index], links=links)))


def change_rate(dice: Random, _: Problem, plan: Plan) -> Plan:
    index = _step(dice, plan, Transfer)
    if index is None:
        return plan
    rate = max(
        1, dice.choice([_nudge(dice, plan.steps[index].bytes_per_second), plan.steps[index].bytes_per_second * 2])
    )
    return _changed(plan, index, bytes_per_second=rate)


def other_blob(dice: Random, _: Problem, plan: Plan) -> Plan:
    return _changed(plan, _step(dice, plan, dice.choice([Transfer, Release])), blob=dice.choice(plan.blobs).id)


def exchange_blobs(dice: Random, _: Problem, plan: Plan) -> Plan:
    first, second = _step(dice, plan, Transfer), _step(dice, plan, Transfer)
    if first is None or second is None:
        return plan
    mine, theirs = plan.steps[first].blob, plan.steps[second].blob
    return _changed(_changed(plan, first, blob=theirs), second, blob=mine)


def exchange_blobs_everywhere(dice: Random, _: Problem, plan: Plan) -> Plan:
    """Two blobs trade places in every step: harmless where they are as large and as needed as each other."""
    first, second = dice.choice(plan.blobs).id, dice.choice(plan.blobs).id
    other = {first: second, second: first}

    def traded(step: Step) -> Step:
        if isinstance(step, Transfer | Release):
            return attrs.evolve(step, blob=other.get(step.blob, step.blob))
        return step

    return attrs.evolve(plan, steps=tuple(traded(step) for step in plan.steps))


def add_release(dice: Random, problem: Problem, plan: Plan) -> Plan:
    instants = [step.end_ns for step in plan.steps if isinstance(step, Transfer)] or [0]
    at_ns = dice.choice([max(instants), max(instants), dice.choice(instants)]) + dice.choice([0, 1, 10**6])
    place = dice.choice([place.id for place in problem.cluster.places])
    holders = [holding.place for holding in problem.holdings]
    place = dice.choice([place, *holders])
    step = Release(id=0, blob=dice.choice(plan.blobs).id, place=place, at_ns=at_ns)
    where = dice.choice([len(plan.steps), dice.randrange(len(plan.steps) + 1)])
    return attrs.evolve(plan, steps=_numbered((*plan.steps[:where], step, *plan.steps[where:])))


def change_blob(dice: Random, problem: Problem, plan: Plan) -> Plan:
    index = dice.randrange(len(plan.blobs))
    blob = plan.blobs[index]
    which = dice.randrange(4)
    if which == 0:
        changed = attrs.evolve(blob, bytes=max(1, _nudge(dice, blob.bytes)))
        return attrs.evolve(plan, blobs=_replaced(plan.blobs, index, changed))
    if which == 1:
        return attrs.evolve(
            plan, blobs=dice.choice([plan.blobs[:index] + plan.blobs[index + 1 :], (*plan.blobs, blob)])
        )
    border = dice.randrange(len(problem.llm(blob.llm).tensors) + 1)
    following = plan.blobs[(index + 1) % len(plan.blobs)]
    if which == 2 and following.llm == blob.llm and blob.first_tensor < border < following.end_tensor:
        llm = problem.llm(blob.llm)
        left = attrs.evolve(blob, end_tensor=border, bytes=packed_bytes(llm, blob.first_tensor, border))
        size = packed_bytes(llm, border, following.end_tensor)
        right = attrs.evolve(following, first_tensor=border, bytes=size)
        moved = _replaced(_replaced(plan.blobs, index, left), (index + 1) % len(plan.blobs), right)
        return attrs.evolve(plan, blobs=moved)
    changed = (
        attrs.evolve(blob, first_tensor=border) if border < blob.end_tensor else attrs.evolve(blob, end_tensor=border)
    )
    return attrs.evolve(plan, blobs=_replaced(plan.blobs, index, changed))


def _with_stage(dice: Random, plan: Plan, change: Callable[[Stage, Pipeline], Stage]) -> Plan:
    index = dice.randrange(len(plan.pipelines))
    pipeline = plan.pipelines[index]
    place = dice.randrange(len(pipeline.stages))
    stages = _replaced(pipeline.stages, place, change(pipeline.stages[place], pipeline))
    return attrs.evolve(plan, pipelines=_replaced(plan.pipelines, index, attrs.evolve(pipeline, stages=stages)))


def move_stage_border(dice: Random, _: Problem, plan: Plan) -> Plan:
    def change(stage: Stage, _: Pipeline) -> Stage:
        if dice.random() < 0.5:
            return attrs.evolve(stage, first_unit=_nudge(dice, stage.first_unit))
        return attrs.evolve(stage, end_unit=max(1, _nudge(dice, stage.end_unit)))

    return _with_stage(dice, plan, change)


def split_stage(dice: Random, _: Problem, plan: Plan) -> Plan:
    """Cut a stage in two on the same place: harmless as long as no unit is left out or repeated."""
    index = dice.randrange(len(plan.pipelines))
    pipeline = plan.pipelines[index]
    stage = pipeline.stages[-1]
    border = dice.randint(min(stage.first_unit, stage.end_unit), stage.end_unit)
    if border == 0:
        return plan
    halves = (
        attrs.evolve(stage, end_unit=border),
        attrs.evolve(stage, first_unit=max(0, border + dice.choice([0, 0, -1, 1]))),
    )
    changed = attrs.evolve(pipeline, stages=(*pipeline.stages[:-1], *halves))
    return attrs.evolve(plan, pipelines=_replaced(plan.pipelines, index, changed))


def move_stage(dice: Random, problem: Problem, plan: Plan) -> Plan:
    places = [place.id for place in problem.cluster.places]
    return _with_stage(dice, plan, lambda stage, _: attrs.evolve(stage, place=dice.choice(places)))


def change_reserve(dice: Random, _: Problem, plan: Plan) -> Plan:
    def change(stage: Stage, _: Pipeline) -> Stage:
        if dice.random() < 0.5:
            return attrs.evolve(stage, kv_bytes=_nudge(dice, stage.kv_bytes))
        return attrs.evolve(stage, workspace_bytes=_nudge(dice, stage.workspace_bytes))

    return _with_stage(dice, plan, change)


def change_limits(dice: Random, _: Problem, plan: Plan) -> Plan:
    index = dice.randrange(len(plan.pipelines))
    pipeline = plan.pipelines[index]
    field = dice.choice(["slots", "request_tokens_max", "iteration_tokens_max"])
    changed = attrs.evolve(pipeline, **{field: max(1, _nudge(dice, getattr(pipeline, field)))})
    return attrs.evolve(plan, pipelines=_replaced(plan.pipelines, index, changed))


def take_slots(dice: Random, _: Problem, plan: Plan) -> Plan:
    """Fewer requests at once: nothing is overbooked, but less is computed in the end."""
    index = dice.randrange(len(plan.pipelines))
    pipeline = plan.pipelines[index]
    changed = attrs.evolve(pipeline, slots=dice.randint(1, pipeline.slots))
    return attrs.evolve(plan, pipelines=_replaced(plan.pipelines, index, changed))


def change_slots(dice: Random, problem: Problem, plan: Plan) -> Plan:
    """A pipeline opens with other slots, or is resized in another way, at another time or once more."""
    names = [*(row.pipeline.id for row in problem.running), *(pipeline.id for pipeline in plan.pipelines)]
    if dice.random() < 0.3:
        return _changed(plan, _step(dice, plan, Activate), slots=dice.randint(1, 5))
    index = _step(dice, plan, Resize)
    if index is not None and dice.random() < 0.5:
        step = plan.steps[index]
        if dice.random() < 0.5:
            return _changed(plan, index, at_ns=_nudge(dice, step.at_ns))
        return _changed(plan, index, slots=dice.randint(1, 5))
    at_ns = dice.choice([0, *(step.at_ns for step in plan.steps if not isinstance(step, Transfer))])
    step = Resize(id=0, pipeline=dice.choice(names), slots=dice.randint(1, 4), at_ns=at_ns + dice.choice([0, 1]))
    index = dice.randint(0, len(plan.steps))
    return attrs.evolve(plan, steps=_numbered([*plan.steps[:index], step, *plan.steps[index:]]))


def change_certificate(dice: Random, _: Problem, plan: Plan) -> Plan:
    index = dice.randrange(len(plan.certificates))
    row = plan.certificates[index]
    changes = {
        "value": _nudge(dice, row.value),
        "bound": dice.choice([_nudge(dice, row.bound), row.value, 0]),
        "measure": dice.choice(list(Measure)),
        "claim": dice.choice(list(Claim)),
        "method": dice.choice(list(Method)),
        "formula": dice.choice([*(each.formula for each in plan.certificates), *FORMULAS]),
        "subject": dice.choice([each.subject for each in plan.certificates]),
    }
    field = dice.choice(sorted(changes))
    changed = attrs.evolve(row, **{field: changes[field]})
    return attrs.evolve(plan, certificates=_replaced(plan.certificates, index, changed))


def bound_by_witness(dice: Random, problem: Problem, plan: Plan) -> Plan:
    """Claim a completion or first cover by a cut or by prices, of things that are there or not, high or low."""
    rows = [index for index, row in enumerate(plan.certificates) if row.measure is Measure.NANOS]
    rows = [index for index in rows if plan.certificates[index].claim in {Claim.COMPLETION, Claim.FIRST_COVER}]
    if not rows:
        return plan
    index = dice.choice(rows)
    row = plan.certificates[index]
    cuts = "cut-ns" if row.claim is Claim.COMPLETION else "cut-cover-ns"
    formula, things = dice.choice([(cuts, problem.cluster.places), ("link-prices-ns", problem.cluster.links)])
    names = [each.id for each in dice.sample(things, dice.randrange(min(4, len(things)) + 1))]
    names = sorted({*names, *dice.choice([[], [], ["nowhere"]])})
    if dice.random() < 0.1:
        names.append(dice.choice([*names, "a"]))
    changed = attrs.evolve(
        row,
        formula=formula,
        method=FORMULAS[formula].method,
        witness=tuple(Price(name=name, amount=dice.choice([0, 1, 1, 7, 10**12])) for name in names),
        bound=dice.choice([0, 1, row.bound, row.value // 2, row.value]),
    )
    return attrs.evolve(plan, certificates=_replaced(plan.certificates, index, changed))


def drop_certificate(dice: Random, _: Problem, plan: Plan) -> Plan:
    kept = dice.sample(plan.certificates, dice.randrange(len(plan.certificates)))
    index = dice.randrange(len(plan.certificates))
    one_less = plan.certificates[:index] + plan.certificates[index + 1 :]
    return attrs.evolve(plan, certificates=dice.choice([tuple(kept), one_less]))


def _any_pipeline(dice: Random, problem: Problem, plan: Plan) -> str:
    return dice.choice([*(each.pipeline for each in problem.running), *plan.pipelines]).id


def change_switch(dice: Random, problem: Problem, plan: Plan) -> Plan:
    index = _step(dice, plan, Switch)
    if dice.random() < 0.2:
        return _changed(plan, index, continuity=dice.choice(list(Continuity)))
    return _changed(plan, index, **{dice.choice(["old", "new"]): _any_pipeline(dice, problem, plan)})


def change_hand_over(dice: Random, _: Problem, plan: Plan) -> Plan:
    """KV is copied at another rate or time, in other rounds, on other paths, or not at all."""
    copies = [index for index, step in enumerate(plan.steps) if isinstance(step, Switch) and step.hand_over is not None]
    if not copies:
        return plan
    index = dice.choice(copies)
    found = plan.steps[index].hand_over
    field = dice.choice(["start_ns", "rounds_max", "rest_tokens_max", "copy_tokens_min", "pause_ns", "path", "paths"])
    if field == "path" and found.paths:
        place = dice.randrange(len(found.paths))
        which = dice.choice(["old_stage", "new_stage", "route", "bytes_per_second", "bytes_per_second"])
        value = max(int(which == "bytes_per_second"), _nudge(dice, getattr(found.paths[place], which)))
        paths = _replaced(found.paths, place, attrs.evolve(found.paths[place], **{which: value}))
    elif field in {"path", "paths"}:
        paths = dice.choice([(), found.paths[1:], found.paths * 2])
    else:
        value = max(1, _nudge(dice, getattr(found, field)))
        return _changed(plan, index, hand_over=attrs.evolve(found, **{field: value}))
    return _changed(plan, index, hand_over=dice.choice([attrs.evolve(found, paths=paths)] * 9 + [None]))


def add_switch(dice: Random, problem: Problem, plan: Plan) -> Plan:
    old, new = _any_pipeline(dice, problem, plan), _any_pipeline(dice, problem, plan)
    last = max((step.at_ns for step in plan.steps if isinstance(step, Activate)), default=0)
    step = Switch(id=0, old=old, new=new, continuity="drain", at_ns=last + dice.choice([0, 1]))
    return attrs.evolve(plan, steps=_numbered((*plan.steps, step)))


def change_routing(dice: Random, _: Problem, plan: Plan) -> Plan:
    index = dice.randrange(len(plan.routing))
    row = plan.routing[index]
    return attrs.evolve(
        plan,
        routing=dice.choice(
            [
                plan.routing[:index] + plan.routing[index + 1 :],
                (*plan.routing, row),
                _replaced(plan.routing, index, attrs.evolve(row, weight=dice.randint(1, 9))),
                _replaced(plan.routing, index, RoutingWeight(pipeline="nobody", weight=1)),
            ]
        ),
    )


def change_resident(dice: Random, problem: Problem, plan: Plan) -> Plan:
    """A copy that stands by is kept elsewhere, starts by another way, is kept twice or not at all."""
    if not plan.residents:
        return plan
    index = dice.randrange(len(plan.residents))
    row = plan.residents[index]
    rows = [
        (*plan.residents, row),
        plan.residents[:index] + plan.residents[index + 1 :],
        _replaced(plan.residents, index, attrs.evolve(row, place=dice.choice(problem.cluster.places).id)),
        _replaced(plan.residents, index, attrs.evolve(row, route=dice.choice([None, *range(len(plan.routes))]))),
    ]
    return attrs.evolve(plan, residents=dice.choice(rows))


def change_table(dice: Random, _: Problem, plan: Plan) -> Plan:
    """A table of speculation says something else, is there twice or not at all."""
    index = dice.randrange(len(plan.speculations)) if plan.speculations else None
    if index is None or not plan.speculations[index].table.rows:
        return plan
    each = plan.speculations[index]
    rows = each.table.rows
    place = dice.randrange(len(rows))
    row = rows[place]
    changed = dice.choice(
        [
            (*rows, row),
            rows[:place] + rows[place + 1 :],
            _replaced(rows, place, attrs.evolve(row, met=not row.met)),
            _replaced(rows, place, attrs.evolve(row, length=row.length + 1)),
            _replaced(rows, place, attrs.evolve(row, batch_max=max(1, _nudge(dice, row.batch_max)))),
        ]
    )
    other = attrs.evolve(each, table=attrs.evolve(each.table, rows=changed))
    given = [_replaced(plan.speculations, index, other), plan.speculations[:index] + plan.speculations[index + 1 :]]
    return attrs.evolve(plan, speculations=dice.choice(given))


def change_frame(dice: Random, _: Problem, plan: Plan) -> Plan:
    field, value = dice.choice(
        [
            ("format", 2),
            ("problem", "0" * 64),
            ("parent", "0" * 64),
            ("parent", "me"),
            ("generation", plan.generation + 1),
        ]
    )
    return attrs.evolve(plan, **{field: value})


MUTATIONS: tuple[Mutation, ...] = (
    drop_step,
    repeat_step,
    send_again,
    exchange_steps,
    shuffle_steps,
    retime_transfer,
    retime_instant,
    delay_the_rest,
    reroute,
    change_rate,
    other_blob,
    exchange_blobs,
    exchange_blobs_everywhere,
    add_release,
    change_blob,
    move_stage_border,
    split_stage,
    move_stage,
    change_reserve,
    change_limits,
    take_slots,
    change_slots,
    change_certificate,
    bound_by_witness,
    drop_certificate,
    change_switch,
    change_hand_over,
    add_switch,
    change_routing,
    change_resident,
    change_table,
    change_frame,
)
