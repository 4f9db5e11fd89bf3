"""Rule KV: what a pipeline has computed gets to its successor while it goes on computing, in the time that is said."""

from collections import Counter
from collections.abc import Iterator

from specs.handing_over import ROUNDS_MAX, far_pairs, pre_copy
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import HandOver, Pipeline, PipelineId, Switch
from specs.timing import route_ends


def copies_converge(facts: Facts) -> Iterator[Violation]:
    """KV: every hand-over has its paths, room, rounds that converge, and the time that it takes.

    What it asks of its rounds is proved in `specs.handing_over`.  Slots are enough for all old pipelines together.
    Requests that find none free, since the new pipeline has others by then, are computed again, as are those that
    rounds leave behind.
    """
    slots: Counter[PipelineId] = Counter()
    for switch in facts.switches:
        if switch.hand_over is None:
            continue
        old, new = _ends(facts, switch)
        if old.llm != new.llm:
            continue  # rule SERVE
        slots[new.id] += old.slots
        if slots[new.id] > new.slots:
            sentence = f"it has {new.slots} slots; {slots[new.id]} requests may be handed over to it"
            yield Violation("KV", f"pipeline {new.id}", sentence)
        for sentence in _faults(facts, switch, switch.hand_over):
            yield Violation("KV", f"switch {switch.id}", sentence)


def _ends(facts: Facts, switch: Switch) -> tuple[Pipeline, Pipeline]:
    """The old and the new pipeline with the slots that they have at the switch.  What never opens: rule SERVE."""
    old, new = (
        facts.with_slots(pipeline, facts.slots_at(pipeline.id, switch.id))
        for pipeline in (facts.pipelines[switch.old], facts.pipelines[switch.new])
    )
    return old, new


def _faults(facts: Facts, switch: Switch, hand_over: HandOver) -> Iterator[str]:
    old, new = _ends(facts, switch)
    if new.request_tokens_max < old.request_tokens_max:
        found = new.request_tokens_max
        yield f"contexts of {old.id} have up to {old.request_tokens_max} tokens, those of {new.id} up to {found}"
    for pipeline in (old, new):
        opened_ns = facts.opened_ns.get(pipeline.id)
        if opened_ns is None or hand_over.start_ns < opened_ns:
            yield f"at {hand_over.start_ns} ns its first round begins, when pipeline {pipeline.id} is not open yet"
    paths = tuple(_path_faults(facts, hand_over, old, new))
    yield from paths
    if hand_over.rounds_max > ROUNDS_MAX:
        yield f"it allows {hand_over.rounds_max} rounds; what does not converge in {ROUNDS_MAX} never will"
    elif not paths:
        yield from _time_faults(facts, switch, hand_over)


def _path_faults(facts: Facts, hand_over: HandOver, old: Pipeline, new: Pipeline) -> Iterator[str]:
    """Each pair of stages on different devices that share layers has one path, from the one to the other."""
    named = Counter((path.old_stage, path.new_stage) for path in hand_over.paths)
    needed = far_pairs(facts.llms[old.llm], old, new)
    for pair in needed:
        if named[pair] != 1:
            yield f"{named[pair]} paths lead from stage {pair[0]} to stage {pair[1]}, which share layers; one is wanted"
    for pair in sorted(named.keys() - set(needed)):
        yield f"a path leads from stage {pair[0]} to stage {pair[1]}, which have no layers to copy between devices"
    for path in hand_over.paths:
        ends = route_ends(facts.links, facts.plan.routes[path.route])
        places = old.stages[path.old_stage].place, new.stages[path.new_stage].place
        if ends != places:
            yield f"route {path.route} leads from {ends[0]} to {ends[1]}, the KV from {places[0]} to {places[1]}"


def _time_faults(facts: Facts, switch: Switch, hand_over: HandOver) -> Iterator[str]:
    old, new = _ends(facts, switch)
    asked = pre_copy(facts.problem, facts.links, facts.plan.routes, old, new, hand_over.paths)
    pause_ns = asked.pause_ns(hand_over.rest_tokens_max)
    if hand_over.pause_ns < pause_ns:
        yield f"it is to pause requests for {hand_over.pause_ns} ns; the rest and an iteration take {pause_ns}"
    slo = next((slo for slo in facts.problem.slos if slo.llm == old.llm), None)
    beyond_ns = hand_over.pause_ns - asked.iteration_ns
    if slo is not None and slo.pause_ns_max is not None and beyond_ns > slo.pause_ns_max:
        yield f"it pauses requests for {beyond_ns} ns beyond an iteration, {slo.pause_ns_max} are promised"
    rounds = asked.rounds(hand_over.rest_tokens_max, hand_over.rounds_max)
    if rounds is None:
        left = asked.left_tokens(hand_over.rounds_max)[-1]
        yield f"{hand_over.rounds_max} rounds leave {left} tokens, {hand_over.rest_tokens_max} may be left"
        return
    needed_ns = asked.rounds_ns(rounds) + hand_over.pause_ns
    if switch.at_ns - hand_over.start_ns < needed_ns:
        found = switch.at_ns - hand_over.start_ns
        yield f"{found} ns lie between its first round and the switch; {rounds} rounds and the pause take {needed_ns}"
