"""A schedule of hops: the answer to a movement, in the terms of a plan's transfers."""

import attrs

from specs.plan import Route
from specs.units import Bytes, BytesPerSecond, Nanos


@attrs.frozen(kw_only=True)
class Piece:
    """A run of bytes of one item that travels whole."""

    item: int  # index into `Movement.items`
    bytes: Bytes


@attrs.frozen(kw_only=True)
class Hop:
    """One piece crosses one route."""

    piece: int  # index into `Delivery.pieces`
    route: int  # index into `Delivery.routes`
    bytes_per_second: BytesPerSecond
    start_ns: Nanos
    end_ns: Nanos  # the destination holds the piece


@attrs.frozen(kw_only=True)
class Delivery:
    """Hops in the order of their starts; on each port this is the order in which they run."""

    pieces: tuple[Piece, ...]
    routes: tuple[Route, ...]
    hops: tuple[Hop, ...]
