"""How the parts of a daemon reach other nodes, and themselves, with the messages of `executor.traffic`."""

from typing import Protocol

from executor.traffic import Message
from specs.cluster import NodeId


class Post(Protocol):
    """Delivers messages in order, at most once; those to a lost node vanish."""

    def send(self, node: NodeId, message: Message, body: memoryview | bytes = b"") -> None:
        """Send to a node, this one included."""
