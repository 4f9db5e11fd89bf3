"""The sections `llms:` and `profile:` of a description: what is served, held, wanted, promised and measured."""

from collections.abc import Callable
from pathlib import Path

import attrs

from planner.description.checkpoint import Progress, read_llm
from planner.description.document import Item, optional
from planner.description.drafting_reading import read_drafting
from planner.description.hardware import parse_name
from planner.description.place_names import PlaceNames
from planner.description.quantities import parse_count, parse_duration, parse_flops, parse_per_hour, parse_rate
from planner.description.wish_reading import Wishes, read_wishes
from planner.errors import BadCheckpoint
from specs.cluster import Cluster, DeviceKindName
from specs.codec import nearest
from specs.drafting import Drafting
from specs.llm import Llm, LlmId
from specs.problem import Holding
from specs.profile import DeviceRate, Profile
from specs.units import BytesPerSecond, FlopsPerSecond, Nanos, Tokens
from specs.workload import Slo, Workload

ProgressOf = Callable[[LlmId], Progress | None]  # who is told while an LLM's checkpoint is hashed

_DTYPES = ("F32", "BF16", "F16")
_NO_DURATION = Nanos(1)


@attrs.frozen(kw_only=True)
class Demand:
    """What is said about one LLM."""

    llm: Llm
    workload: Workload
    slo: Slo | None
    holdings: tuple[Holding, ...]
    wishes: Wishes
    drafting: Drafting | None


def read_llm_entry(
    entry: tuple[Item, Item], cluster: Cluster, directory: Path, progress_of: ProgressOf
) -> Demand | None:
    """Read one entry under `llms:`; paths are relative to `directory`.  None, with a fault recorded, if unusable."""
    key, item = entry
    llm_id = LlmId(key.read(parse_name, "unnamed"))
    fields = item.fields(
        required=("checkpoint", "workload", "held"), optional=("slo", "wanted", "serve", "standby", "drafting")
    )
    if "workload" not in fields or "checkpoint" not in fields:
        return None
    places = PlaceNames(cluster)
    held = places.read(fields.get("held"))
    wishes = read_wishes(llm_id, fields, places)
    workload = _read_workload(llm_id, fields["workload"])
    slo = _read_slo(llm_id, fields["slo"]) if "slo" in fields else None
    checkpoint = fields["checkpoint"].text()
    if not checkpoint:
        return None
    try:
        llm = read_llm(directory / checkpoint, llm_id, progress_of(llm_id))
    except BadCheckpoint as error:
        fields["checkpoint"].fault(str(error))
        return None
    if workload.request_tokens_max > llm.context_tokens:
        found = f"requests have up to {workload.request_tokens_max} tokens"
        fields["workload"].fault(f"{found}, but the context of {llm_id} holds {llm.context_tokens}")
    return Demand(
        llm=llm,
        workload=workload,
        slo=slo,
        holdings=tuple(Holding(llm=llm_id, place=place) for _, place in held),
        wishes=wishes,
        drafting=read_drafting(llm_id, fields["drafting"]) if "drafting" in fields else None,
    )


def read_profile(item: Item | None, kinds: tuple[DeviceKindName, ...]) -> Profile:
    """Read measured rates, at most one row per device kind and dtype."""
    rates: dict[tuple[str, str], DeviceRate] = {}
    for row in item.members() if item else ():
        wanted = ("device", "dtype", "compute", "memory", "overhead", "source")
        fields = row.fields(required=wanted)
        if set(wanted) - fields.keys():
            continue
        device, dtype = DeviceKindName(fields["device"].text()), fields["dtype"].text()
        if device not in kinds:
            fields["device"].fault(f"the device kind {device!r:.40} is not known; {nearest(device, kinds)}")
            continue
        if dtype not in _DTYPES:
            fields["dtype"].fault(f"the dtype {dtype!r:.40} is not known; write one of {', '.join(_DTYPES)}")
            continue
        if (device, dtype) in rates:
            row.fault(f"the rates of {device} with {dtype} are given twice")
        rates[device, dtype] = DeviceRate(
            device=device,
            dtype=dtype,
            flops_per_second=fields["compute"].read(parse_flops, FlopsPerSecond(1)),
            memory_bytes_per_second=fields["memory"].read(parse_rate, BytesPerSecond(1)),
            overhead_ns_per_unit=fields["overhead"].read(parse_duration, _NO_DURATION),
            source=fields["source"].text(),
        )
    return Profile(rates=tuple(rates.values()))


def _read_workload(llm_id: LlmId, item: Item) -> Workload:
    fields = item.fields(required=("requests", "prompt", "output", "longest", "live"))

    read = {key: optional(fields, key, parse_count) for key in ("prompt", "output", "longest", "live")}

    def tokens(key: str) -> Tokens:
        return Tokens(read[key] or 1)

    workload = Workload(
        llm=llm_id,
        requests_per_hour=optional(fields, "requests", parse_per_hour) or 0,
        prompt_tokens_mean=tokens("prompt"),
        output_tokens_mean=tokens("output"),
        request_tokens_max=tokens("longest"),
        live_requests_max=tokens("live"),
    )
    mean = workload.prompt_tokens_mean + workload.output_tokens_mean
    if None not in read.values() and workload.request_tokens_max < mean:
        stated = f"the longest request has {workload.request_tokens_max} tokens, prompt and output together"
        fields["longest"].fault(f"{stated}, fewer than the {mean} of a mean request")
    return workload


def _read_slo(llm_id: LlmId, item: Item) -> Slo | None:
    fields = item.fields(required=("percentile", "ttft", "tpot"), optional=("pause",))
    percentile = optional(fields, "percentile", parse_count) or 50
    if not 50 <= percentile <= 99:
        fields["percentile"].fault(f"the percentile is {percentile}; write one from 50 to 99")
        return None
    durations = [optional(fields, key, parse_duration) or _NO_DURATION for key in ("ttft", "tpot")]
    pause = optional(fields, "pause", parse_duration)
    return Slo(
        llm=llm_id, percentile=percentile, ttft_ns_max=durations[0], tpot_ns_max=durations[1], pause_ns_max=pause
    )
