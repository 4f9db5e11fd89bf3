"""RDMA verbs: devices, registered memory and reliable-connected queue pairs.  The only module that imports pyverbs.

pyverbs 59 holds the GIL in every call, so whatever blocks in it stops the whole process.  What could, and why not here:

    get_cq_event, get_async_event   read a file descriptor: it is non-blocking, and asked first whether it has any
    CQ.close, QP.close              wait until every event that was taken is acknowledged: locks let nobody close
                                    between the one and the other
    MR(...)                         faults in every page: they are faulted in before, without the GIL
    QP.to_rtr                       has the kernel look for the peer, for a second: `neighbours` does it before

All else is a short system call, or none.  What pyverbs has closed crashes the process when it is used: nothing of
pyverbs is handed out, and what is closed here says so.  Any thread may call anything.
"""

import contextlib
import functools
import logging
import select
from typing import Any

from executor.errors import DeviceFailed, Failure, VerbsMissing
from executor.transport.rdma.contact import Contact, decode_contact, encode_contact
from executor.transport.rdma.opened import DESCRIPTORS, Opened, open_context, ready, refusing
from executor.transport.rdma.ports import Port, port_of, ports_in
from executor.transport.rdma.queue_pair import Completion, QueuePair
from executor.transport.rdma.region import Region, fault_in

__all__ = [
    "Completion",
    "Contact",
    "Device",
    "DeviceFailed",
    "Failure",
    "Port",
    "QueuePair",
    "Region",
    "VerbsMissing",
    "decode_contact",
    "encode_contact",
    "port_of",
    "ports",
]

_log = logging.getLogger(__name__)


def ports() -> tuple[Port, ...]:
    """Return the usable GIDs of every active port, by name: of RoCE v2 where there is any; GID 0 on InfiniBand.

    Opens every device for a moment.  Raises VerbsMissing.
    """
    verbs = _pyverbs()
    try:
        devices = verbs.device.get_device_list()
    except verbs.pyverbs_error.PyverbsError as error:
        raise VerbsMissing(
            "RDMA: this kernel has none: load ib_uverbs and the driver of the device (mlx5_ib, or rdma_rxe for an "
            "Ethernet interface)."
        ) from error
    found: list[Port] = []
    for device in devices:
        if device.node_type != verbs.libibverbs_enums.ibv_node_type.IBV_NODE_CA:
            continue  # iWARP and the like, which connect otherwise
        name = device.name.decode()
        try:
            with DESCRIPTORS, verbs.device.Context(name=name) as context:
                found += ports_in(verbs, context, name)
        except verbs.pyverbs_error.PyverbsError as error:
            _log.warning("RDMA device %s cannot be used: %s", name, error)
    return tuple(sorted(found, key=lambda port: (port.device, port.number, port.gid_index)))


class Device:
    """An open device, as one of its ports shows it, with a protection domain for all that is made here."""

    def __init__(self, port: Port) -> None:
        """Open it.  Raises VerbsMissing or DeviceFailed."""
        self.port = port
        self._is_open = True
        self._is_lost = False
        self._made: set[Region | QueuePair] = set()
        verbs = _pyverbs()
        with (
            DESCRIPTORS,
            refusing(verbs, f"{port.device} cannot be opened", Failure.DEVICE),
            contextlib.ExitStack() as parts,
        ):
            context, self.events_fd = open_context(verbs, port.device)
            parts.callback(context.close)
            domain = verbs.pd.PD(context)
            parts.callback(domain.close)
            lid = int(context.query_port(port.number).lid)
            self._opened = Opened(verbs=verbs, port=port, lid=lid, context=context, protection_domain=domain)
            self._is_down = self._look_down()
            self._parts = parts.pop_all()

    def register(self, memory: memoryview, *, is_remote: bool) -> Region:
        """Pin contiguous memory, at least a byte: for writes out of it, or, where `is_remote`, by a peer into it.

        What is pinned may be read-only where it is not remote; before Linux 6.2 it may not be a shared mapping then.
        Raises DeviceFailed.
        """
        fault_in(memory, is_written=is_remote)
        with DESCRIPTORS:
            self._check_open()
            region = Region(self._opened, memory, is_remote=is_remote, on_close=lambda: self._made.discard(region))
            self._made.add(region)
        return region

    def queue_pair(self, *, writes_max: int, receives_max: int) -> QueuePair:
        """Make a queue pair for so many writes and receives under way at once.  Raises DeviceFailed."""
        with DESCRIPTORS:
            self._check_open()
            pair = QueuePair(
                self._opened,
                writes_max=writes_max,
                receives_max=receives_max,
                on_close=lambda: self._made.discard(pair),
            )
            self._made.add(pair)
        return pair

    def failed(self) -> Failure | None:
        """Take the events of the device, if there are any; say DEVICE while it or its port is lost."""
        with DESCRIPTORS:
            while self._is_open and not self._is_lost and (events := ready(self.events_fd)):
                if not events & select.POLLIN:
                    self._is_lost = True  # the device was taken away
                    break
                try:
                    with self._opened.refusing(f"{self.port.device} cannot be asked", Failure.DEVICE):
                        self._take_event()
                except DeviceFailed:
                    self._is_lost = True
        return Failure.DEVICE if self._is_lost or self._is_down else None

    def _take_event(self) -> None:
        kinds = self._opened.verbs.libibverbs_enums.ibv_event_type
        event = self._opened.context.get_async_event()
        event.ack()
        if event.event_type == kinds.IBV_EVENT_DEVICE_FATAL:
            self._is_lost = True
        elif event.event_type in (kinds.IBV_EVENT_PORT_ERR, kinds.IBV_EVENT_PORT_ACTIVE):
            self._is_down = self._look_down()  # pyverbs does not say whose event it is

    def close(self) -> None:
        """Close everything that was made here, and the device.  May be called again."""
        with DESCRIPTORS:
            self._is_open = False
        for part in sorted(self._made, key=lambda part: isinstance(part, Region)):  # first those who write
            part.close()
        with DESCRIPTORS, self._opened.refusing(f"{self.port.device} cannot be closed", Failure.DEVICE):
            self._parts.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise DeviceFailed(Failure.DEVICE, f"{self.port.device} was closed here.")

    def _look_down(self) -> bool:
        state = self._opened.context.query_port(self.port.number).state
        return bool(state != self._opened.verbs.libibverbs_enums.ibv_port_state.IBV_PORT_ACTIVE)


def _pyverbs() -> Any:
    """Import pyverbs when it is first needed.  Raises VerbsMissing."""
    found = _imported()
    if isinstance(found, str):
        raise VerbsMissing(found)
    return found


@functools.cache
def _imported() -> Any:
    """Import pyverbs, or say what lacks.  Once only: what could not be imported is half there, and fails otherwise."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # else pyverbs gives the root logger a handler and a level
    try:
        import pyverbs.addr
        import pyverbs.cq
        import pyverbs.device
        import pyverbs.libibverbs_enums
        import pyverbs.mr
        import pyverbs.pd
        import pyverbs.pyverbs_error
        import pyverbs.qp
        import pyverbs.wr
    except ModuleNotFoundError:
        return "RDMA: pyverbs is not installed here: pip install 'holdfast[rdma]'."
    except ImportError as error:
        return (
            f"RDMA: pyverbs is installed, but its libraries do not fit ({error}): it needs libibverbs and librdmacm of "
            "the rdma-core release with its own number, in the system or in LD_LIBRARY_PATH."
        )
    finally:
        root.removeHandler(silent)
    return pyverbs
