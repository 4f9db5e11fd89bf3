"""Services on small clusters whose KV takes room and whose contexts take time."""

import attrs

from specs.wishes import Objective, Service
from tests.builders import a_cluster, a_problem, an_llm
from tests.plans import gpu

MEBIBYTE = 2**20


def heavy(layers=8, kv=4096, flops=10**9, layer_bytes=MEBIBYTE):
    """Layers of a MiB; KV of 64 tokens takes 2 MiB; a token takes 0.8 ms."""
    llm = an_llm(layers, layer_bytes=layer_bytes)
    units = tuple(
        attrs.evolve(unit, flops_per_token=flops, kv_bytes_per_token=kv) if unit.kv_bytes_per_token else unit
        for unit in llm.units
    )
    return attrs.evolve(llm, units=units)


def a_service(nodes, *, depth=2, objective=Objective.GOODPUT, memory=12 * MEBIBYTE, size=7, live=4, **changes):
    """Node 0 holds the LLM; these nodes may serve it."""
    cluster = a_cluster(size, memory_bytes=memory)
    base = a_problem(size, 1, llm=heavy(), live_requests_max=live, cluster=cluster)
    service = Service(llm="llm", places=tuple(map(gpu, nodes)), objective=objective, depth_max=depth)
    return attrs.evolve(base, targets=(), services=(service,), **changes)


def places(pipeline):
    return [stage.place for stage in pipeline.stages]
