"""Small, readable problems: one function per shape."""

import hashlib

from specs.cluster import Cluster, DeviceKind, Link, Node, Place, PlaceKind
from specs.llm import Llm, Tensor, Unit
from specs.problem import Holding, Problem, Target
from specs.profile import Profile
from specs.workload import Workload

GIGABYTE = 10**9
TOY = DeviceKind(
    name="toy",
    memory_bytes=80 * GIGABYTE,
    memory_bytes_per_second=1000 * GIGABYTE,
    flops_per_second_fp32=10**13,
    flops_per_second_bf16=10**14,
    source="made up",
)


def a_digest(text: str) -> str:
    """64 hexadecimal digits that stand for some content."""
    return hashlib.sha256(text.encode()).hexdigest()


def an_llm(layers: int = 8, *, layer_bytes: int = 64 * 1000, tied: bool = False, name: str = "llm") -> Llm:
    """An LLM of `layers` equal layers; the embedding and the head are small."""

    def tensor(tensor_name: str, size: int) -> Tensor:
        return Tensor(name=tensor_name, dtype="F32", shape=(size // 4,), bytes=size, digest=a_digest(tensor_name))

    embed, norm, head = tensor("embed", 1024), tensor("norm", 64), tensor("lm_head", 1024)
    body = [tensor(f"layers.{index}", layer_bytes) for index in range(layers)]
    tensors = (embed, norm, *body) if tied else (embed, *body, norm, head)
    first_layer = 2 if tied else 1
    head_tensors = (0, 1) if tied else (layers + 1, layers + 2)

    def unit(needs: tuple[int, ...], flops: int, kv: int) -> Unit:
        return Unit(tensors=needs, flops_per_token=flops, flops_per_token_of_context=kv, kv_bytes_per_token=kv)

    return Llm(
        id=name,
        architecture="ToyForCausalLM",
        dtype="F32",
        hidden_bytes_per_token=256,
        vocabulary_size=64,
        context_tokens=128,
        tensors=tensors,
        units=(
            unit((0,), 0, 0),
            *(unit((first_layer + index,), layer_bytes // 2, 128) for index in range(layers)),
            unit(head_tensors, 512, 0),
        ),
        files=(),
    )


def a_cluster(
    nodes: int, *, rate: int = GIGABYTE, latency_ns: int = 1000, memory_bytes: int = 80 * GIGABYTE
) -> Cluster:
    """Nodes n0, n1, ... with one device and one NIC each, on one switch without a bottleneck."""
    places = [Place(id="leaf", kind=PlaceKind.SWITCH, memory_bytes=0)]
    links = []
    for index in range(nodes):
        node, device, nic = f"n{index}", f"n{index}/gpu0", f"n{index}/nic0"
        places.append(Place(id=device, kind=PlaceKind.DEVICE, node=node, memory_bytes=memory_bytes, device="toy"))
        places.append(Place(id=nic, kind=PlaceKind.SWITCH, node=node, memory_bytes=0))
        for source, destination, speed, latency in (
            (device, nic, 2 * rate, 0),
            (nic, "leaf", rate, latency_ns),
            ("leaf", nic, rate, 0),
            (nic, device, 2 * rate, 0),
        ):
            links.append(
                Link(
                    id=f"{source}>{destination}",
                    source=source,
                    destination=destination,
                    bytes_per_second=speed,
                    latency_ns=latency,
                )
            )
    return Cluster(
        name="toys",
        device_kinds=(TOY,),
        nodes=tuple(Node(id=f"n{index}", address=f"127.0.0.1:{7100 + index}") for index in range(nodes)),
        places=tuple(places),
        links=tuple(links),
    )


def a_problem(
    nodes: int = 5,
    sources: int = 1,
    *,
    llm: Llm | None = None,
    cluster: Cluster | None = None,
    live_requests_max: int = 4,
) -> Problem:
    """The first `sources` nodes hold the LLM, all others want it."""
    llm = llm or an_llm()
    return Problem(
        name="toy-problem",
        cluster=cluster or a_cluster(nodes),
        llms=(llm,),
        workloads=(
            Workload(
                llm=llm.id,
                requests_per_hour=3600,
                prompt_tokens_mean=16,
                output_tokens_mean=16,
                request_tokens_max=64,
                live_requests_max=live_requests_max,
            ),
        ),
        slos=(),
        profile=Profile(rates=()),
        holdings=tuple(Holding(llm=llm.id, place=f"n{index}/gpu0") for index in range(sources)),
        targets=tuple(Target(llm=llm.id, place=f"n{index}/gpu0") for index in range(sources, nodes)),
    )
