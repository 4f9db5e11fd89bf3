"""The answer: pipelines with their devices, layer borders, batch, and share of the requests."""

import attrs

from specs import fields


@attrs.frozen(kw_only=True)
class Stage:
    """A run of units on the devices of one shape."""

    shape: str = fields.name()
    devices: tuple[int, ...]  # of the shape's group, ascending, on one node
    first_unit: int = fields.natural()
    end_unit: int = fields.positive()  # exclusive


@attrs.frozen(kw_only=True)
class Replica:
    """One pipeline: `in_flight` batches of `batch` requests circulate through its stages."""

    stages: tuple[Stage, ...]  # in the order of their units
    batch: int = fields.positive()
    in_flight: int = fields.positive()
    weight: int = fields.positive()  # its share of the requests is weight / sum of weights

    @property
    def slots(self) -> int:
        """Requests that it serves at a time."""
        return self.batch * self.in_flight


@attrs.frozen(kw_only=True)
class Answer:
    """The pipelines of an LLM, none of which shares a device with another."""

    replicas: tuple[Replica, ...]
