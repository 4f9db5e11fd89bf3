"""What GET /status shows of a node: its plan, what has arrived, what is lacking and why, which pipelines are open."""

from collections.abc import Mapping

from executor.agreement import Agreement
from executor.pipelines.leader import Leader
from executor.run import Run
from specs.protocols.facts import lacks, open_pipelines
from specs.protocols.plan_switch_nouns import PlanName
from specs.protocols.progress import kept_open, progress
from specs.state import Load, RunningNode
from specs.units import Tokens


def state_of(run: Run, generation_max: int) -> RunningNode:
    """Say what a node holds and leads: without a plan, nothing.  A pipeline that drains is not led any more."""
    shell = run.shell
    if shell is None:
        return RunningNode(node=run.node, plan=None, generation_max=generation_max, held=(), leads=())
    state = shell.machine.state
    lasting = open_pipelines(state) - state.draining
    return RunningNode(
        node=run.node,
        plan=PlanName(generation=shell.generation, digest=shell.digest),
        generation_max=generation_max,
        held=tuple(sorted(state.held, key=lambda copy: (copy.place, copy.blob))),
        leads=tuple(
            Load(
                pipeline=name,
                live_requests=leader.live,
                live_tokens=Tokens(leader.live_tokens),
                slots=None if leader.resizing.slots == leader.pipeline.slots else leader.resizing.slots,
            )
            for name, leader in sorted(run.leaders.items())
            if name in lasting
        ),
    )


def status_of(run: Run, agreement: Agreement) -> Mapping[str, object]:
    """Describe a node in strings, integers, lists and mappings."""
    node, shell = run.node, run.shell
    if shell is None:
        return {"node": node, "plan": None, "next": agreement.status()}
    plan, state = shell.machine.plan, shell.machine.state
    lacking = lacks(plan, state)
    opened = open_pipelines(state)
    found = progress(plan, state)
    return {
        "node": node,
        "plan": {
            "digest": shell.digest,
            "generation": shell.verified.plan.generation,
            "problem": shell.verified.plan.problem,
            "cluster": shell.verified.problem.cluster.name,
            "nodes": [each.id for each in shell.verified.problem.cluster.nodes],
        },
        "next": agreement.status(),
        "phase": found.phase,
        "steps": {
            name: {"done": count.done, "given_up": count.given_up, "all": count.all} for name, count in found.kinds
        },
        "blobs": {
            "held": len(state.held),
            "wanted": len(set(plan.held) | set(plan.arrivals)),
            "lacking": [
                {"blob": lack.copy.blob, "place": lack.copy.place, "because": lack.because} for lack in lacking
            ],
        },
        "transfers": {
            "receiving": sorted(state.receiving),
            "sending": sorted(state.sending),
            "arrived": len(state.arrived),
            "arrive": sum(each.receiver == node for each in plan.passages),
            "done": len(state.arrived | state.sent),
            "all": len(plan.passages),
        },
        "lost": {loss.node: loss.reason.value for loss in sorted(state.lost, key=lambda loss: loss.node)},
        "heard_again": run.heard_again,
        "pipelines": {
            "open": sorted(opened),
            "closed": sorted(state.closed),
            "proving": sorted(state.proving - state.proved - state.closed),
            "handing_over": sorted(each.pipeline for each in state.handing if each.pipeline not in state.closed),
            "draining": sorted(state.draining - state.closed),
            "kept_open": list(kept_open(plan, state)),
            "resizing": [name for name, leader in sorted(run.leaders.items()) if leader.resizing.is_under_way],
            "slots": {name: leader.resizing.slots for name, leader in sorted(run.leaders.items()) if name in opened},
        },
        "hand_overs": [
            _hand_over(leader) for _, leader in sorted(run.leaders.items()) if leader.departure.state.current
        ],
        "requests": {
            "running": run.front.running,
            "waiting": run.front.waiting,
            "by_pipeline": {name: count for name, count in sorted(run.front.loads().items()) if count},
            "led_here": {name: leader.live for name, leader in sorted(run.leaders.items()) if leader.live},
        },
        "memory_bytes_used": {place: shell.store.used_bytes(place) for place in shell.store.places},
    }


def _hand_over(leader: Leader) -> Mapping[str, object]:
    """Describe a hand-over under way: KV of so many tokens is not with the successor yet."""
    state = leader.departure.state
    current = state.current
    assert current is not None, "it is under way"
    computed = {each.request: each.computed for each in state.live}
    left = sum(max(0, computed.get(guest.request, 0) - guest.held) for guest in current.guests)
    return {
        "pipeline": current.id.old,
        "successor": current.id.new,
        "phase": current.phase.value,
        "round": current.round,
        "requests": len(current.guests),
        "tokens_left": left,
    }
