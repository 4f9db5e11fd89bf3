"""Journals, replayed by the protocols: every node did what it had to do from what it had learnt, and only that.

The protocols `plan_switch`, `block_multicast` and `kv_hand_over` are pure functions, and a journal has every event that
told one of them something new.  So a replay states hardly a rule of its own: it feeds each node's events to the same
functions, and what the node wrote that it did must be what comes out.

Events come from outside, and some can be checked against other journals: what a node heard, the one that it heard it
from must have told before, as its own replay says.  So the journals are merged by cause, and no clock is asked: a life
waits where it hears something that nobody has told yet, until others have gone on so far.

The first breach of a life ends its replay, because a state that is not the node's judges nothing, and what it told is
then believed.
"""

from specs.replay.merging import Life, Replayed, Said, replay

__all__ = ["Life", "Replayed", "Said", "replay"]
