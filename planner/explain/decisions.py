"""Why a plan is as it is: for each of its decisions what binds, the runner-up, and what more of a resource would buy.

Each kind of decision is one function of the plan's facts; decisions that a plan does not have are left out.  All but
the runners-up is worked out from the verified plan, so that a plan read from a file is explained like one just made.
"""

from collections.abc import Callable, Iterator, Sequence

import attrs

from planner.explain.explained import Explained, LeftOut
from planner.explain.of_pipelines import pipelines
from planner.explain.of_promises import promises
from planner.explain.of_services import services
from planner.explain.of_speculation import speculation
from planner.explain.of_standbys import others
from planner.explain.of_transfers import blocks, transfers
from planner.explain.runner_up import with_runner_up
from planner.outcome import Tried
from specs.checker import VerifiedPlan
from specs.invariants.facts import Facts

Kind = Callable[[Facts], Iterator[Explained | LeftOut]]

KINDS: tuple[Kind, ...] = (transfers, blocks, services, pipelines, promises, speculation, others)


@attrs.frozen(kw_only=True)
class Explanation:
    """All decisions of a plan, in the order of `KINDS`, and those that would take long."""

    decisions: tuple[Explained, ...]
    left_out: tuple[LeftOut, ...]


def explain(verified: VerifiedPlan, tried: Sequence[Tried] = ()) -> Explanation:
    """Explain a plan; seconds for a hundred nodes, and what would take longer is named instead.  Never changes it.

    `tried` is what the planner tried when it made the plan (`Planned.tried`); without it runners-up are fewer.
    """
    facts = Facts(verified.problem, verified.plan)
    found = [each for kind in KINDS for each in kind(facts)]
    return Explanation(
        decisions=tuple(with_runner_up(each, tried) for each in found if isinstance(each, Explained)),
        left_out=tuple(each for each in found if isinstance(each, LeftOut)),
    )
