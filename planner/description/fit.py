"""Whether what is held and wanted fits, place by place: rule MEM before any plan is made."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import attrs

from planner.outcome import Conflict
from planner.stages import Sizes
from specs.blobs import packed_bytes
from specs.cluster import Place
from specs.llm import LlmId
from specs.problem import Problem
from specs.units import Bytes


@attrs.frozen(kw_only=True)
class Fit:
    """What one place must hold, and what it has."""

    place: Place
    llms: tuple[str, ...]
    weights_bytes: Bytes
    kv_bytes: Bytes  # where LLMs are wanted: of as many live requests as the workloads allow, each as long as allowed
    workspace_bytes: Bytes  # likewise; a place that only holds an LLM need not serve it

    @property
    def needed_bytes(self) -> Bytes:
        """All together."""
        return Bytes(self.weights_bytes + self.kv_bytes + self.workspace_bytes)

    @property
    def missing_bytes(self) -> int:
        """How much is missing; zero or negative where it fits."""
        return self.needed_bytes - self.place.memory_bytes


def fits(problem: Problem) -> tuple[Fit, ...]:
    """Size every place that holds or is to hold an LLM, in the cluster's order."""
    found = []
    for place in problem.cluster.places:
        held = {holding.llm for holding in problem.holdings if holding.place == place.id}
        wanted = {target.llm for target in problem.targets if target.place == place.id}
        if held or wanted:
            found.append(_fit(problem, place, {llm: _held_bytes(problem, llm, place) for llm in held - wanted}, wanted))
    return tuple(found)


def conflict(fit: Fit) -> Conflict:
    """Say, for a place on which something is missing, what and how much."""
    parts = f"{fit.weights_bytes:,} of weights + {fit.kv_bytes:,} of KV + {fit.workspace_bytes:,} of workspace"
    sentence = (
        f"{' and '.join(fit.llms)} would need {parts} = {fit.needed_bytes:,} bytes; "
        f"{fit.place.id} has {fit.place.memory_bytes:,}: {fit.missing_bytes:,} bytes are missing"
    )
    return Conflict(rule="MEM", where=fit.place.id, sentence=sentence)


def _held_bytes(problem: Problem, llm: LlmId, place: Place) -> Bytes:
    """Size the runs of tensors that a place holds of an LLM, each packed as one blob."""
    described = problem.llm(llm)
    mine = [holding for holding in problem.holdings if (holding.llm, holding.place) == (llm, place.id)]
    ends = [len(described.tensors) if holding.end_tensor is None else holding.end_tensor for holding in mine]
    return Bytes(sum(packed_bytes(described, each.first_tensor, end) for each, end in zip(mine, ends, strict=True)))


def _fit(problem: Problem, place: Place, held: Mapping[LlmId, Bytes], wanted: AbstractSet[LlmId]) -> Fit:
    llms = [llm for llm in problem.llms if llm.id in held or llm.id in wanted]
    stages = [Sizes.of(problem, llm).local(place.id).stages[0] for llm in llms if llm.id in wanted]
    return Fit(
        place=place,
        llms=tuple(llm.id for llm in llms),
        # Packed as one blob: cutting it into several only saves padding.
        weights_bytes=Bytes(
            sum(held[llm.id] if llm.id in held else packed_bytes(llm, 0, len(llm.tensors)) for llm in llms)
        ),
        kv_bytes=Bytes(sum(stage.kv_bytes for stage in stages)),
        workspace_bytes=Bytes(sum(stage.workspace_bytes for stage in stages)),
    )
