"""Speculation tables: for every class of requests, load and acceptance, how many tokens to draft.

In one pass a draft LLM proposes k tokens one after the other and the LLM verifies them at once; k = 0 is decoding
without speculation.  A drafted token counts only if all before it were accepted, and each pass gives one token more
from the LLM itself.  So with a_j the chance that the j-th token is accepted when those before it were, a pass gives
each request

    E(k) = 1 + a_1 + a_1 a_2 + .. + a_1 .. a_k        tokens on average, (1 - a^(k+1)) / (1 - a) when all a_j are a,

and takes  T(k) = k draft_ns + [k > 0] draft_overhead_ns + verify_ns[k].  A length meets a class's limits when

    T(k) <= tpot_ns_max E(k)        the time per token, on average over many passes, and
    T(k) <= pause_ns_max            the longest that a user waits between two deliveries.

Among the lengths that meet them, the best gives the most tokens in the time: largest E / T, then shortest.  Where no
length does, the best is that with the least time per token, which is the same order over all lengths; the table then
says that the class is not met.  There are few lengths, so the checker enumerates all of them in exact integers.

A bucket is judged by its worst member.  Times are those of the largest batch of a load, and the acceptance at each
position is the least in its bucket: E grows with every a_j and T depends on none, so what meets a limit there meets it
everywhere in the bucket.
"""

from collections.abc import Iterable, Iterator

import attrs

from specs import fields
from specs.errors import InvalidProblem
from specs.units import Nanos, Tokens

PARTS = 1_000_000  # acceptance is in parts per million, rounded down


@attrs.frozen(kw_only=True)
class Load:
    """Measured times for batches of up to `batch_max` requests, those of the largest.  Loads ascend by `batch_max`."""

    batch_max: int = fields.positive()
    draft_ns: Nanos = fields.natural()  # one token drafted for each request
    draft_overhead_ns: Nanos = fields.natural()  # of speculating at all, once per pass
    verify_ns: tuple[Nanos, ...]  # at index k: a pass of the LLM over k + 1 tokens of each request, padding included


@attrs.frozen(kw_only=True)
class Acceptance:
    """Requests whose measured acceptance is at least `ppm_min`, up to the next bucket.  Buckets ascend from 0."""

    ppm_min: int = fields.natural()
    positions_ppm: tuple[int, ...]  # of the 1st, 2nd .. drafted token, given that all before it were accepted


@attrs.frozen(kw_only=True)
class ServiceClass:
    """A class of requests and what its users are promised."""

    name: str = fields.name()
    tpot_ns_max: Nanos = fields.positive()
    pause_ns_max: Nanos = fields.positive()


@attrs.frozen(kw_only=True)
class LengthQuestion:
    """Classes, loads and acceptances.  Raises InvalidProblem, with every fault, when they contradict each other."""

    length_max: Tokens = fields.natural()
    classes: tuple[ServiceClass, ...]
    loads: tuple[Load, ...]
    acceptances: tuple[Acceptance, ...]

    def __attrs_post_init__(self) -> None:
        faults = tuple(_contradictions(self))
        if faults:
            raise InvalidProblem("; ".join(faults))


@attrs.frozen(kw_only=True)
class Row:
    """One cell of a table, under the same keys as the question's buckets."""

    service_class: str = fields.name()
    batch_max: int = fields.positive()
    acceptance_ppm_min: int = fields.natural()
    length: Tokens = fields.natural()
    met: bool  # the class's limits, by this length


@attrs.frozen(kw_only=True)
class SpeculationTable:
    """One row for each class, load and acceptance, in the question's order: by class, then load, then acceptance."""

    rows: tuple[Row, ...]

    def length(self, service_class: str, batch: int, acceptance_ppm: int) -> Tokens:
        """Look a length up: the smallest load that holds the batch, the highest acceptance not above the measured.

        0 where the table has no row: a larger batch than any that was measured, or an unknown class.
        """
        of_class = [row for row in self.rows if row.service_class == service_class and row.batch_max >= batch]
        load = min((row.batch_max for row in of_class), default=0)
        found = [row for row in of_class if row.batch_max == load and row.acceptance_ppm_min <= acceptance_ppm]
        return max(found, key=lambda row: row.acceptance_ppm_min).length if found else Tokens(0)


def geometric(ppm: int, length_max: int) -> Acceptance:
    """The bucket in which each drafted token is accepted at one and the same rate, whatever came before."""
    return Acceptance(ppm_min=ppm, positions_ppm=(ppm,) * length_max)


def expected_tokens(acceptance: Acceptance, length: int) -> tuple[int, int]:
    """E(length) as an exact fraction: tokens per request and pass, and what to divide them by."""
    numerator, product = 1, 1
    for ppm in acceptance.positions_ppm[:length]:
        product *= ppm
        numerator = numerator * PARTS + product
    return numerator, PARTS**length


def pass_ns(load: Load, length: int) -> Nanos:
    """T(length): one pass of drafting and verifying."""
    overhead = load.draft_overhead_ns if length else 0
    return Nanos(length * load.draft_ns + overhead + load.verify_ns[length])


