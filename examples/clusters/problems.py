"""Problems on the example clusters, with LLMs known by their shape alone: to plan and to look at, not to run.

A description names a checkpoint and every figure of its LLM is read there.  Here the figures come from the published
configurations, and the digests stand for bytes that nobody has.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import attrs

from planner.description.reading import read_cluster
from specs.cluster import Cluster, PlaceId, PlaceKind
from specs.llm import Llm, LlmId, Tensor, Unit
from specs.problem import Holding, Problem, Target
from specs.profile import Profile
from specs.units import Bytes, Flops, Tokens
from specs.workload import Workload

FOLDER = Path(__file__).parent
_BF16_BYTES = 2


@attrs.frozen(kw_only=True)
class Shape:
    """A dense decoder with grouped-query attention and a gated MLP, in BF16, its head untied."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int  # width of the MLP
    vocabulary: int


LLAMA_8B = Shape(
    name="llama-8b", layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, inner=14336, vocabulary=128256
)
QWEN_32B = Shape(
    name="qwen-32b", layers=64, hidden=5120, heads=40, kv_heads=8, head_dim=128, inner=27648, vocabulary=152064
)
LLAMA_70B = Shape(
    name="llama-70b", layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128, inner=28672, vocabulary=128256
)
# 64 layers, each in a blob of its own, and of a size that 24 GB hold.
EVEN_64 = Shape(
    name="even-64", layers=64, hidden=4096, heads=32, kv_heads=8, head_dim=128, inner=6144, vocabulary=32000
)


@attrs.frozen(kw_only=True)
class Example:
    """A cluster's file, an LLM, and which devices hold it and want it: by the last part of their names."""

    llm: Shape
    holders: tuple[str, ...]  # places
    devices: tuple[str, ...] = ("gpu0",)  # of every node; those that hold it want nothing
    blocks: int | None = None  # embedding and head may be two of them; absent: the planner chooses


EXAMPLES: dict[str, Example] = {
    "nvlink-island": Example(
        llm=LLAMA_8B, holders=("n0/gpu0",), devices=tuple(f"gpu{index}" for index in range(4)), blocks=16
    ),
    "two-racks": Example(llm=QWEN_32B, holders=("a1/gpu0",), blocks=32),
    "mixed-l4-a10": Example(llm=LLAMA_8B, holders=("store/cpu0",), blocks=18),
    "unequal-nics": Example(llm=LLAMA_8B, holders=("a1/gpu0",), blocks=32),
    "rails-b200": Example(
        llm=LLAMA_70B,
        holders=tuple(f"n00/gpu{index}" for index in range(8)),
        devices=tuple(f"gpu{index}" for index in range(8)),
        blocks=42,
    ),
    "hgx-h100": Example(llm=LLAMA_8B, holders=("hgx0/gpu0",), blocks=32),
    "four-kinds": Example(llm=LLAMA_8B, holders=("a1/gpu0",), blocks=32),
    "thousand": Example(llm=EVEN_64, holders=("source/gpu0",), blocks=66),
}


