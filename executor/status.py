"""What GET /status shows of a node: its plan, what has arrived, what is lacking and why, which pipelines are open."""

from collections.abc import Mapping

from executor.run import Run
from specs.cluster import NodeId
from specs.protocols.facts import is_settled, lacks, open_pipelines


def status_of(node: NodeId, run: Run) -> Mapping[str, object]:
    """Describe a node in strings, integers, lists and mappings."""
    shell = run.shell
    if shell is None:
        return {"node": node, "plan": None}
    plan, state = shell.machine.plan, shell.machine.state
    lacking = lacks(plan, state)
    opened = open_pipelines(state)
    return {
        "node": node,
        "plan": {
            "digest": shell.digest,
            "generation": shell.verified.plan.generation,
            "problem": shell.verified.plan.problem,
        },
        "phase": _phase(settled=is_settled(plan, state), lacking=bool(lacking)),
        "blobs": {
            "held": len(state.held),
            "wanted": len(set(plan.held) | set(plan.arrivals)),
            "lacking": [
                {"blob": lack.copy.blob, "place": lack.copy.place, "because": lack.because} for lack in lacking
            ],
        },
        "transfers": {"receiving": sorted(state.receiving), "sending": sorted(state.sending)},
        "lost": {loss.node: loss.reason.value for loss in sorted(state.lost, key=lambda loss: loss.node)},
        "pipelines": {"open": sorted(opened), "closed": sorted(state.closed)},
        "requests": {
            "running": run.front.running,
            "waiting": run.front.waiting,
            "by_pipeline": {name: count for name, count in sorted(run.front.loads().items()) if count},
            "led_here": {name: leader.live for name, leader in sorted(run.leaders.items()) if leader.live},
        },
        "memory_bytes_used": {place: shell.store.used_bytes(place) for place in shell.store.places},
    }


def _phase(*, settled: bool, lacking: bool) -> str:
    if not settled:
        return "transferring"
    return "incomplete" if lacking else "complete"
