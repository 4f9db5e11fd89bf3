"""Memories as descriptions name them: node1/gpu0, node[1-4]/host, or a node for its devices."""

from planner.description.document import Item
from planner.description.name_ranges import expand
from specs.cluster import Cluster, PlaceId, PlaceKind
from specs.codec import nearest


class PlaceNames:
    """Reads places by their names, or by the name of a node."""

    def __init__(self, cluster: Cluster) -> None:
        self._kinds = {place.id: place.kind for place in cluster.places}
        self._nodes: dict[str, list[PlaceId]] = {node.id: [] for node in cluster.nodes}
        for place in cluster.places:
            if place.node is not None and place.kind is PlaceKind.DEVICE:
                self._nodes[place.node].append(place.id)

    def read(self, item: Item | None) -> list[tuple[Item, PlaceId]]:
        """List the places with the item that names each; a node stands for its one device.  Faults: named twice."""
        return self._read(item, all_devices=False)

    def read_all(self, item: Item | None) -> list[tuple[Item, PlaceId]]:
        """List the places with the item that names each; a node stands for all its devices."""
        return self._read(item, all_devices=True)

    def _read(self, item: Item | None, *, all_devices: bool) -> list[tuple[Item, PlaceId]]:
        found: dict[PlaceId, Item] = {}
        for each in item.members() if item else ():
            for name in each.read(expand, ()):
                devices: list[PlaceId | None] = [*self._nodes.get(name, [])] if all_devices else []
                for place in devices or [self._find(each, name)]:
                    if place in found:
                        each.fault(f"{place} is named twice")
                    elif place is not None:
                        found[place] = each
        return [(each, place) for place, each in found.items()]

    def is_device(self, item: Item, place: PlaceId) -> bool:
        """Whether the place computes; a fault if not."""
        if self._kinds[place] is not PlaceKind.DEVICE:
            item.fault(f"{place} is a {self._kinds[place]}, which computes nothing; an LLM is wanted on devices")
            return False
        return True

    def _find(self, item: Item, name: str) -> PlaceId | None:
        if name in self._nodes:
            devices = self._nodes[name]
            if len(devices) > 1:
                item.fault(f"{name} has {len(devices)} devices; say which, for example {devices[0]}")
                return None
            return devices[0]
        place = PlaceId(name)
        if place not in self._kinds:
            node = name.partition("/")[0]
            beside = [place for place in self._kinds if place.startswith(f"{node}/")] if node in self._nodes else []
            item.fault(f"there is no node or memory {name!r:.60}; {_nearest(name, beside or list(self._nodes))}")
            return None
        if self._kinds[place] is PlaceKind.SWITCH:
            item.fault(f"{name} is a switch, which has no memory")
            return None
        return place


def _nearest(name: str, known: list[str] | list[PlaceId]) -> str:
    """As `nearest`, but a thousand nodes are not listed."""
    said = nearest(name, known)
    return said if len(said) <= 200 else f"known are {known[0]}, {known[1]} and {len(known) - 2} others"