def make_llm(shape: Shape) -> Llm:
    """Make an LLM of a shape; operations are counted as `planner.description.checkpoint` counts them."""
    attention, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    matrices = {
        "q": (attention, shape.hidden),
        "k": (kv, shape.hidden),
        "v": (kv, shape.hidden),
        "o": (shape.hidden, attention),
        "gate": (shape.inner, shape.hidden),
        "up": (shape.inner, shape.hidden),
        "down": (shape.hidden, shape.inner),
    }
    vocabulary = (shape.vocabulary, shape.hidden)
    tensors = [_tensor(shape, "embed", vocabulary)]
    units = [
        Unit(tensors=(0,), flops_per_token=Flops(0), flops_per_token_of_context=Flops(0), kv_bytes_per_token=Bytes(0))
    ]
    for layer in range(shape.layers):
        first = len(tensors)
        tensors += [_tensor(shape, f"layers.{layer}.{name}", size) for name, size in matrices.items()]
        tensors += [_tensor(shape, f"layers.{layer}.norm{index}", (shape.hidden,)) for index in (1, 2)]
        units.append(
            Unit(
                tensors=tuple(range(first, len(tensors))),
                flops_per_token=Flops(sum(2 * rows * columns for rows, columns in matrices.values())),
                flops_per_token_of_context=Flops(4 * attention),
                kv_bytes_per_token=Bytes(2 * kv * _BF16_BYTES),
            )
        )
    tensors += [_tensor(shape, "norm", (shape.hidden,)), _tensor(shape, "head", vocabulary)]
    units.append(
        Unit(
            tensors=(len(tensors) - 2, len(tensors) - 1),
            flops_per_token=Flops(2 * shape.vocabulary * shape.hidden),
            flops_per_token_of_context=Flops(0),
            kv_bytes_per_token=Bytes(0),
        )
    )
    return Llm(
        id=LlmId(shape.name),
        architecture="LlamaForCausalLM",
        dtype="BF16",
        hidden_bytes_per_token=Bytes(shape.hidden * _BF16_BYTES),
        vocabulary_size=shape.vocabulary,
        context_tokens=Tokens(8192),
        tensors=tuple(tensors),
        units=tuple(units),
        files=(),
    )


def _tensor(shape: Shape, name: str, size: tuple[int, ...]) -> Tensor:
    count = size[0] if len(size) == 1 else size[0] * size[1]
    digest = hashlib.sha256(f"{shape.name}/{name}".encode()).hexdigest()
    return Tensor(name=name, dtype="BF16", shape=size, bytes=Bytes(count * _BF16_BYTES), digest=digest)


def example(name: str, nodes: int | None = None) -> Problem:
    """Make the problem on one of the clusters, on its first `nodes` nodes or on all.

    Raises KeyError for a name that is not among EXAMPLES.
    """
    chosen = EXAMPLES[name]
    cluster = read_cluster(FOLDER / f"{name}.yaml")
    if nodes is not None:
        cluster = first_nodes(cluster, nodes)
    return make_problem(name, cluster, make_llm(chosen.llm), chosen.holders, chosen.devices)


def make_problem(
    name: str, cluster: Cluster, llm: Llm, holders: Sequence[str], devices: Sequence[str], live: int = 8
) -> Problem:
    """Say that some places hold the LLM and all other devices of these names want it; requests have 2,048 tokens."""
    wanted = [
        place.id
        for place in cluster.places
        if place.kind is PlaceKind.DEVICE and place.id.partition("/")[2] in devices and place.id not in holders
    ]
    return Problem(
        name=name,
        cluster=cluster,
        llms=(llm,),
        workloads=(
            Workload(
                llm=llm.id,
                requests_per_hour=36_000,
                prompt_tokens_mean=Tokens(512),
                output_tokens_mean=Tokens(256),
                request_tokens_max=Tokens(2048),
                live_requests_max=live,
            ),
        ),
        slos=(),
        profile=Profile(rates=()),
        holdings=tuple(Holding(llm=llm.id, place=PlaceId(place)) for place in holders),
        targets=tuple(Target(llm=llm.id, place=place) for place in wanted),
    )


def first_nodes(cluster: Cluster, count: int) -> Cluster:
    """Keep the first nodes of a cluster, all switches of its network, and the links among these."""
    nodes = cluster.nodes[:count]
    kept = {node.id for node in nodes}
    places = tuple(place for place in cluster.places if place.node is None or place.node in kept)
    ends = {place.id for place in places}
    kinds = {place.device for place in places}
    return Cluster(
        name=cluster.name,
        device_kinds=tuple(kind for kind in cluster.device_kinds if kind.name in kinds),
        nodes=nodes,
        places=places,
        links=tuple(link for link in cluster.links if link.source in ends and link.destination in ends),
    )
