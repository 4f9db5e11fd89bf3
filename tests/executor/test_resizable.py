"""Where memory cannot be given back, a plan that needs it is declined, and no other."""

import attrs
import pytest
import torch

from executor.errors import FixedKv
from executor.resizable import check_resizable
from specs.plan import Resize
from tests.live_plans import a_growth
from tests.plans import gpu, with_last, with_step

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
KEPT, NEW = f"llm@{gpu(0)}", f"llm@{gpu(1)}"


def changed(how):
    problem, plan = a_growth()
    later = plan.steps[-1].at_ns
    match how:
        case "shrinks":
            plan = with_last(plan, Resize(id=99, pipeline=KEPT, slots=3, at_ns=later))
        case "opens with fewer":
            plan = with_step(plan, -1, slots=2)
        case "ran with fewer":
            problem = attrs.evolve(problem, running=(attrs.evolve(problem.running[0], slots=3),))
            plan = with_last(plan, Resize(id=99, pipeline=KEPT, slots=4, at_ns=later))
    return problem, plan


@pytest.mark.parametrize(
    ("how", "pipeline", "sentence"),
    [
        ("shrinks", KEPT, "llm@n0/gpu0 is to have 3 of its 4 slots for a time, but n0/gpu0 is cuda:0 here"),
        ("opens with fewer", NEW, "llm@n1/gpu0 is to have 2 of its 4 slots"),
        ("ran with fewer", KEPT, "llm@n0/gpu0 is to have 3 of its 4 slots"),
    ],
)
def test_fewer_slots_are_for_memory_that_comes_and_goes(how, pipeline, sentence):
    place = pipeline.partition("@")[2]
    check_resizable(*changed(how), {place: CPU})
    check_resizable(*changed(how), {})  # a node that has no stage of it
    check_resizable(*changed("not"), {place: CUDA})
    with pytest.raises(FixedKv, match=sentence):
        check_resizable(*changed(how), {place: CUDA})
