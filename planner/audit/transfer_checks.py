"""Checks of transfers: each once, with the right bytes, in the order of its ports, from a memory that held the blob.

Orders within a node are those of its records; no clock is asked.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator

from planner.audit.findings import Case, Check, Differs, Note, Remark
from specs.cluster import LinkId
from specs.journal import TransferEnded, TransferFailed, TransferSent, TransferStarted
from specs.ports import Hop


def reason(case: Case, hop: Hop) -> str:
    """Say why a transfer was not made, as far as the journals tell: the end of a sentence."""
    blamed = case.why.get((hop.transfer.blob, hop.destination)) or case.why.get((hop.transfer.blob, hop.source))
    for node in (hop.destination_node, hop.source_node, blamed):
        if node in case.lost:
            return f"; {node} was lost ({case.lost[node]})"
    if blamed is not None:
        return f"; the chain of causes begins at {blamed}"
    silent = [node for node in (hop.source_node, hop.destination_node) if node and node not in case.trace.nodes]
    return f"; there is no journal of {silent[0]}" if silent else ""


def _name(hop: Hop) -> str:
    return f"transfer {hop.transfer.id}"


def _said(hop: Hop) -> str:
    return f"{hop.transfer.blob} from {hop.source} to {hop.destination}"


def _started_once(case: Case) -> Iterator[Remark]:
    for hop in case.hops:
        started = [each for each in case.trace.steps(TransferStarted, hop.transfer.id) if each.node == hop.source_node]
        failed = case.trace.steps(TransferFailed, hop.transfer.id)
        if not started:
            yield Differs(_name(hop), f"{_said(hop)} was never started{reason(case, hop)}")
        elif len(started) > 1 + len(failed):
            yield Differs(_name(hop), f"{_said(hop)} was started {len(started)} times and failed {len(failed)} times")
        for entry in failed:
            assert isinstance(entry.what, TransferFailed)
            yield Note(_name(hop), f"a try failed at {entry.node}: {entry.what.reason}")


def _sent_once(case: Case) -> Iterator[Remark]:
    for hop in case.hops:
        # A copy within a node has no receiver that could acknowledge it.
        if hop.source_node == hop.destination_node or not case.trace.steps(TransferStarted, hop.transfer.id):
            continue
        sent = [each for each in case.trace.steps(TransferSent, hop.transfer.id) if each.node == hop.source_node]
        if len(sent) != 1:
            times = "was never acknowledged" if not sent else f"was acknowledged {len(sent)} times"
            yield Differs(_name(hop), f"{_said(hop)} {times}{'' if sent else reason(case, hop)}")
        yield from _wrong_bytes(case, hop, [each.what for each in sent])


def _ended_once(case: Case) -> Iterator[Remark]:
    for hop in case.hops:
        copy = (hop.transfer.blob, hop.destination)
        ended = [each for each in case.trace.steps(TransferEnded, hop.transfer.id) if each.node == hop.destination_node]
        if len(ended) != 1:
            times = "never arrived" if not ended else f"arrived {len(ended)} times"
            yield Differs(_name(hop), f"{_said(hop)} {times}{'' if ended else reason(case, hop)}")
        yield from _wrong_bytes(case, hop, [each.what for each in ended])
        held = case.trace.held.get(copy, [])
        if ended and not any(each.node == ended[0].node and each.order > ended[0].order for each in held):
            yield Differs(_name(hop), f"{_said(hop)} arrived, and then {hop.destination} did not hold it")


def _wrong_bytes(case: Case, hop: Hop, whats: list[object]) -> Iterator[Remark]:
    wanted = case.facts.blobs[hop.transfer.blob].bytes
    for what in whats:
        if isinstance(what, TransferSent | TransferEnded) and what.bytes != wanted:
            verb = "sent" if isinstance(what, TransferSent) else "arrived"
            yield Differs(_name(hop), f"{what.bytes:,} bytes of {_said(hop)} {verb}; the blob has {wanted:,}")


def _ports(case: Case, *, send: bool) -> dict[LinkId, list[Hop]]:
    ports: dict[LinkId, list[Hop]] = defaultdict(list)
    for hop in case.hops:
        ports[hop.send_port if send else hop.receive_port].append(hop)
    return ports


def _sent_in_order(case: Case) -> Iterator[Remark]:
    """On a send port, a transfer starts after the ones before it in the plan that were started, and are over."""
    for port, hops in _ports(case, send=True).items():
        runs = []
        for hop in hops:
            over = (TransferSent, TransferFailed) if hop.source_node != hop.destination_node else (TransferEnded,)
            started = [e.order for e in case.trace.steps(TransferStarted, hop.transfer.id) if e.node == hop.source_node]
            ends = [
                e.order for kind in over for e in case.trace.steps(kind, hop.transfer.id) if e.node == hop.source_node
            ]
            if started:
                runs.append((hop, started[0], max(ends, default=started[-1])))
        for (before, first, end), (after, start, _) in itertools.pairwise(runs):
            if start < first:
                yield Differs(port, f"{_name(after)} was started before {_name(before)}, which the plan has first")
            elif start < end:
                yield Differs(port, f"{_name(after)} was started while {_name(before)} was under way")


def _received_in_order(case: Case) -> Iterator[Remark]:
    for port, hops in _ports(case, send=False).items():
        ends = []
        for hop in hops:
            ended = case.trace.steps(TransferEnded, hop.transfer.id)
            ends += [(hop, e.order) for e in ended[:1] if e.node == hop.destination_node]
        for (before, first), (after, second) in itertools.pairwise(ends):
            if second < first:
                yield Differs(port, f"{_name(after)} ended before {_name(before)}, which the plan has first")


def _caused(case: Case) -> Iterator[Remark]:
    for hop in case.hops:
        held = [e.order for e in case.trace.held.get((hop.transfer.blob, hop.source), []) if e.node == hop.source_node]
        for entry in case.trace.steps(TransferStarted, hop.transfer.id):
            if entry.node == hop.source_node and not any(order < entry.order for order in held):
                yield Differs(_name(hop), f"{_said(hop)} was started before {hop.source} held the blob")


def _count(case: Case) -> int:
    return len(case.hops)


def _count_ports(case: Case) -> int:
    return len({hop.send_port for hop in case.hops} | {hop.receive_port for hop in case.hops})


def _order(case: Case) -> Iterator[Remark]:
    yield from _sent_in_order(case)
    yield from _received_in_order(case)


TRANSFER_CHECKS = (
    Check(id="STARTED", sentence="every transfer was started once by its sender", examined=_count, run=_started_once),
    Check(id="SENT", sentence="every transfer was acknowledged once to its sender", examined=_count, run=_sent_once),
    Check(id="ARRIVED", sentence="every transfer ended once, with all its bytes", examined=_count, run=_ended_once),
    Check(id="ORDER", sentence="on each port, one after another as planned", examined=_count_ports, run=_order),
    Check(id="CAUSE", sentence="nothing was sent before it was held", examined=_count, run=_caused),
)
