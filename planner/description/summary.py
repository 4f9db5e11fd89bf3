"""A problem in a few figures, as plain JSON values: exact integers, with units in the names."""

from planner.description.fit import Fit
from planner.description.node_groups import group_nodes
from specs.cluster import PlaceKind
from specs.codec import digest
from specs.llm import Llm
from specs.problem import Holding, Problem


def summarise(problem: Problem, found: tuple[Fit, ...]) -> dict[str, object]:
    """Summarise a problem and how it fits; `problem` in the result is the digest that plans name."""
    cluster = problem.cluster
    devices = [place for place in cluster.places if place.kind is PlaceKind.DEVICE]
    return {
        "name": problem.name,
        "problem": digest(problem),
        "cluster": {
            "name": cluster.name,
            "nodes": len(cluster.nodes),
            "devices": len(devices),
            "device_memory_bytes": sum(place.memory_bytes for place in devices),
            "places": len(cluster.places),
            "links": len(cluster.links),
            "groups": [
                {"nodes": list(group.nodes), "rack": group.rack, "places": [place.name for place in group.places]}
                for group in group_nodes(problem)
            ],
        },
        "llms": [_llm(llm) for llm in problem.llms],
        "held": [_held(held) for held in problem.holdings],
        "wanted": [{"llm": target.llm, "place": target.place} for target in problem.targets],
        "services": [
            {
                "llm": each.llm,
                "places": list(each.places),
                "objective": each.objective.value,
                "depth_max": each.depth_max,
                "moves_max": each.moves_max,
            }
            for each in problem.services
        ],
        "standbys": [
            {"llm": each.llm, "places": list(each.places), "start_ns_max": each.start_ns_max}
            for each in problem.standbys
        ],
        "fits": [
            {
                "place": fit.place.id,
                "llms": list(fit.llms),
                "weights_bytes": fit.weights_bytes,
                "kv_bytes": fit.kv_bytes,
                "workspace_bytes": fit.workspace_bytes,
                "memory_bytes": fit.place.memory_bytes,
                "missing_bytes": max(0, fit.missing_bytes),
            }
            for fit in found
        ],
    }


def _held(held: Holding) -> dict[str, object]:
    whole: dict[str, object] = {"llm": held.llm, "place": held.place}
    return whole if held.whole else {**whole, "first_tensor": held.first_tensor, "end_tensor": held.end_tensor}


def _llm(llm: Llm) -> dict[str, object]:
    return {
        "id": llm.id,
        "architecture": llm.architecture,
        "dtype": llm.dtype,
        "layers": llm.layers,
        "tensors": len(llm.tensors),
        "weights_bytes": sum(tensor.bytes for tensor in llm.tensors),
        "kv_bytes_per_token": sum(unit.kv_bytes_per_token for unit in llm.units),
        "flops_per_token": sum(unit.flops_per_token for unit in llm.units),
        "flops_per_token_of_context": sum(unit.flops_per_token_of_context for unit in llm.units),
        "context_tokens": llm.context_tokens,
        "vocabulary_size": llm.vocabulary_size,
        "tied": bool(set(llm.units[0].tensors) & set(llm.units[-1].tensors)),
        "files": [file.name for file in llm.files],
    }
