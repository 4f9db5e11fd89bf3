"""Rule UNDO: wherever a plan stops, what was served goes on being served."""

from collections.abc import Iterator

from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import Activate, Switch


def every_prefix_serves(facts: Facts) -> Iterator[Violation]:
    """UNDO: by the order of steps, each switch leads from an open pipeline to an open one.

    So after every prefix of the steps every LLM that was served is served: a pipeline closes only by a switch, to
    another one of its LLM (rule SERVE) that is open after that switch as it was before.  And whatever is open after a
    prefix has its blobs: by the order, they arrive before it opens (rule EARLY) and are given up after the switch that
    closes it (rule LAST).  A plan whose next step fails has left its LLMs with pipelines that serve.
    """
    is_open = dict.fromkeys(facts.running, True)
    steps: list[Activate | Switch] = [*facts.activations.values(), *facts.switches]
    for step in sorted(steps, key=lambda step: step.id):
        match step:
            case Activate():
                is_open[step.pipeline] = True
            case Switch():
                for pipeline in (step.old, step.new):
                    if not is_open.get(pipeline, False):
                        why = "is closed by a step before it" if pipeline in is_open else "is not open by then"
                        yield Violation("UNDO", f"switch {step.id}", f"pipeline {pipeline} {why} in the plan")
                is_open[step.old] = False
