"""What came second: of the ways to decide that the planner tried, the chosen one beside the next best."""

from collections.abc import Sequence

import attrs

from planner.explain.explained import Explained, say
from planner.outcome import Tried

# Kinds of decisions that are explained, by how their names begin, and what the planner calls what it tried for them.
_TRIED_FOR = {
    "completion of transfers": "transfers",
    "makespan of transfers": "transfers",
    "pipelines of service": "service",
}


def with_runner_up(each: Explained, tried: Sequence[Tried]) -> Explained:
    """Add the runner-up to a decision, if one was tried and none is known yet."""
    kind = next((kind for begins, kind in _TRIED_FOR.items() if each.decision.startswith(begins)), None)
    # Transfers of all LLMs are put in order together; layouts are of one LLM.
    mine = [one for one in tried if one.decision == kind and (kind == "transfers" or one.subject == each.subject)]
    if each.runner_up is not None or not mine:
        return each
    return attrs.evolve(each, runner_up=in_words(mine))


def in_words(tried: Sequence[Tried]) -> str:
    """Say what was chosen, what came next, and by how much they differ; the chosen one is the first."""
    chosen, *others = tried
    said = f"chosen {_said(chosen)}"
    if not others:
        return f"{said}; no other was tried"
    following = others[0]
    return f"{said}; next best {_said(following)}{_by(chosen.value, following.value)}"


def _said(one: Tried) -> str:
    besides = f" ({one.besides})" if one.besides else ""
    return f"{one.way}: {say(one.value, one.unit)}{besides}"


def _by(chosen: int, other: int) -> str:
    if not chosen or chosen == other:
        return ", equal in this"
    more = "more" if other > chosen else "less"
    return f", {abs(other - chosen) / chosen:.1%} {more}"
