"""Many copies in a pipeline: a batch begins in every step and takes the same way as the batch before it.

The steps of a batch all happen at once, for other batches are in its other steps.  For a broadcast in steps of one
round a batch is a packing of arborescences that share no capacity, one for each of its chunks; a root that can send k
chunks per round to every node has k of them (Edmonds), and by the cut no steady state is quicker.  Copies that fill no
batch, and perhaps a batch more, go with the last one, each on a way of its own, on what the batches leave idle then.
"""

import attrs
from ortools.sat.python import cp_model

from planner.rounds.encoding import Encoding
from planner.rounds.symmetry import identity
from planner.search import Search
from specs.decisions.rounds.answer import Answer, Send, faults
from specs.decisions.rounds.bounds import Unreachable, steps_bound
from specs.decisions.rounds.question import Chunks, Fabric, Question

_GIVEN_UP_MAX = 1  # full batches whose copies go with the last one, each on its own way


@attrs.frozen(kw_only=True)
class Pipeline:
    """A question with many copies of some chunks, and a schedule that the checker has passed."""

    question: Question
    answer: Answer
    batch_steps: int  # from the first send of a batch to its last


@attrs.frozen(kw_only=True)
class Batches:
    """What is to be moved: `copies` of the chunks, so many per batch, in steps of so many rounds."""

    fabric: Fabric
    one_copy: tuple[Chunks, ...]  # one chunk of each kind
    copies: int
    per_batch: int  # at most as many as the copies
    rounds_per_step: int


def pipelined(batches: Batches, search: Search, *, steps_max: int) -> Pipeline | None:
    """Find the schedule of batches that ends first, each batch in `steps_max` steps at most; None: none was found."""
    fewest = steps_bound(Question(fabric=batches.fabric, chunks=batches.one_copy, steps=1, rounds=1))
    if isinstance(fewest, Unreachable):
        return None
    full, left_over = divmod(batches.copies, batches.per_batch)
    # The more copies go once, the fewer batches, of one step each; with none, those left over are a batch of their own.
    choices = [left_over + given_up * batches.per_batch for given_up in range(min(full, _GIVEN_UP_MAX + 1))]
    choices = [*reversed(choices), 0] if left_over else [*reversed(choices)]
    for steps in range(fewest, steps_max + 1):
        for single in choices:
            batch = _batch(batches, single, steps, search)
            if batch is not None:
                return _laid_out(batches, batch, single)
        if search.over():
            break
    return None


def _batch(batches: Batches, single: int, steps: int, search: Search) -> Answer | None:
    """Find a batch of so many steps, whose first copies are repeated and whose last ones go once."""
    count = batches.per_batch + single
    question = Question(
        fabric=batches.fabric,
        chunks=tuple(attrs.evolve(each, count=count) for each in batches.one_copy),
        steps=steps,
        rounds=steps * batches.rounds_per_step,
    )
    encoding = Encoding(
        question,
        (identity(question),),
        division=[batches.rounds_per_step] * steps,
        repeated=batches.per_batch,
    )
    solver, status = search.cp_sat(encoding.model)
    return encoding.decode(solver) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None


def _laid_out(batches: Batches, batch: Answer, single: int) -> Pipeline:
    """Let one batch after the other begin; the copies that go once, with the last full batch."""
    count = batches.per_batch + single
    full = (batches.copies - single) // batches.per_batch
    ends = [0] * count  # when each copy of the batch has arrived everywhere
    for send in batch.sends:
        ends[send.chunk % count] = max(ends[send.chunk % count], send.step)
    # A batch that is not full is of those copies that arrive first.
    place = {offset: place for place, offset in enumerate(sorted(range(batches.per_batch), key=ends.__getitem__))}
    sends = []
    for send in batch.sends:
        kind, offset = divmod(send.chunk, count)
        if offset < batches.per_batch:
            copies = range(place[offset], batches.copies - single, batches.per_batch)
            moves = [(copy // batches.per_batch, copy) for copy in copies]
        else:
            moves = [(full - 1, full * batches.per_batch + offset - batches.per_batch)]
        for begin, copy in moves:
            sends.append(attrs.evolve(send, step=begin + send.step, chunk=kind * batches.copies + copy))
    return _passed(batches, tuple(sorted(sends)), len(batch.rounds))


def _passed(batches: Batches, sends: tuple[Send, ...], batch_steps: int) -> Pipeline:
    steps = 1 + max((send.step for send in sends), default=0)
    question = Question(
        fabric=batches.fabric,
        chunks=tuple(attrs.evolve(each, count=batches.copies) for each in batches.one_copy),
        steps=steps,
        rounds=steps * batches.rounds_per_step,
    )
    answer = Answer(rounds=(batches.rounds_per_step,) * steps, sends=sends)
    wrong = list(faults(question, answer))
    assert not wrong, wrong
    return Pipeline(question=question, answer=answer, batch_steps=batch_steps)
