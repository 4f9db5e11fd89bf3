"""The ports of this node's RDMA devices, and which of them has which address."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs

from specs.units import BytesPerSecond


@attrs.frozen(kw_only=True)
class Port:
    """One GID of an active port: an address that a queue pair may have."""

    device: str
    number: int  # from 1
    gid_index: int
    gid: str  # as in Contact
    address: str | None  # the IPv4 or IPv6 address that the GID carries; None on InfiniBand
    mtu_bytes: int
    bytes_per_second: BytesPerSecond | None  # as the kernel reports it
    interface: int = 0  # the index of the network interface that the GID belongs to; 0: there is none


def port_of(host: str, ports: Sequence[Port]) -> Port | None:
    """Return the port whose GID carries this address; None, too, for a name that is no address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    for port in ports:
        if port.address is not None and ipaddress.ip_address(port.address) == address:
            return port
    return None


def address_in(gid: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that a GID of RoCE carries."""
    address = ipaddress.IPv6Address(gid)
    return address.ipv4_mapped or address


def ports_in(verbs: Any, context: Any, device: str) -> Iterator[Port]:
    """Read the GID table of an open device.  `verbs` is pyverbs, the context one of its own; raises what it raises."""
    numbers = range(1, context.query_device().phys_port_cnt + 1)
    states = {number: context.query_port(number) for number in numbers}
    table = context.query_gid_table(sum(state.gid_tbl_len for state in states.values()))
    for number, state in states.items():
        if state.state != verbs.libibverbs_enums.ibv_port_state.IBV_PORT_ACTIVE:
            continue
        is_infiniband = state.link_layer == verbs.libibverbs_enums.IBV_LINK_LAYER_INFINIBAND
        entries = [entry for entry in table if entry.port_num == number]
        for entry in entries[:1] if is_infiniband else _usable(verbs, entries):
            yield Port(
                device=device,
                number=number,
                gid_index=entry.gid_index,
                gid=entry.gid_str(),
                address=None if is_infiniband else str(address_in(entry.gid_str())),
                mtu_bytes=128 << state.active_mtu,
                bytes_per_second=_rate_of(device, number),
                interface=entry.ndev_ifindex,
            )


def _usable(verbs: Any, entries: list[Any]) -> list[Any]:
    """Of RoCE v2 if there is any; link-local addresses only if there is no other."""
    routable = verbs.libibverbs_enums.ibv_gid_type.IBV_GID_TYPE_ROCE_V2
    usable = [entry for entry in entries if entry.gid_type == routable] or entries
    return [entry for entry in usable if not address_in(entry.gid_str()).is_link_local] or usable


def _rate_of(device: str, number: int) -> BytesPerSecond | None:
    """Read the kernel's word, such as "100 Gb/sec (4X EDR)"."""
    try:
        text = Path(f"/sys/class/infiniband/{device}/ports/{number}/rate").read_text()
    except OSError:
        return None
    said = re.match(r"(\d+(?:\.\d+)?) Gb/sec", text)
    return BytesPerSecond(int(Fraction(said[1]) * 10**9 / 8)) if said else None
