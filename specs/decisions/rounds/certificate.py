"""A claim that fewer rounds are impossible, with what is needed to derive it again."""

from collections.abc import Iterator
from enum import StrEnum

import attrs

from specs.decisions.rounds.bounds import (
    Unreachable,
    cut_rounds_bound,
    growth_rounds_bound,
    priced_rounds_bound,
    steps_bound,
)
from specs.decisions.rounds.question import Question
from specs.errors import MalformedDocument
from specs.witness import Witness


class Method(StrEnum):
    """How a bound is known, strongest first."""

    CLOSED_FORM = "closed form"  # distance: too few steps whatever the rounds; and growth of the holders
    CUT = "cut"
    DUAL = "dual"  # prices of links in steps
    SOLVER = "solver's word"  # nothing that could be derived again


@attrs.frozen(kw_only=True)
class Certificate:
    """No schedule of the question's steps takes fewer rounds than this."""

    rounds: int | None  # None: no schedule at all, however many rounds
    method: Method
    witnesses: tuple[Witness, ...] = ()  # one cut, or any number of price lists
    solver: str = ""  # whose word it is: name/version


def proved_rounds(question: Question, certificate: Certificate) -> int | Unreachable:
    """Derive what the certificate proves: fewest rounds; for a solver's word no more than one round per step."""
    needed = steps_bound(question)
    if isinstance(needed, Unreachable):
        return needed
    if needed > question.steps:
        return Unreachable(sentence=f"some chunk is {needed} links away from where it is wanted: {needed} steps")
    match certificate.method:
        case Method.CUT:
            (witness,) = certificate.witnesses
            return cut_rounds_bound(question, witness)
        case Method.DUAL:
            return priced_rounds_bound(question, certificate.witnesses)
        case Method.CLOSED_FORM:
            return growth_rounds_bound(question)
        case Method.SOLVER:
            return question.steps


def certificate_faults(question: Question, certificate: Certificate) -> Iterator[str]:
    """Say what is wrong with a certificate: one sentence, or none.  A solver's word has nothing to be checked."""
    if certificate.method is Method.SOLVER:
        if not certificate.solver or certificate.witnesses:
            yield "a solver's word names the solver, and has no witness"
        return
    if certificate.method is Method.CUT and len(certificate.witnesses) != 1:
        yield f"a cut has one witness; there are {len(certificate.witnesses)}"
        return
    try:
        proved = proved_rounds(question, certificate)
    except MalformedDocument as error:
        yield str(error)
        return
    if isinstance(proved, Unreachable):
        return  # more is proved than any number of rounds
    if certificate.rounds is None:
        yield f"it claims that there is no schedule at all; its witness proves {proved} rounds"
    elif certificate.rounds > proved:
        yield f"it claims that {certificate.rounds} rounds are needed; its witness proves {proved}"
