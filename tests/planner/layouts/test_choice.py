"""The choice of whole pipelines."""

from random import Random

import attrs
import pytest

from planner.layouts.choice import best_whole, whole
from planner.search import Search
from specs.decisions.layout.answer import Replica
from specs.decisions.layout.exhausted import Option
from specs.decisions.layout.values import Objective
from tests.layouts import limited, question

GROUPS = tuple(attrs.evolve(group, devices=count) for group, count in zip(question().groups, (12, 16), strict=True))


def many_options(seed: int, count: int = 100) -> list[Option]:
    chance = Random(seed)
    found = []
    for _ in range(count):
        quick, slow = chance.randint(0, 5), chance.randint(1, 6)
        rate = quick * chance.randint(900, 1100) + slow * chance.randint(300, 400)
        replica = Replica(stages=(), batch=1, in_flight=1, weight=1)
        found.append(
            Option(counts=(quick, slow), rate_millitokens_per_second=rate, tpot_ns=rate, ttft_ns=0, replica=replica)
        )
    return found


@pytest.mark.parametrize("objective", [Objective.GOODPUT, Objective.COST, Objective.DEVICES])
@pytest.mark.parametrize("seed", range(4))
def test_few_options_first_is_as_good_as_all(objective, seed):
    asked = limited(question(groups=GROUPS), demand_millitokens_per_second=9_000)
    options = many_options(seed)

    def worth(chosen):
        assert chosen is not None
        each = {
            Objective.GOODPUT: lambda o: o.rate_millitokens_per_second,
            Objective.COST: lambda o: 3 * o.counts[0] + o.counts[1],
            Objective.DEVICES: lambda o: sum(o.counts),
        }[objective]
        assert sum(o.rate_millitokens_per_second * n for o, n in zip(options, chosen, strict=True)) >= 9_000
        return sum(each(option) * n for option, n in zip(options, chosen, strict=True))

    best = worth(whole(asked, options, objective, Search()))
    assert worth(best_whole(asked, options, objective, Search())) == best
    # A bound that is reached ends the search with as good a choice.
    assert worth(best_whole(asked, options, objective, Search(), best)) == best
