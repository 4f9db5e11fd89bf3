"""What a description wants of an LLM at the end: `wanted:`, `serve:` and `standby:` of one entry under `llms:`."""

from collections.abc import Mapping, Sequence

import attrs

from planner.description.document import Item, optional
from planner.description.place_names import PlaceNames
from planner.description.quantities import parse_count, parse_duration, parse_natural
from specs.codec import nearest
from specs.llm import LlmId
from specs.problem import Target
from specs.units import Nanos
from specs.wishes import Objective, Service, Standby

_DEPTH_MAX = 8  # more stages cost latency and time to plan


@attrs.frozen(kw_only=True)
class Wishes:
    """All that one entry wants."""

    targets: tuple[Target, ...]
    service: Service | None
    standby: Standby | None


def read_wishes(llm: LlmId, fields: Mapping[str, Item], places: PlaceNames) -> Wishes:
    """Read what is wanted; faults are recorded."""
    wanted = [place for each, place in places.read(fields.get("wanted")) if places.is_device(each, place)]
    return Wishes(
        targets=tuple(Target(llm=llm, place=place) for place in wanted),
        service=_read_service(llm, fields["serve"], places) if "serve" in fields else None,
        standby=_read_standby(llm, fields["standby"], places) if "standby" in fields else None,
    )


def _read_service(llm: LlmId, item: Item, places: PlaceNames) -> Service | None:
    fields = item.fields(required=("on", "objective"), optional=("depth", "moves"))
    on = [place for each, place in places.read_all(fields.get("on")) if places.is_device(each, place)]
    objective = _read_objective(fields["objective"]) if "objective" in fields else None
    depth = optional(fields, "depth", parse_count) or _DEPTH_MAX
    if objective is None or not _some(item, on, "serve"):
        return None
    moves = optional(fields, "moves", parse_natural)
    return Service(llm=llm, places=tuple(on), objective=objective, depth_max=depth, moves_max=moves)


def _read_standby(llm: LlmId, item: Item, places: PlaceNames) -> Standby | None:
    fields = item.fields(required=("on", "start"))
    on = [place for _, place in places.read_all(fields.get("on"))]
    start = optional(fields, "start", parse_duration)
    if not start or not _some(item, on, "standby"):
        return None
    return Standby(llm=llm, places=tuple(on), start_ns_max=Nanos(start))


def _read_objective(item: Item) -> Objective | None:
    text = item.text()
    try:
        return Objective(text)
    except ValueError:
        item.fault(f"the objective {text!r:.40} is not known; {nearest(text, list(Objective))}")
        return None


def _some(item: Item, places: Sequence[object], section: str) -> bool:
    if not places:
        item.fault(f"`{section}` names no place that can be used; write for example on: [node1/gpu0]")
    return bool(places)