def tpot_ns(load: Load, acceptance: Acceptance, length: int) -> Nanos:
    """Time per token of one request on average, rounded up."""
    tokens, parts = expected_tokens(acceptance, length)
    return Nanos(-(-pass_ns(load, length) * parts // tokens))


def tokens_per_second(load: Load, acceptance: Acceptance, length: int) -> int:
    """Tokens of a full batch of this load together, rounded down."""
    tokens, parts = expected_tokens(acceptance, length)
    return load.batch_max * tokens * 1_000_000_000 // (pass_ns(load, length) * parts)


def meets(service_class: ServiceClass, load: Load, acceptance: Acceptance, length: int) -> bool:
    """Whether a length keeps both limits of a class."""
    time = pass_ns(load, length)
    tokens, parts = expected_tokens(acceptance, length)
    return time * parts <= service_class.tpot_ns_max * tokens and time <= service_class.pause_ns_max


def faults(question: LengthQuestion, table: SpeculationTable) -> Iterator[str]:
    """Every way in which a table does not answer the question, one sentence each; all lengths are enumerated.

    A table is complete, says truly which limits are met, keeps them where any length does, and has the best length
    everywhere.  So a table without faults is proved optimal by exhaustion.
    """
    rows = {(row.service_class, row.batch_max, row.acceptance_ppm_min): row for row in table.rows}
    wanted = [
        (service_class, load, acceptance)
        for service_class in question.classes
        for load in question.loads
        for acceptance in question.acceptances
    ]
    keys = [(service_class.name, load.batch_max, acceptance.ppm_min) for service_class, load, acceptance in wanted]
    known = set(keys)
    for row in table.rows:
        if (row.service_class, row.batch_max, row.acceptance_ppm_min) not in known:
            yield f"{_where(row)} is a row that the question does not ask for"
    if len(rows) < len(table.rows):
        yield f"the table has {len(table.rows)} rows for {len(rows)} keys: some key is given twice"
    for key, (service_class, load, acceptance) in zip(keys, wanted, strict=True):
        if key not in rows:
            yield f"class {key[0]}, batch {key[1]}, acceptance {key[2]} ppm has no row"
        else:
            yield from _row_faults(question, rows[key], service_class, load, acceptance)
    ordered = [(row.service_class, row.batch_max, row.acceptance_ppm_min) for row in table.rows]
    if sorted(ordered) == sorted(keys) and ordered != keys:
        yield "the rows are not in the question's order"


def _row_faults(
    question: LengthQuestion, row: Row, service_class: ServiceClass, load: Load, acceptance: Acceptance
) -> Iterator[str]:
    if row.length > question.length_max:
        yield f"{_where(row)} drafts {row.length} tokens, {question.length_max} are allowed"
        return
    able = [k for k in range(question.length_max + 1) if meets(service_class, load, acceptance, k)]
    found = row.length in able
    if row.met != found:
        yield f"{_where(row)} says that its limits are {'' if row.met else 'not '}met, which is not so"
    if able and not found:
        yield f"{_where(row)} drafts {row.length} tokens and misses its limits; {able[0]} would keep them"
        return
    best = int(row.length)
    for length in able or range(question.length_max + 1):
        if _better(load, acceptance, length, best):
            best = length
    if best != row.length:
        here, there = (tpot_ns(load, acceptance, length) for length in (row.length, best))
        yield f"{_where(row)} drafts {row.length} tokens at {here} ns per token; {best} have {there} ns, or are fewer"


def _better(load: Load, acceptance: Acceptance, length: int, than: int) -> bool:
    """Whether a length has less time per token, or as much with fewer tokens drafted."""
    tokens, parts = expected_tokens(acceptance, length)
    tokens_than, parts_than = expected_tokens(acceptance, than)
    mine = pass_ns(load, length) * parts * tokens_than
    other = pass_ns(load, than) * parts_than * tokens
    return mine < other or (mine == other and length < than)


def _where(row: Row) -> str:
    return f"class {row.service_class}, batch {row.batch_max}, acceptance {row.acceptance_ppm_min} ppm"


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{what} {name} is given twice"
        seen.add(name)


def _contradictions(question: LengthQuestion) -> Iterator[str]:
    yield from _repeated("class", (service_class.name for service_class in question.classes))
    batches = [load.batch_max for load in question.loads]
    if not batches or batches != sorted(set(batches)):
        yield f"loads have batches of up to {batches}; they must ascend, and there must be one"
    for load in question.loads:
        if len(load.verify_ns) != question.length_max + 1:
            found, most = len(load.verify_ns), question.length_max
            yield f"load {load.batch_max} has {found} verification times; lengths 0 to {most} need one each"
        if min(load.verify_ns, default=1) < 1:
            yield f"load {load.batch_max} has a verification that takes no time"
    edges = [acceptance.ppm_min for acceptance in question.acceptances]
    if not edges or edges[0] != 0 or edges != sorted(set(edges)):
        yield f"acceptances begin at {edges} ppm; they must ascend from 0"
    for acceptance in question.acceptances:
        if len(acceptance.positions_ppm) != question.length_max:
            found = len(acceptance.positions_ppm)
            yield f"acceptance {acceptance.ppm_min} has {found} positions, {question.length_max} tokens may be drafted"
        if any(not 0 <= ppm <= PARTS for ppm in acceptance.positions_ppm):
            yield f"acceptance {acceptance.ppm_min} has a rate outside 0 to {PARTS} ppm"
