"""The section `cluster:` of a description, and `device kinds:` beside it."""

from collections.abc import Iterator, Mapping

import attrs

from planner.description.devices import known_kinds
from planner.description.document import Faults, Item, optional
from planner.description.hardware import NODE_KEYS, HardwareReader, parse_addresses, parse_name, parse_names
from planner.description.place_graph import link_pair, node_graph
from planner.description.quantities import parse_duration, parse_flops, parse_price, parse_rate, parse_size
from specs.cluster import Cluster, DeviceKind, DeviceKindName, Link, Node, NodeId, Place, PlaceId, PlaceKind
from specs.codec import nearest
from specs.units import Bytes, BytesPerSecond, FlopsPerSecond, Nanos

# A description without switches means one that is never the bottleneck.
ONLY_SWITCH = "switch"
_TEMPLATE_KEYS = tuple(key for key in NODE_KEYS if key != "address")
_NODES_MAX = 10_000


@attrs.define
class _Found:
    """The cluster as far as it is read."""

    switches: tuple[str, ...] = ()
    nodes: list[Node] = attrs.field(factory=list)
    places: list[Place] = attrs.field(factory=list)
    links: list[Link] = attrs.field(factory=list)
    names: set[str] = attrs.field(factory=set)
    addresses: dict[str, str] = attrs.field(factory=dict)  # address -> node


def read_device_kinds(item: Item | None) -> dict[DeviceKindName, DeviceKind]:
    """Read the kinds that the description adds to the known ones, or states anew."""
    kinds = dict(known_kinds())
    for key, value in item.entries() if item else ():
        name = DeviceKindName(key.read(parse_name, "unnamed"))
        fields = value.fields(required=("memory", "memory rate", "fp32", "bf16", "source"))
        kinds[name] = DeviceKind(
            name=name,
            memory_bytes=optional(fields, "memory", parse_size) or Bytes(1),
            memory_bytes_per_second=optional(fields, "memory rate", parse_rate) or BytesPerSecond(1),
            flops_per_second_fp32=optional(fields, "fp32", parse_flops) or FlopsPerSecond(1),
            flops_per_second_bf16=optional(fields, "bf16", parse_flops) or FlopsPerSecond(1),
            source=fields["source"].text() if "source" in fields else "",
        )
    return kinds


def with_prices(kinds: dict[DeviceKindName, DeviceKind], item: Item | None) -> dict[DeviceKindName, DeviceKind]:
    """Give kinds the rents under `prices:`."""
    priced = dict(kinds)
    for key, value in item.entries() if item else ():
        name = DeviceKindName(key.text())
        if name not in kinds:
            key.fault(f"the device kind {name!r:.40} is not known; {nearest(name, kinds)}")
            continue
        priced[name] = attrs.evolve(kinds[name], microdollars_per_hour=value.read(parse_price, 0))
    return priced


def read_cluster_section(item: Item, kinds: dict[DeviceKindName, DeviceKind], faults: Faults) -> Cluster:
    """Read the section `cluster:`.  Raises BadDescription with every fault found so far."""
    fields = item.fields(required=("name", "nodes"), optional=("switches", "templates"))
    found = _Found()
    found.switches = _read_switches(fields.get("switches"), found)
    templates: dict[str, Mapping[str, Item]] = {}
    for key, value in fields["templates"].entries() if "templates" in fields else ():
        templates[key.read(parse_name, "unnamed")] = value.fields(optional=_TEMPLATE_KEYS)
    reader = HardwareReader(kinds, found.switches)
    for key, value in fields["nodes"].entries() if "nodes" in fields else ():
        _read_nodes((key, value), templates, reader, found)
    if "nodes" in fields and not fields["nodes"].entries():
        fields["nodes"].fault("a cluster has at least one node")
    name = optional(fields, "name", parse_name) or "unnamed"
    faults.check()
    used = {place.device for place in found.places}
    return Cluster(
        name=name,
        device_kinds=tuple(kind for name, kind in sorted(kinds.items()) if name in used),
        nodes=tuple(found.nodes),
        places=tuple(found.places),
        links=tuple(found.links),
    )


