"""Whether what is held and wanted fits, place by place: rule MEM before any plan is made."""

import attrs

from planner.outcome import Conflict
from planner.stages import Sizes
from specs.blobs import packed_bytes
from specs.cluster import Place, PlaceKind
from specs.problem import Holding, Problem, Target
from specs.units import Bytes


@attrs.frozen(kw_only=True)
class Fit:
    """What one place must hold, and what it has."""

    place: Place
    llms: tuple[str, ...]
    weights_bytes: Bytes
    kv_bytes: Bytes  # of as many live requests as the workloads allow, each as long as allowed
    workspace_bytes: Bytes

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
    wishes: dict[str, set[str]] = {}
    named: list[Holding | Target] = [*problem.holdings, *problem.targets]
    for wish in named:
        wishes.setdefault(wish.place, set()).add(wish.llm)
    return tuple(_fit(problem, place, wishes[place.id]) for place in problem.cluster.places if place.id in wishes)


def conflict(fit: Fit) -> Conflict:
    """Say, for a place on which something is missing, what and how much."""
    parts = f"{fit.weights_bytes:,} of weights + {fit.kv_bytes:,} of KV + {fit.workspace_bytes:,} of workspace"
    sentence = (
        f"{' and '.join(fit.llms)} would need {parts} = {fit.needed_bytes:,} bytes; "
        f"{fit.place.id} has {fit.place.memory_bytes:,}: {fit.missing_bytes:,} bytes are missing"
    )
    return Conflict(rule="MEM", where=fit.place.id, sentence=sentence)


def _fit(problem: Problem, place: Place, wanted: set[str]) -> Fit:
    llms = [llm for llm in problem.llms if llm.id in wanted]
    stages = [Sizes.of(problem, llm).local(place.id).stages[0] for llm in llms]
    computes = place.kind is PlaceKind.DEVICE
    return Fit(
        place=place,
        llms=tuple(llm.id for llm in llms),
        # Packed as one blob: cutting it into several only saves padding.
        weights_bytes=Bytes(sum(packed_bytes(llm, 0, len(llm.tensors)) for llm in llms)),
        kv_bytes=Bytes(sum(stage.kv_bytes for stage in stages) if computes else 0),
        workspace_bytes=Bytes(sum(stage.workspace_bytes for stage in stages) if computes else 0),
    )
