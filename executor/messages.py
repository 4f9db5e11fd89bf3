"""The protocol's one message on the wire: a report under its plan, in canonical strict JSON.

A report speaks about steps and pipelines by the ids of one plan.  So it carries that plan's digest and generation, and
a report under another plan is stale: `Message.report` may be used only after `is_current`.  Who sent it is known from
the connection, not from the bytes.
"""

import attrs

from specs import codec, fields
from specs.protocols.nouns import Report


@attrs.frozen(kw_only=True)
class Message:
    """A report and the plan under which it was made."""

    plan: str = fields.digest()
    generation: int = fields.positive()
    report: Report

    def is_current(self, plan: str, generation: int) -> bool:
        """Tell whether the message is about this plan; any other must be dropped."""
        return self.plan == plan and self.generation == generation


def encode(message: Message) -> bytes:
    """Write a message for the wire."""
    return codec.encode(message)


def decode(data: bytes) -> Message:
    """Read a message from the wire.  Raises MalformedDocument for anything that `encode` does not write."""
    return codec.decode(Message, data)
