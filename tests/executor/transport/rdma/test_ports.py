"""Which GIDs of a device are usable, told from tables as devices have them, and which of them has an address."""

from types import SimpleNamespace

import pytest

from executor.transport.rdma.ports import Port, port_of, ports_in

LINK_LOCAL = "fe80:0000:0000:0000:0000:00ff:fe00:0001"
IPV4 = "0000:0000:0000:0000:0000:ffff:0a00:0001"
OTHER_IPV4 = "0000:0000:0000:0000:0000:ffff:0a00:0002"
IPV6 = "2001:0db8:0000:0000:0000:0000:0000:0001"
ACTIVE, DOWN, INFINIBAND, ETHERNET, ROCE_V1, ROCE_V2 = 4, 1, 1, 2, 1, 2

VERBS = SimpleNamespace(
    libibverbs_enums=SimpleNamespace(
        ibv_port_state=SimpleNamespace(IBV_PORT_ACTIVE=ACTIVE),
        ibv_gid_type=SimpleNamespace(IBV_GID_TYPE_ROCE_V2=ROCE_V2),
        IBV_LINK_LAYER_INFINIBAND=INFINIBAND,
    )
)


class FakeContext:
    def __init__(self, *ports: tuple[int, int, list[tuple[str, int]]]) -> None:
        self.ports = ports

    def query_device(self):
        return SimpleNamespace(phys_port_cnt=len(self.ports))

    def query_port(self, number):
        state, link_layer, gids = self.ports[number - 1]
        return SimpleNamespace(state=state, link_layer=link_layer, gid_tbl_len=len(gids) + 3, active_mtu=3)

    def query_gid_table(self, entries_max):
        table = [
            SimpleNamespace(
                port_num=number, gid_index=index, gid_type=kind, gid_str=lambda gid=gid: gid, ndev_ifindex=7
            )
            for number, (_, _, gids) in enumerate(self.ports, 1)
            for index, (gid, kind) in enumerate(gids)
        ]
        assert len(table) <= entries_max
        return table


def found(*ports: tuple[int, int, list[tuple[str, int]]]) -> list[tuple[int, int, str | None]]:
    return [(port.number, port.gid_index, port.address) for port in ports_in(VERBS, FakeContext(*ports), "none0")]


def test_of_two_kinds_of_roce_the_routable_one_is_taken():
    gids = [(LINK_LOCAL, ROCE_V1), (LINK_LOCAL, ROCE_V2), (IPV4, ROCE_V1), (IPV4, ROCE_V2), (IPV6, ROCE_V2)]
    assert found((ACTIVE, ETHERNET, gids)) == [(1, 3, "10.0.0.1"), (1, 4, "2001:db8::1")]


def test_what_there_is_is_better_than_nothing():
    assert found((ACTIVE, ETHERNET, [(LINK_LOCAL, ROCE_V1), (IPV4, ROCE_V1)])) == [(1, 1, "10.0.0.1")]
    assert found((ACTIVE, ETHERNET, [(LINK_LOCAL, ROCE_V2)])) == [(1, 0, "fe80::ff:fe00:1")]
    assert found((ACTIVE, ETHERNET, [])) == []


def test_a_port_that_is_down_is_left_out():
    assert found((DOWN, ETHERNET, [(IPV4, ROCE_V2)]), (ACTIVE, ETHERNET, [(OTHER_IPV4, ROCE_V2)])) == [
        (2, 0, "10.0.0.2")
    ]


def test_a_gid_of_infiniband_carries_no_address():
    assert found((ACTIVE, INFINIBAND, [(LINK_LOCAL, 0), (IPV6, 0)])) == [(1, 0, None)]


def test_mtu_rate_and_interface():
    (port,) = ports_in(VERBS, FakeContext((ACTIVE, ETHERNET, [(IPV4, ROCE_V2)])), "none0")
    assert port.mtu_bytes == 1024
    assert port.bytes_per_second is None  # the kernel knows no such device
    assert port.interface == 7


@pytest.mark.parametrize(
    ("host", "gid_index"),
    [
        ("10.0.0.1", 0),
        ("::ffff:10.0.0.1", None),
        ("2001:DB8::1", 1),
        ("10.0.0.9", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_a_port_is_found_by_its_address(host, gid_index):
    ports = [
        Port(
            device="none0",
            number=1,
            gid_index=index,
            gid=gid,
            address=address,
            mtu_bytes=4096,
            bytes_per_second=None,
        )
        for index, (gid, address) in enumerate([(IPV4, "10.0.0.1"), (IPV6, "2001:db8::1"), (LINK_LOCAL, None)])
    ]
    port = port_of(host, ports)
    assert (None if port is None else port.gid_index) == gid_index
