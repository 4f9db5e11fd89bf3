"""The exceptions of this package.

    ExecutorError              base; never raised itself
    +-- TransportError         what the caller asked of a transport cannot be done; nothing was changed
    |   +-- UnknownPeer        no peer of that name was introduced
    |   +-- FrameTooLarge      a message over the limit
    |   +-- TransferInUse      a transfer of that id is under way
    |   +-- BadSegments        segments that overlap, are out of order or leave the destination
    |   +-- TransportClosed    asked after `close`
    +-- MalformedFrame         bytes from another node that are not the frame they should be
    +-- BadCheckpoint          a checkpoint on this node is not the one that was planned
    +-- OutOfMemory            a place has less free memory than is asked for
    +-- CannotListen           the address that a plan gives this node cannot be had
    +-- Rewired                a plan gives this node another address or other devices than the plan before
    +-- FixedKv                a plan changes the slots of a pipeline where its KV cannot give memory back
    +-- NotHere                a blob that the plan says is here is not
    +-- NoReference            a node that must know the right tokens of an LLM cannot compute them
    +-- VerbsMissing           RDMA is asked for on a node that lacks a part of it
    +-- DeviceFailed           an RDMA device refused or could not do what it was told

A peer that is lost and a blob that arrives corrupt are expected outcomes: they are events of `transport.interface`.
"""

import enum


class ExecutorError(Exception):
    """Input that this node cannot take."""


class TransportError(ExecutorError):
    """What the caller asked cannot be done; nothing was changed."""


class UnknownPeer(TransportError):
    """No peer of that name was introduced."""


class FrameTooLarge(TransportError):
    """A message over the limit that both ends keep."""


class TransferInUse(TransportError):
    """A transfer of that id is under way, in the same direction."""


class BadSegments(TransportError):
    """Segments that overlap, are out of order, leave the destination or carry no BLAKE3 digest."""


class TransportClosed(TransportError):
    """The transport was closed before."""


class MalformedFrame(ExecutorError):
    """Bytes from another node that are not the frame they should be: what was found and what is wanted."""


class BadCheckpoint(ExecutorError):
    """A checkpoint on this node that is damaged, incomplete or not the one that was planned."""


class OutOfMemory(ExecutorError):
    """A place has less free memory than is asked for; nothing was taken."""


class FixedKv(ExecutorError):
    """A plan changes the slots of a pipeline on a device of this node whose KV takes all of its memory at once."""


class NotHere(ExecutorError):
    """A blob that a plan says is held on this node is not."""


class NoReference(ExecutorError):
    """A node from which others would learn the right tokens of an LLM has no way to know them."""


class CannotListen(ExecutorError):
    """The address that a plan gives this node is another's, or somebody else listens there."""


class Rewired(ExecutorError):
    """A plan gives this node another address or other devices than it has; it would have to be started again."""


class VerbsMissing(ExecutorError):
    """RDMA is asked for on a node without pyverbs, without the libraries that fit it, or without RDMA in the kernel."""


class Failure(enum.Enum):
    """Why an RDMA device did not do something, as the end of a sentence."""

    ACCESS_REFUSED = "the peer's device refused access to its memory"
    PEER_SILENT = "the peer's device did not answer"
    NOT_READY = "the peer had posted no receive"
    FLUSHED = "the queue pair was broken or closed before"
    LOCAL = "this node's device refused the work"
    REGISTRATION = "the memory could not be registered"
    DEVICE = "this node's device or port is lost"


class DeviceFailed(ExecutorError):
    """An RDMA device refused or could not do what it was told; nothing is known of work that was under way."""

    def __init__(self, failure: Failure, sentence: str) -> None:
        super().__init__(sentence)
        self.failure = failure
