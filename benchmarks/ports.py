"""Where the processes of a benchmark meet: loopback, or a network namespace each, with a port of limited rate.

Namespaces need root and the `ip` and `tc` programs.  Each is joined to one bridge by a pair of virtual interfaces; a
token bucket limits what leaves the namespace (its send port) and another what enters it (its receive port).
"""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs

BRIDGE = "hfbench"
MTU = 65000  # so that headers are a thousandth of what is counted
BURST_BYTES = 256 << 10
_CLONE_NEWNET = 0x40000000


@attrs.frozen(kw_only=True)
class Port:
    """Where one process listens."""

    host: str
    number: int
    interface: str
    namespace: str | None  # absent: the machine's own


def loopback(count: int) -> list[Port]:
    """Find free ports of loopback."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [
            Port(host="127.0.0.1", number=each.getsockname()[1], interface="lo", namespace=None) for each in sockets
        ]


def enter(port: Port) -> None:
    """Move this process into the port's namespace; it must have one thread only.  Raises OSError."""
    if port.namespace is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", port.namespace).open() as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {port.namespace}")


@contextlib.contextmanager
def limited(count: int, bytes_per_second: int) -> Iterator[list[Port]]:
    """Make namespaces whose ports carry so much each way; they are gone afterwards.  Raises CalledProcessError."""
    _remove(count)  # what an interrupted run left
    try:
        _run(f"ip link add {BRIDGE} type bridge")
        _run(f"ip link set {BRIDGE} mtu {MTU} up")
        for index in range(count):
            _make(index, bytes_per_second)
        yield [
            Port(host=f"10.213.0.{index + 1}", number=7100, interface="eth0", namespace=f"{BRIDGE}{index}")
            for index in range(count)
        ]
    finally:
        _remove(count)


def _remove(count: int) -> None:
    for index in range(count):
        subprocess.run(["ip", "netns", "del", f"{BRIDGE}{index}"], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, stderr=subprocess.DEVNULL)


def _make(index: int, bytes_per_second: int) -> None:
    name, outside = f"{BRIDGE}{index}", f"{BRIDGE}v{index}"
    bucket = f"tbf rate {bytes_per_second * 8}bit burst {BURST_BYTES} limit {8 << 20}"
    _run(f"ip netns add {name}")
    _run(f"ip link add {outside} mtu {MTU} type veth peer name eth0 netns {name}")
    _run(f"ip link set {outside} master {BRIDGE} up")
    _run(f"ip -n {name} link set lo up")
    _run(f"ip -n {name} addr add 10.213.0.{index + 1}/24 dev eth0")
    _run(f"ip -n {name} link set eth0 mtu {MTU} up")
    _run(f"ip netns exec {name} tc qdisc add dev eth0 root {bucket}")
    _run(f"tc qdisc add dev {outside} root {bucket}")


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def may_limit() -> str | None:
    """Say why namespaces cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    found = [subprocess.run(["which", program], capture_output=True, check=False) for program in ("ip", "tc")]
    return None if all(each.returncode == 0 for each in found) else "`ip` or `tc` is missing"
