"""What a profile says of drafting, and the question that a plan's speculation table answers."""

import attrs

from specs import fields
from specs.decisions.speculation.lengths import Acceptance, LengthQuestion, Load, ServiceClass, SpeculationTable
from specs.llm import LlmId
from specs.units import INTEGER_MAX, Nanos, Tokens
from specs.workload import Slo


@attrs.frozen(kw_only=True)
class Drafting:
    """Measured times and acceptance of one LLM with its draft model."""

    llm: LlmId = fields.name()
    length_max: Tokens = fields.natural()
    loads: tuple[Load, ...]
    acceptances: tuple[Acceptance, ...]
    source: str  # machine, date and command


@attrs.frozen(kw_only=True)
class Speculation:
    """How many tokens to draft for requests of one LLM: a table that fronts look up."""

    llm: LlmId = fields.name()
    table: SpeculationTable


def length_question(drafting: Drafting, slo: Slo | None) -> LengthQuestion:
    """Ask for the best length in every bucket, under the SLO's TPOT where there is one.

    Nobody shall wait longer for the next tokens than for the first: TTFT limits the pause.
    Raises InvalidProblem when the profile contradicts itself.
    """
    limit = Nanos(INTEGER_MAX)
    return LengthQuestion(
        length_max=drafting.length_max,
        classes=(
            ServiceClass(
                name=drafting.llm,
                tpot_ns_max=limit if slo is None else slo.tpot_ns_max,
                pause_ns_max=limit if slo is None else slo.ttft_ns_max,
            ),
        ),
        loads=drafting.loads,
        acceptances=drafting.acceptances,
    )
