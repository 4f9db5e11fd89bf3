"""The answer: sends and the rounds of each step; and everything that can be wrong with it."""

from collections import Counter
from collections.abc import Iterator

import attrs

from specs import fields
from specs.decisions.rounds.question import Node, Question


@attrs.frozen(kw_only=True, order=True)
class Send:
    """One chunk over one link in one step."""

    step: int = fields.natural()  # from 0; the destination can send the chunk on from step + 1
    source: Node = fields.natural()
    destination: Node = fields.natural()
    chunk: int = fields.natural()  # numbered as the question says


@attrs.frozen(kw_only=True)
class Answer:
    """A schedule."""

    rounds: tuple[int, ...]  # of each step
    sends: tuple[Send, ...]  # ascending


def value(answer: Answer) -> int:
    """Rounds that the schedule takes."""
    return sum(answer.rounds)


def faults(question: Question, answer: Answer) -> Iterator[str]:
    """Say everything that is wrong with an answer, one sentence each.

    Nothing at all means: the steps are as many as asked for and the rounds within what is allowed; every chunk is sent
    by who holds it over a link that there is, arrives nowhere twice and in the end everywhere it is wanted; and no link
    or shared capacity carries more than its chunks per round times the rounds of the step.
    """
    yield from _length_faults(question, answer)
    known = []
    for send in answer.sends:
        if send.step >= len(answer.rounds):
            yield f"{_named(send)}: the schedule has {len(answer.rounds)} steps, from 0"
        elif send.chunk >= len(question.kind_of):
            yield f"{_named(send)}: there are {len(question.kind_of)} chunks, from 0"
        elif (send.source, send.destination) not in question.fabric.by_ends:
            yield f"{_named(send)}: there is no link {send.source}>{send.destination}"
        else:
            known.append(send)
    yield from _movement_faults(question, known)
    yield from _load_faults(question, answer, known)


def _length_faults(question: Question, answer: Answer) -> Iterator[str]:
    if len(answer.rounds) != question.steps:
        yield f"the schedule has {len(answer.rounds)} steps; {question.steps} are asked for"
    if sum(answer.rounds) > question.rounds:
        yield f"the schedule takes {sum(answer.rounds)} rounds; {question.rounds} are allowed"
    for step, rounds in enumerate(answer.rounds):
        if rounds < 1:
            yield f"step {step} lasts {rounds} rounds; a step lasts at least 1"


def _movement_faults(question: Question, sends: list[Send]) -> Iterator[str]:
    """Follow every chunk; `sends` name only chunks and links that there are."""
    # From which step on a node holds a chunk.
    held_from = {(chunk, node): 0 for chunk, kind in enumerate(question.kind_of) for node in kind.held_by}
    for send in sorted(sends):
        since = held_from.get((send.chunk, send.source))
        if since is None or since > send.step:
            yield f"{_named(send)}: node {send.source} does not hold the chunk then"
        if (send.chunk, send.destination) in held_from:
            yield f"{_named(send)}: node {send.destination} holds the chunk already or receives it twice"
        else:
            held_from[send.chunk, send.destination] = send.step + 1
    for chunk, kind in enumerate(question.kind_of):
        for node in kind.wanted_at:
            if (chunk, node) not in held_from:
                yield f"chunk {chunk} never arrives at node {node}, where it is wanted"


def _load_faults(question: Question, answer: Answer, sends: list[Send]) -> Iterator[str]:
    load = Counter((send.step, (send.source, send.destination)) for send in sends)
    for carrier in question.fabric.carriers:
        for step, rounds in enumerate(answer.rounds):
            carried = sum(load[step, ends] for ends in carrier.links)
            limit = carrier.chunks_per_round * rounds
            if carried > limit:
                yield f"{carrier.name} carries {carried} chunks in step {step}; its limit in {rounds} rounds is {limit}"


def _named(send: Send) -> str:
    return f"chunk {send.chunk} over {send.source}>{send.destination} in step {send.step}"
