"""`holdfast describe` from the outside: what it prints is golden, and so are its exit codes."""

import inspect
import json
from pathlib import Path

import pytest

from planner.__main__ import main
from planner.cli.describe import describe
from tests.checkpoints import make_checkpoint

GOLDEN = Path(__file__).parents[2] / "golden" / "describe"
CLUSTERS = Path(__file__).parents[3] / "examples" / "clusters"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    directory = tmp_path_factory.mktemp("describe")
    make_checkpoint(directory / "llm", "qwen3", tied=True)
    (directory / "small.yaml").write_text((GOLDEN / "small.yaml").read_text())
    return directory / "small.yaml"


def lines(text):
    return [line.rstrip() for line in text.rstrip().splitlines()]


def check_golden(name, printed):
    """To take a new transcript, write what was printed into the file and read the difference."""
    assert lines(printed) == lines((GOLDEN / name).read_text())


def test_a_problem(small, capsys):
    assert main(["describe", str(small)]) == 0
    printed = capsys.readouterr()
    check_golden("small.txt", printed.out)
    assert printed.err == ""


def test_a_cluster_without_llms(capsys):
    assert main(["describe", str(CLUSTERS / "mixed-l4-a10.yaml")]) == 0
    check_golden("mixed-l4-a10.txt", capsys.readouterr().out)


def test_json_is_exact(small, capsys):
    assert main(["describe", str(small), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (llm,) = found["llms"]
    assert (llm["layers"], llm["dtype"], llm["tied"], llm["kv_bytes_per_token"]) == (4, "F32", True, 4 * 2 * 2 * 16 * 4)
    assert found["cluster"]["device_memory_bytes"] == 3 * 10**9
    assert [fit["missing_bytes"] for fit in found["fits"]] == [0, 0, 0]
    assert len(found["problem"]) == 64


def test_what_does_not_fit_is_infeasible(small, capsys):
    tight = small.with_name("tight.yaml")
    tight.write_text(small.read_text().replace("cpu: 1 GB", "cpu: 1 MB"))
    assert main(["describe", str(tight)]) == 1
    printed = capsys.readouterr().out
    assert "MEM at node1/cpu0: chat would need" in printed
    assert "bytes are missing" in printed
    assert main(["describe", str(tight), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["fits"][1]["missing_bytes"] > 0


def test_bad_input_names_its_place(small, capsys):
    bad = small.with_name("bad.yaml")
    bad.write_text(small.read_text().replace("cpu: 1 GB", "cpuz: 1 GB").replace("1 Gb/s", "1 Gbps"))
    assert main(["describe", str(bad)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{bad}:4:12: unknown key 'cpuz'; did you mean cpu?" in printed.err.splitlines()
    assert main(["describe", str(small.with_name("absent.yaml"))]) == 2
    assert "the file cannot be read" in capsys.readouterr().err


def test_wrong_usage_is_bad_input(capsys):
    for arguments in (["describe"], ["describe", "x", "--jso"], ["descrbe"], []):
        assert main(arguments) == 2
    assert main(["--help"]) == 0
    assert "describe" in capsys.readouterr().out


def test_the_picture_is_written(small, tmp_path, capsys):
    assert main(["describe", str(small), "--picture", str(tmp_path / "out.svg")]) == 0
    assert (tmp_path / "out.svg").read_text().startswith("<svg ")
    assert main(["describe", str(small), "--picture", str(tmp_path / "absent" / "out.svg")]) == 2
    assert "out.svg" in capsys.readouterr().err


def test_the_options_are_these():
    options = ["description", "this_node", "as_json", "as_yaml", "picture"]
    assert list(inspect.signature(describe).parameters) == options
