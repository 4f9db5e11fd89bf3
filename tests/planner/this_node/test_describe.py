"""`holdfast describe --this-node` from the outside."""

import json

import pytest

from planner.__main__ import main
from planner.cli import describe
from tests.planner.this_node.fake_machine import FakeMachine, dgx, two_ports


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command on a fake machine; give its exit code and what it printed."""

    def run(machine, *words):
        monkeypatch.setattr(describe, "_ROOT", machine.root)
        code = main(["describe", "--this-node", *words])
        printed = capsys.readouterr()
        assert printed.err == ""
        return code, printed.out

    return run


def row(printed, *words):
    """Find the row that begins with these words."""
    (found,) = {line for line in printed.splitlines() if line.split()[: len(words)] == [*words]}
    return found.split()[len(words) :]


def test_a_dgx(tmp_path, run):
    code, printed = run(dgx(tmp_path))
    assert code == 0
    assert printed.startswith("dgx1: 2 TiB of memory, 8 GPUs, 8 RDMA devices with 8 ports, 1 net device\n")
    assert row(printed, "0", "1", "TiB") == ["1,099,511,627,776", "0-7", "gpu[0-3]", "mlx5_[0-3]"]
    ends = ["0000:56:00.0", "PCIe", "5", "x16", "1", "PIX", "to", "gpu[4-5]"]
    assert row(printed, "mlx5_5", "1", "ACTIVE") == ["LinkUp", "400", "Gb/s", "InfiniBand", "21", *ends]
    assert row(printed, "mlx5_5", "SYS") == ["SYS", "SYS", "SYS", "PIX", "PIX", "NODE", "NODE"]
    assert row(printed, "gpu1", "PIX") == ["X", "NODE", "NODE", "SYS", "SYS", "SYS", "SYS"]
    assert "\n    dgx1:\n      gpus: 8 x H100\n" in printed


def test_roce_and_what_is_down(tmp_path, run):
    code, printed = run(two_ports(tmp_path))
    assert code == 0
    assert row(printed, "mlx5_1", "1", "DOWN")[:3] == ["Disabled", "40", "Gb/s"]
    gid = ["0000:0000:0000:0000:0000:ffff:0a00:0005", "10.0.0.5", "RoCE", "v2", "ens1f0np0"]
    assert row(printed, "mlx5_0", "1", "3") == gid
    assert row(printed, "ens1f1np1") == ["down", "9000", "0000:81:00.1", "0", "mlx5_1"]


def test_nothing_there_and_nothing_understood(tmp_path, run):
    code, printed = run(FakeMachine(tmp_path))
    assert code == 0
    assert "RDMA ports" not in printed
    machine = FakeMachine(tmp_path / "odd", name="a b")
    machine.write("sys/class/infiniband/rxe0/ports/1/rate", b"\xff")
    machine.write("sys/class/infiniband/rxe1/fw_ver", "")
    code, printed = run(machine)
    assert code == 0
    assert row(printed, "rxe0", "1") == ["?"] * 4
    assert row(printed, "rxe1") == ["?"] * 5
    assert "# not known: /sys/class/infiniband/rxe0/ports/1/rate: the byte 0xff is not ASCII" in printed


def test_json_is_exact(tmp_path, run):
    code, printed = run(dgx(tmp_path), "--json")
    assert code == 0
    found = json.loads(printed)
    assert (found["name"], found["memory_bytes"], found["unknown"]) == ("dgx1", 2**41, [])
    device = found["rdma_devices"][2]
    assert device["pci"]["numa_node"] == 0
    assert device["pcie"] == {"generation": 5, "lanes": 16}
    assert device["gpu_distances"]["gpu2"] == "PIX"
    (port,) = device["ports"]
    assert (port["state"], port["lid"], port["bytes_per_second"]) == ("ACTIVE", 18, 50 * 10**9)
    gid = {"index": 0, "gid": "fe80:0000:0000:0000:0000:0000:0000:0003", "ipv4": None}
    assert port["gids"] == [gid | {"type": "InfiniBand", "net_device": None}]
    assert list(found["gpus"][1]["gpu_distances"].values()) == ["PIX", "NODE", "NODE", "SYS", "SYS", "SYS", "SYS"]


def test_yaml_is_the_entry_alone(tmp_path, run):
    code, printed = run(two_ports(tmp_path), "--yaml")
    assert code == 0
    path = tmp_path / "whole.yaml"
    path.write_text(f"cluster:\n  name: one\n  nodes:\n{printed}")
    assert main(["describe", str(path)]) == 0


def test_the_machine_that_this_runs_on(capsys):
    for words in ([], ["--json"], ["--yaml"]):
        assert main(["describe", "--this-node", *words]) == 0
        assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--this-node", "x.yaml"], "it is instead of a description; leave out x.yaml or it"),
        (["--this-node", "--picture", "x.svg"], "the picture is of a description; leave out --picture or it"),
        (["--this-node", "--json", "--yaml"], "say --json or --yaml, not both"),
        (["x.yaml", "--yaml"], "it prints the entry of this node; say --this-node too"),
        ([], "name a description, or say --this-node"),
    ],
)
def test_what_excludes_what(words, sentence, capsys):
    assert main(["describe", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err


def test_not_linux(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(describe, "_ROOT", tmp_path)
    assert main(["describe", "--this-node"]) == 2
    assert "there is no /sys/class here" in capsys.readouterr().err
