"""The journals of all nodes, replayed together: who hears something waits until it has been told."""

import itertools
from collections import defaultdict
from collections.abc import Sequence

import attrs

from specs import journal
from specs.cluster import NodeId
from specs.journal import Record
from specs.replay.hand_over import ROLES, Awaited, Breach
from specs.replay.life import LifeReplay, Plans, Told, describe


@attrs.frozen(kw_only=True)
class Life:
    """One journal, of one life of a node's daemon."""

    node: NodeId
    records: tuple[Record, ...]


@attrs.frozen(kw_only=True)
class Said:
    """Something that a replay found at a node."""

    node: NodeId
    sentence: str
    is_of_hand_over: bool = False


@attrs.frozen(kw_only=True)
class Replayed:
    """What a replay found: `breaches` of the protocols, and `notes` on what it could not judge."""

    records: int  # that were judged
    hand_over_records: int  # of these, what belongs to KV hand-over
    breaches: tuple[Said, ...]
    notes: tuple[Said, ...]


@attrs.define(eq=False)
class _Reader:
    """Reads one journal."""

    life: Life
    replay: LifeReplay
    position: int = 0
    is_over: bool = False

    @property
    def record(self) -> Record:
        return self.life.records[self.position]


class _Merge:
    def __init__(self, lives: Sequence[Life], plans: Plans) -> None:
        self._told = Told()
        self.breaches: list[Said] = []
        self.notes: list[Said] = []
        whole = []
        for life in lives:
            if isinstance(life.records[0].what, journal.Started):
                whole.append(life)
            else:
                self._told.believed.add(life.node)
                self._note(life.node, "its journal does not begin with the start of its daemon and was not replayed")
        first = sorted(whole, key=lambda life: (life.node, life.records[0].at_unix_ns))  # of one node: by its clock
        self.readers = [_Reader(life, LifeReplay(life.node, plans, self._told)) for life in first]
        self._of_node: dict[NodeId, list[_Reader]] = defaultdict(list)
        for reader in self.readers:
            self._of_node[reader.life.node].append(reader)

    def _note(self, node: NodeId, sentence: str) -> None:
        self.notes.append(Said(node=node, sentence=sentence))

    def run(self) -> None:
        """Read all journals as far as each can be."""
        while not all(reader.is_over for reader in self.readers):
            moved = [self._read(reader) for reader in self.readers]
            if not any(moved):
                self._give_up_one()
        for reader in self.readers:
            for record, awaited in reader.replay.lacks():
                self._give_up(reader, record, awaited)
        self._compare_lives()

    def _read(self, reader: _Reader) -> bool:
        """Read on until what is heard has not been told yet; tell whether there was anything to read."""
        before = (reader.position, reader.is_over)
        while not reader.is_over:
            if reader.position == len(reader.life.records):
                reader.is_over = True
            elif reader.replay.awaits(reader.record) is not None:
                break
            else:
                self._take(reader)
        return (reader.position, reader.is_over) != before

    def _take(self, reader: _Reader) -> None:
        try:
            reader.replay.take(reader.record)
            reader.position += 1
        except Breach as breach:
            self._breach(reader, reader.record, str(breach))

    def _breach(self, reader: _Reader, record: Record, rule: str) -> None:
        sentence = f"record {record.sequence}: {describe(record.what)} does not follow from what it had learnt: {rule}"
        self.breaches.append(
            Said(node=reader.life.node, sentence=sentence, is_of_hand_over=isinstance(record.what, ROLES))
        )
        self._end(reader)

    def _end(self, reader: _Reader) -> None:
        reader.is_over = True
        self._told.believed.add(reader.life.node)

    def _give_up_one(self) -> None:
        """Nobody can go on: somebody has heard what was never told, or what a journal lacks that ends too early.

        Whoever waits for one that waits too is passed over while another waits for one that is over.  A daemon that was
        killed may have told more than its journal says, whether or not it was started again.
        """
        waiting = [(reader, reader.replay.awaits(reader.record)) for reader in self.readers if not reader.is_over]
        stuck = {reader.life.node for reader, _ in waiting}
        reader, awaited = min(
            waiting, key=lambda each: (each[1] is not None and each[1].node in stuck, each[0].record.at_unix_ns)
        )
        assert awaited is not None
        self._give_up(reader, reader.record, awaited)

    def _give_up(self, reader: _Reader, record: Record, awaited: Awaited) -> None:
        teller, rule = awaited
        lives = self._of_node.get(teller, [])
        ended = [each for each in lives if each.is_over and each.life.records[-1].at_unix_ns < record.at_unix_ns]
        if not lives:
            self._told.believed.add(teller)
            self._note(teller, "there is no journal of it: what others heard from it is believed")
        elif ended and (len(ended) == len(lives) or len(lives) > 1):
            self._note(
                reader.life.node,
                f"from record {record.sequence} on it was not replayed: {teller} has told that after its journal ends",
            )
            self._end(reader)
        else:
            said = f"{teller} has told nothing of the kind by then"
            self._breach(reader, record, f"{rule}; {said}" if rule else said)

    def _compare_lives(self) -> None:
        """Say where a life did not find on its disk what the one before had settled."""
        for node, readers in self._of_node.items():
            for before, after in itertools.pairwise(readers):
                began = after.life.records[0].what
                assert isinstance(began, journal.Started)
                if began.settled < before.replay.settled:
                    self._note(
                        node,
                        f"it began with generation {began.settled} on its disk, and had got to "
                        f"{before.replay.settled}: with another disk, nothing binds it to what it said before",
                    )
            for digest, generation in dict.fromkeys(each for reader in readers for each in reader.replay.unknown):
                self._note(
                    node,
                    f"under plan {digest[:12]}, generation {generation}, and from then on, only its changes of "
                    "plans were replayed: the plan is not at hand",
                )


def replay(lives: Sequence[Life], plans: Plans) -> Replayed:
    """Replay journals, each with at least one record, under these plans.

    A plan that is not among them was adopted all the same, by the rules; what happened under it is not judged.
    """
    merge = _Merge(lives, plans)
    merge.run()
    return Replayed(
        records=sum(reader.position for reader in merge.readers),
        hand_over_records=sum(
            isinstance(record.what, ROLES)
            for reader in merge.readers
            for record in reader.life.records[: reader.position]
        ),
        breaches=tuple(merge.breaches),
        notes=tuple(merge.notes),
    )