def _read_switches(item: Item | None, found: _Found) -> tuple[str, ...]:
    """Read the switches and their uplinks; return their names."""
    described: dict[str, Item | None] = {}
    for key, value in item.entries() if item else ():
        for name in key.read(parse_names, ()):
            if name in described:
                key.fault(f"the switch {name} is described twice")
            described[name] = value
    if not described:
        described = dict.fromkeys((ONLY_SWITCH,))
    found.places += [Place(id=PlaceId(name), kind=PlaceKind.SWITCH, memory_bytes=Bytes(0)) for name in described]
    above: dict[str, dict[str, Item]] = {}
    for name, described_by in described.items():
        uplinks = _read_uplinks(name, described_by, tuple(described), found) if described_by else ()
        above[name] = dict(uplinks)
    for name, targets in above.items():
        for target, uplink in targets.items():
            if _reaches(above, target, name):
                uplink.fault(f"the uplinks from {name} over {target} lead back to {name}; uplinks lead up, to a spine")
    return tuple(described)


def _read_uplinks(name: str, item: Item, switches: tuple[str, ...], found: _Found) -> Iterator[tuple[str, Item]]:
    fields = item.fields(optional=("uplinks",))
    seen: set[str] = set()
    for uplink in fields["uplinks"].members() if "uplinks" in fields else ():
        parts = uplink.fields(required=("to", "rate"), optional=("latency",))
        if not {"to", "rate"} <= parts.keys():
            continue
        rate = parts["rate"].read(parse_rate, BytesPerSecond(1))
        latency = optional(parts, "latency", parse_duration) or Nanos(0)
        for target in parts["to"].read(parse_names, ()):
            if target not in switches:
                parts["to"].fault(
                    f"the switch {target} is not described under `switches:`; {nearest(target, switches)}"
                )
            elif target in seen:
                parts["to"].fault(f"{name} has two uplinks to {target}; write one with a rate such as 4 x 400 Gb/s")
            else:
                seen.add(target)
                found.links += link_pair(PlaceId(name), PlaceId(target), rate, latency)
                yield target, parts["to"]


def _reaches(above: dict[str, dict[str, Item]], start: str, goal: str) -> bool:
    waiting, seen = [start], set()
    while waiting:
        name = waiting.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            waiting += above.get(name, {})
    return False


def _read_nodes(
    entry: tuple[Item, Item], templates: Mapping[str, Mapping[str, Item]], reader: HardwareReader, found: _Found
) -> None:
    """Read one entry under `nodes:`, which stands for one node or a range of them."""
    key, item = entry
    own = item.fields(optional=("like", *NODE_KEYS))
    inherited: Mapping[str, Item] = {}
    if "like" in own:
        template = own["like"].read(parse_name, "")
        if template in templates:
            inherited = templates[template]
        elif template:
            known = nearest(template, templates) if templates else "there is no section `templates:`"
            own["like"].fault(f"the template {template} is not described; {known}")
            return
    fields = {name: value for name, value in (dict(inherited) | own).items() if name != "like"}
    # What a node states itself takes the place of what its template states instead of it.
    for one, other in (("gpus", "cpu"), ("cpu", "gpus")):
        if one in own and other not in own:
            fields.pop(other, None)
    kind = reader.node_kind(fields, item if item.is_mapping else key)
    names = key.read(parse_names, ())
    addresses = fields["address"].read(parse_addresses, ()) if "address" in fields else ()
    if names and addresses and len(addresses) != len(names):
        fields["address"].fault(f"{len(names)} nodes need as many addresses; this stands for {len(addresses)}")
        addresses = ()
    if len(found.nodes) + len(names) > _NODES_MAX:
        key.fault(f"a cluster has at most {_NODES_MAX} nodes")
        return
    for index, name in enumerate(names):
        if name in found.names:
            key.fault(f"the node {name} is described twice")
            continue
        found.names.add(name)
        address = addresses[index] if addresses else None
        if address is not None and found.addresses.setdefault(address, name) != name:
            fields["address"].fault(f"the address {address} of {name} is that of {found.addresses[address]} already")
        if name in found.switches:
            key.fault(f"{name} is the name of a switch already")
        places, links = node_graph(NodeId(name), kind)
        found.nodes.append(Node(id=NodeId(name), rack=kind.rack, address=address))
        found.places += places
        found.links += links
