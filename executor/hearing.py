"""Which peers are heard: the silence that counts as loss, and the broken connections that are only suspicion."""

from collections.abc import Collection, Sequence

from specs.cluster import NodeId
from specs.units import NANOS_PER_SECOND, Nanos

# A node that has never been heard may still be getting its plan: it is given at least this long to appear.
JOIN_NS = Nanos(60 * NANOS_PER_SECOND)


class Hearing:
    """Keeps, for the peers of one plan, when each was heard last.  Instants are of one monotonic clock."""

    def __init__(self, peers: Sequence[NodeId], deadline_ns: Nanos) -> None:
        self._peers = tuple(peers)
        self._deadline_ns = deadline_ns
        self._heard_ns: dict[NodeId, int] = {}
        self._began_ns = 0
        self._looked_ns = 0
        self.suspects: set[NodeId] = set()  # a connection with them broke, and nothing was heard since

    def begin(self, now_ns: int) -> None:
        """Count silence from now on."""
        self._began_ns = self._looked_ns = now_ns

    def heard(self, peer: NodeId, now_ns: int) -> None:
        """Learn that a peer lives."""
        self._heard_ns[peer] = now_ns
        self.suspects.discard(peer)

    def broke(self, peer: NodeId) -> bool:
        """Learn that a connection with a peer broke; tell whether that is news."""
        known = peer in self.suspects
        self.suspects.add(peer)
        return not known

    def silent(self, lost: Collection[NodeId], now_ns: int) -> list[NodeId]:
        """Name the peers, but those lost already, that have been silent for too long.  To be asked often."""
        if now_ns - self._looked_ns > self._deadline_ns // 2:
            # This process itself was stopped or starved; the silence of others proves nothing.
            self._heard_ns = dict.fromkeys(self._heard_ns, now_ns)
        self._looked_ns = now_ns
        return [peer for peer in self._peers if peer not in lost and self._is_silent(peer, now_ns)]

    def _is_silent(self, peer: NodeId, now_ns: int) -> bool:
        heard_ns = self._heard_ns.get(peer)
        if heard_ns is None:
            return now_ns - self._began_ns > max(JOIN_NS, self._deadline_ns)
        return now_ns - heard_ns > self._deadline_ns
