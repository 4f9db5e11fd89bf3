"""RDMA is used where a device has the node's address, and what is used instead is said."""

import logging

import pytest

from executor.__main__ import main
from executor.errors import VerbsMissing
from executor.transport import choosing
from executor.transport.carrier import StreamCarrier
from executor.transport.choosing import TransportKind, choose_carrier
from executor.transport.rdma import verbs
from executor.transport.rdma.carrier import RdmaCarrier
from executor.transport.rdma.verbs import Port

PORTS = tuple(
    Port(
        device=f"mlx5_{number}",
        number=1,
        gid_index=3,
        gid=f"0000:0000:0000:0000:0000:ffff:7f00:000{number}",
        address=f"127.0.0.{number}",
        mtu_bytes=4096,
        bytes_per_second=25 * 10**9,
    )
    for number in (1, 2)
)


@pytest.fixture
def devices(monkeypatch):
    """Two devices, one of which has the address of this machine's loopback; those that were opened."""
    opened = []
    monkeypatch.setattr(verbs, "ports", lambda: PORTS)
    monkeypatch.setattr(verbs, "Device", lambda port: opened.append(port) or port)
    return opened


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("kind", [TransportKind.AUTO, TransportKind.RDMA])
def test_the_device_with_the_nodes_address_is_used(kind, host, devices, caplog):
    with caplog.at_level(logging.INFO):
        assert isinstance(choose_carrier(kind, host), RdmaCarrier)
    assert devices == [PORTS[0]]
    assert caplog.messages == ["blobs and messages are written through mlx5_1, port 1 (127.0.0.1, rate 200 Gb/s)"]


def test_tcp_asks_no_device(monkeypatch):
    monkeypatch.setattr(choosing, "_open", lambda _: pytest.fail("a device was asked for"))
    assert isinstance(choose_carrier(TransportKind.TCP, "127.0.0.1"), StreamCarrier)


def test_without_a_device_for_the_address_it_is_tcp_and_that_is_said(devices, caplog):
    sentence = "RDMA: no active port has the address of 10.1.1.1; there are: mlx5_1 127.0.0.1, mlx5_2 127.0.0.2."
    with caplog.at_level(logging.INFO):
        assert isinstance(choose_carrier(TransportKind.AUTO, "10.1.1.1"), StreamCarrier)
    assert (devices, caplog.messages) == ([], [f"blobs and messages go over TCP: {sentence}"])
    with pytest.raises(VerbsMissing) as error:
        choose_carrier(TransportKind.RDMA, "10.1.1.1")
    assert str(error.value) == sentence


def test_a_daemon_that_is_to_use_rdma_and_cannot_does_not_start(monkeypatch, tmp_path, capsys):
    def missing():
        raise VerbsMissing("RDMA: pyverbs is not installed: pip install 'holdfast[rdma]'.")

    monkeypatch.setattr(verbs, "ports", missing)
    arguments = ["--node", "n0", "--http", "127.0.0.1:0", "--state", str(tmp_path), "--transport", "rdma"]
    assert main(arguments) == 2
    assert capsys.readouterr().err == "holdfastd: RDMA: pyverbs is not installed: pip install 'holdfast[rdma]'.\n"
