"""Rule SIZE: when a pipeline's slots may change."""

from collections.abc import Iterator
from itertools import pairwise

from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import Resize, Switch


def sizes_change_in_order(facts: Facts) -> Iterator[Violation]:
    """SIZE: a pipeline is resized while it is open, and neither closes nor hands over or takes over KV meanwhile.

    Daemons begin a resize once its pipeline is open, its resizes before are done, and the switches to it that stand
    before it; a switch waits for the resizes of both its pipelines that stand before it.  So by the plan's order no
    resize goes with a hand-over; by the plan's times it must not either.
    """
    for name, resizes in facts.resizes.items():
        for before, step in pairwise(resizes):
            if step.at_ns < before.at_ns:
                sentence = f"it is done at {step.at_ns} ns, resize {before.id} before it at {before.at_ns}"
                yield Violation("SIZE", f"resize {step.id}", sentence)
        for step in resizes:
            yield from _too_early(facts, step)
            for switch in facts.switches:
                if name in (switch.old, switch.new):
                    yield from _beside(step, switch)


def _too_early(facts: Facts, step: Resize) -> Iterator[Violation]:
    where = f"resize {step.id}"
    opened_ns, activation = facts.opened_ns.get(step.pipeline), facts.activations.get(step.pipeline)
    if opened_ns is None or opened_ns > step.at_ns:
        yield Violation("SIZE", where, f"pipeline {step.pipeline} is not open yet at {step.at_ns} ns")
    elif activation is not None and activation.id > step.id:
        sentence = f"it stands before step {activation.id}, which opens pipeline {step.pipeline}"
        yield Violation("SIZE", where, sentence)


def _beside(step: Resize, switch: Switch) -> Iterator[Violation]:
    """Before a switch a resize is done when the hand-over begins, after it the switch is done; what closed stays so."""
    where = f"resize {step.id}"
    begins_ns = switch.at_ns if switch.hand_over is None else switch.hand_over.start_ns
    if step.id < switch.id:
        if step.at_ns > begins_ns:
            sentence = f"it is done at {step.at_ns} ns; switch {switch.id} after it in the plan begins at {begins_ns}"
            yield Violation("SIZE", where, sentence)
    elif step.pipeline == switch.old:
        yield Violation("SIZE", where, f"pipeline {step.pipeline} is closed by switch {switch.id} before it")
    elif step.at_ns < switch.at_ns:
        sentence = f"it is done at {step.at_ns} ns; switch {switch.id} before it in the plan at {switch.at_ns}"
        yield Violation("SIZE", where, sentence)
