"""Which peers are heard: the silence that counts as loss, and the broken connections that are only suspicion.

A peer that dies or hangs counts as lost at most `specs.timing.detection_ns` of the deadline after its last word, and
never before the deadline.
"""

from collections.abc import Collection, Sequence

from specs.cluster import NodeId
from specs.units import NANOS_PER_SECOND, Nanos

# A node that has never been heard may still be getting its plan: it is given at least this long to appear.
JOIN_NS = Nanos(60 * NANOS_PER_SECOND)


class Hearing:
    """Keeps when each peer was heard last under the plan in force then.  Instants are of one monotonic clock."""

    def __init__(self) -> None:
        self._deadline_ns = Nanos(0)
        self._met_ns: dict[NodeId, int] = {}  # the peers of the plan, and since when they are expected
        self._heard_ns: dict[NodeId, int] = {}
        self._looked_ns = 0
        self.suspects: set[NodeId] = set()  # a connection with them broke, and nothing was heard since

    def adopt(self, peers: Sequence[NodeId], deadline_ns: Nanos, lost: Collection[NodeId], now_ns: int) -> None:
        """Listen for the peers of a plan.

        One that was lost under the plan before is expected anew; the silence of the others goes on.
        """
        self._deadline_ns = deadline_ns
        self._heard_ns = {peer: at for peer, at in self._heard_ns.items() if peer in peers and peer not in lost}
        self._met_ns = {peer: now_ns if peer in lost else self._met_ns.get(peer, now_ns) for peer in peers}
        self._looked_ns = now_ns
        self.suspects.intersection_update(peers)

    def again(self, lost: Collection[NodeId], now_ns: int) -> list[NodeId]:
        """Name those of the lost that speak again."""
        return [peer for peer in sorted(lost) if not self._is_silent(peer, now_ns) and peer in self._heard_ns]

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
        return [peer for peer in self._met_ns if peer not in lost and self._is_silent(peer, now_ns)]

    def _is_silent(self, peer: NodeId, now_ns: int) -> bool:
        heard_ns = self._heard_ns.get(peer)
        if heard_ns is None:
            return now_ns - self._met_ns[peer] > max(JOIN_NS, self._deadline_ns)
        return now_ns - heard_ns > self._deadline_ns
