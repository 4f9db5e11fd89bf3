"""The fewest rounds in so many steps, or why there is no schedule within them."""

from collections.abc import Sequence

import attrs
from ortools.sat.python import cp_model

from planner.rounds.encoding import Encoding
from planner.rounds.proof import strongest_proof
from planner.rounds.symmetry import Symmetry, free_group, identity
from planner.search import Progress, Search
from specs.decisions.rounds.answer import Answer, faults, value
from specs.decisions.rounds.certificate import Certificate, Method
from specs.decisions.rounds.question import Question
from specs.witness import Witness

_SHARE = 0.3  # of what is left of the limits, for an attempt that is not the last


@attrs.frozen(kw_only=True)
class Scheduled:
    """A schedule that the checker has passed, and what is proved about all others of as many steps."""

    answer: Answer
    proof: Certificate
    word: Certificate | None = None  # what only a solver says, when that is more

    @property
    def gap(self) -> int:
        """Rounds between the schedule and what is proved necessary."""
        assert self.proof.rounds is not None  # there is a schedule
        return value(self.answer) - self.proof.rounds


@attrs.frozen(kw_only=True)
class Impossible:
    """No schedule within the steps and rounds."""

    proof: Certificate  # of more rounds than allowed, or by a solver's word


@attrs.frozen(kw_only=True)
class Undecided:
    """No schedule was found and none is excluded."""

    proof: Certificate


Outcome = Scheduled | Impossible | Undecided


def schedule(question: Question, search: Search, known: tuple[Witness, ...] = ()) -> Outcome:
    """Find a schedule of the fewest rounds, within the question's.

    Rounds are tried upwards from what is proved necessary: by one when a solver says that there is no schedule, in
    growing leaps when it does not know, and then between what was tried in vain and the best.  `proof` says what is
    proved, `word` what only the solver says.  `known` are price lists that prove much.
    """
    group = free_group(question)
    proof = strongest_proof(question, group, search, known)
    if proof.rounds is None or proof.rounds > question.rounds:
        return Impossible(proof=proof)
    best: Answer | None = None
    excluded = untried = proof.rounds  # fewer rounds are impossible, so a solver says; fewer were tried in vain
    leap = 1
    while untried <= (last := value(best) - 1 if best else question.rounds) and not search.over():
        rounds = (untried + last) // 2 if best else min(last, untried + leap - 1)
        share = 1.0 if untried == last else _SHARE
        found, status = _attempt(attrs.evolve(question, rounds=rounds), group, search, share)
        if found is not None:
            best = found
            search.tell(Progress(decision="schedule of rounds", value=value(best), bound=proof.rounds))
            continue
        untried = rounds + 1
        if status == cp_model.INFEASIBLE:
            excluded = untried
        else:
            leap *= 2
    if best is not None:
        return Scheduled(answer=best, proof=proof, word=_word(excluded, proof, search))
    if excluded > question.rounds:
        return Impossible(proof=Certificate(rounds=excluded, method=Method.SOLVER, solver=_solver(search)))
    return Undecided(proof=proof)


def _attempt(
    question: Question, group: Sequence[Symmetry], search: Search, share: float
) -> tuple[Answer | None, cp_model.CpSolverStatus]:
    """Look for a schedule: symmetric ones first, for they are quickly found, then any; say what is known of any."""
    for subgroup in (group, (identity(question),)) if len(group) > 1 else (group,):
        if search.over():
            break
        encoding = Encoding(question, subgroup)
        solver, status = search.cp_sat(encoding.model, share=min(share, _SHARE) if len(subgroup) > 1 else share)
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            answer = encoding.decode(solver)
            wrong = list(faults(question, answer))
            assert not wrong, wrong
            return answer, status
        if len(subgroup) == 1:
            return None, status
    return None, cp_model.UNKNOWN


def _word(excluded: int, proof: Certificate, search: Search) -> Certificate | None:
    assert proof.rounds is not None  # a schedule was found
    if excluded <= proof.rounds:
        return None
    return Certificate(rounds=excluded, method=Method.SOLVER, solver=_solver(search))


def _solver(search: Search) -> str:
    return " ".join(search.solvers)
