"""The section `drafting:` of one entry under `llms:`: what a draft model costs and how often it is right."""

from planner.description.document import Item, optional
from planner.description.quantities import parse_count, parse_duration, parse_share
from specs.decisions.speculation.lengths import Load, geometric
from specs.drafting import Drafting
from specs.llm import LlmId
from specs.units import Nanos, Tokens

_LENGTH_MAX = 64


def read_drafting(llm: LlmId, item: Item) -> Drafting | None:
    """Read measured drafting.  None, with a fault recorded, when something is missing."""
    wanted = ("longest", "loads", "acceptance", "source")
    fields = item.fields(required=wanted)
    if set(wanted) - fields.keys():
        return None
    longest = optional(fields, "longest", parse_count) or 1
    if longest > _LENGTH_MAX:
        fields["longest"].fault(f"drafts of {longest} tokens are longer than any that are planned, {_LENGTH_MAX}")
        return None
    loads = [_read_load(each, longest) for each in fields["loads"].members()]
    shares = [each.read(parse_share, 0) for each in fields["acceptance"].members()]
    if not shares or shares[0] != 0 or shares != sorted(set(shares)):
        fields["acceptance"].fault("the buckets of acceptance must ascend from 0 %; write for example [0 %, 80 %]")
        return None
    batches = [load.batch_max for load in loads if load is not None]
    if len(batches) < len(loads) or not batches or batches != sorted(set(batches)):
        fields["loads"].fault("loads must ascend by their batch, and there must be one")
        return None
    return Drafting(
        llm=llm,
        length_max=Tokens(longest),
        loads=tuple(load for load in loads if load is not None),
        acceptances=tuple(geometric(share, longest) for share in shares),
        source=fields["source"].text(),
    )


def _read_load(item: Item, longest: int) -> Load | None:
    wanted = ("batch", "draft", "overhead", "verify")
    fields = item.fields(required=wanted)
    if set(wanted) - fields.keys():
        return None
    verify = tuple(each.read(parse_duration, Nanos(1)) for each in fields["verify"].members())
    if len(verify) != longest + 1 or min(verify) < 1:
        found = f"{len(verify)} times of verification are given"
        fields["verify"].fault(f"{found}; drafts of 0 to {longest} tokens need one each, of 1 to {longest + 1} tokens")
        return None
    return Load(
        batch_max=optional(fields, "batch", parse_count) or 1,
        draft_ns=fields["draft"].read(parse_duration, Nanos(0)),
        draft_overhead_ns=fields["overhead"].read(parse_duration, Nanos(0)),
        verify_ns=verify,
    )
