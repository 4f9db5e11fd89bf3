from tests.hash_seeds import printed

PROGRAM = """
import attrs
from planner.layouts.search import lay_out
from planner.layouts.spans import place_spans
from planner.search import Search
from specs.decisions.layout.values import Objective
from tests.layouts import limited, question
from tests.specs.decisions.test_layout_spans import question as machines

large = question(groups=tuple(attrs.evolve(group, devices=20) for group in question().groups))
print(lay_out(question(), Objective.TPOT, Search()))
print(lay_out(large, Objective.GOODPUT, Search()))
running = lay_out(question(), Objective.TPOT, Search()).answer.replicas
print(lay_out(limited(question(running=running), moved_units=2), Objective.GOODPUT, Search()))
asked = machines(layers=6, rates=((90, 50, 30), (90, 50, 30), (40, 20), (70, 40, 35, 10), (20,)))
print(place_spans(asked, Search()))
print(place_spans(attrs.evolve(asked, links=asked.links[::2]), Search()))
"""


def test_two_processes_give_the_same_bytes():
    assert printed(PROGRAM).count(b"Layout(") == 5
