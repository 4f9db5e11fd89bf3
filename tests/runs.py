"""Journals of runs that never were: a plan carried out to the nanosecond, and changes to it."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import attrs

from planner.audit.journals import NodeJournal
from specs import codec
from specs.invariants.facts import Facts
from specs.journal import (
    Adopted,
    BlobHeld,
    Closed,
    FirstToken,
    Opened,
    Proved,
    Record,
    Released,
    StageBuilt,
    StageFreed,
    TransferEnded,
    TransferSent,
    TransferStarted,
    What,
    write_line,
)
from specs.plan import Activate, Plan, Release, Switch
from specs.problem import Problem
from specs.protocols.nouns import Ending

BEGIN_UNIX_NS = 1_700_000_000_000_000_000

Run = dict[str, list[tuple[int, What]]]  # of each node: instants and what happened, in order


def exact_run(problem: Problem, plan: Plan) -> Run:
    """Everything happens when the plan says, on every node."""
    facts = Facts(problem, plan)
    node_of = {place.id: place.node for place in problem.cluster.places}
    adopted = Adopted(plan=codec.digest(plan), problem=codec.digest(problem))
    # At one instant, causes come before effects.
    entries = [(0, 0, node.id, adopted) for node in problem.cluster.nodes]
    entries += [(0, 1, node_of[place], BlobHeld(blob=blob, place=place)) for blob, place in facts.held_at_start]
    for hop in facts.hops:
        move, size = hop.transfer, facts.blobs[hop.transfer.blob].bytes
        took = move.end_ns - move.start_ns
        entries += [
            (move.start_ns, 9, hop.source_node, TransferStarted(step=move.id)),
            (move.end_ns, 0, hop.destination_node, TransferEnded(step=move.id, elapsed_ns=took, bytes=size)),
            (move.end_ns, 1, hop.destination_node, BlobHeld(blob=move.blob, place=hop.destination)),
            (move.end_ns, 2, hop.source_node, TransferSent(step=move.id, elapsed_ns=took, bytes=size)),
        ]
    for step in plan.steps:
        match step:
            case Activate(pipeline=pipeline, at_ns=at):
                nodes = _members(facts, pipeline)
                entries += [(at, 3, node, StageBuilt(pipeline=pipeline)) for node in nodes]
                entries += [
                    (at, 4, nodes[0], Proved(pipeline=pipeline, right=True)),
                    (at, 5, nodes[0], Opened(pipeline=pipeline)),
                    (at, 6, nodes[0], FirstToken(pipeline=pipeline, waited_ns=1)),
                ]
            case Switch(old=old, new=new, at_ns=at):
                nodes = _members(facts, old)
                entries.append((at, 7, nodes[0], Closed(pipeline=old, ending=Ending.SUPERSEDED, successor=new)))
                entries += [(at, 8, node, StageFreed(pipeline=old)) for node in nodes]
            case Release(place=place, at_ns=at):
                entries.append((at, 9, node_of[place], Released(step=step.id)))
    run: Run = defaultdict(list)
    for at, _, node, what in sorted(entries, key=lambda entry: entry[:2]):
        run[node].append((at, what))
    return dict(run)


def _members(facts: Facts, pipeline: str) -> list[str]:
    return list(dict.fromkeys(facts.places[stage.place].node for stage in facts.pipelines[pipeline].stages))


def journals_of(run: Run, *, generation: int = 1) -> tuple[NodeJournal, ...]:
    return tuple(
        NodeJournal(
            file=f"{node}.jsonl",
            node=node,
            records=tuple(
                Record(sequence=order, at_unix_ns=BEGIN_UNIX_NS + at, node=node, generation=generation, what=what)
                for order, (at, what) in enumerate(entries)
            ),
        )
        for node, entries in run.items()
    )


def write_journals(run: Run, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for journal in journals_of(run):
        text = "".join(write_line(record) + "\n" for record in journal.records)
        (directory / journal.file).write_text(text, encoding="utf-8")
    return directory


def without(run: Run, unwanted: Callable[[What], bool]) -> Run:
    return {node: [entry for entry in entries if not unwanted(entry[1])] for node, entries in run.items()}


def changed(run: Run, change: Callable[[What], What]) -> Run:
    return {node: [(at, change(what)) for at, what in entries] for node, entries in run.items()}


def later(run: Run, node: str, by_ns: int) -> Run:
    """The run as written by a node whose clock is ahead."""
    return run | {node: [(at + by_ns, what) for at, what in run[node]]}


def moved(run: Run, node: str, what: Callable[[What], bool], to: int) -> Run:
    """The run with the first such record of a node put elsewhere in its journal, at the instant of its neighbour."""
    entries = list(run[node])
    index = next(index for index, entry in enumerate(entries) if what(entry[1]))
    _, moving = entries.pop(index)
    entries.insert(to if to >= 0 else len(entries) + 1 + to, (entries[min(to, len(entries) - 1)][0], moving))
    return run | {node: entries}


def with_record(run: Run, node: str, what: What, at_ns: int = 0) -> Run:
    return run | {node: [*run[node], (at_ns, what)]}


def only(kind: type[What], **fields: object) -> Callable[[What], bool]:
    """Tell records of this kind with these fields."""
    return lambda what: isinstance(what, kind) and all(getattr(what, name) == value for name, value in fields.items())


def evolved(match: Callable[[What], bool], **fields: object) -> Callable[[What], What]:
    return lambda what: attrs.evolve(what, **fields) if match(what) else what
