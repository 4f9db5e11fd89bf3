"""An open device of pyverbs, its file descriptors and its refusals: what the parts of `verbs` share."""

import contextlib
import errno
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from executor.errors import DeviceFailed, Failure
from executor.transport.rdma.ports import Port

# Held wherever a file descriptor of verbs comes or goes, and from taking an event of a device to acknowledging it.
DESCRIPTORS = threading.RLock()

_FAILURE_OF_ERRNO = {
    errno.EIO: Failure.DEVICE,
    errno.ENODEV: Failure.DEVICE,
    errno.ETIMEDOUT: Failure.PEER_SILENT,
    errno.EHOSTUNREACH: Failure.PEER_SILENT,
    errno.ENETUNREACH: Failure.PEER_SILENT,
}


@attrs.frozen(kw_only=True, eq=False)
class Opened:
    """An open device, as one of its ports shows it."""

    verbs: Any  # the package pyverbs, whole
    port: Port
    lid: int  # 0 except on InfiniBand
    context: Any
    protection_domain: Any

    def refusing(self, what: str, otherwise: Failure) -> contextlib.AbstractContextManager[None]:
        """Turn what pyverbs raises within into DeviceFailed, as `refusing`."""
        return refusing(self.verbs, what, otherwise)


@contextlib.contextmanager
def refusing(verbs: Any, what: str, otherwise: Failure) -> Iterator[None]:
    """Turn what pyverbs raises within into DeviceFailed; `otherwise` is the failure if the error number says none."""
    try:
        yield
    except verbs.pyverbs_error.PyverbsError as error:
        number = getattr(error, "error_code", -1)
        hint = "; is the limit of locked memory too low?" if number == errno.ENOMEM else "."
        raise DeviceFailed(_FAILURE_OF_ERRNO.get(number, otherwise), f"{what}: {error}{hint}") from error


def open_context(verbs: Any, device: str) -> tuple[Any, int]:
    """Open a device; return the file descriptor of its events too, non-blocking: pyverbs keeps it to itself.

    Raises DeviceFailed.
    """
    with DESCRIPTORS:
        before = _event_descriptors()
        with refusing(verbs, f"{device} cannot be opened", Failure.DEVICE):
            context = verbs.device.Context(name=device)
        came = _event_descriptors() - before
        if len(came) != 1:
            context.close()
            raise DeviceFailed(Failure.DEVICE, f"{device}: {len(came)} event descriptors came with it, wanted one.")
    (fd,) = came
    os.set_blocking(fd, False)
    return context, fd


def ready(fd: int) -> int:
    """Ask whether there is something to read, without waiting; return the events of poll(2)."""
    asked = select.poll()
    asked.register(fd, select.POLLIN)
    return next((events for _, events in asked.poll(0)), 0)


def _event_descriptors() -> set[int]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them is gone by now
            if str(link.readlink()) == "anon_inode:[infinibandevent]":
                found.add(int(link.name))
    return found
