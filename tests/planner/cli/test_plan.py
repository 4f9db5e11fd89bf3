"""`holdfast plan` from the outside: exit codes, what it prints, what it writes."""

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from planner.__main__ import main
from planner.cli.documents import read_plan, read_verified
from planner.cli.plan_tables import certificate_table, pipeline_table
from planner.description.reading import read_problem
from specs import codec
from tests.checkpoints import make_checkpoint

DESCRIPTION = """
cluster:
  name: small
  templates:
    cpu1: {cpu: 1 GB, nics: {rate: 1 Gb/s, latency: 50 us}}
  nodes:
    source: {like: cpu1, address: "127.0.0.1:23100"}
    node[1-3]: {like: cpu1, address: "127.0.0.1:[23101-23103]"}
llms:
  chat:
    checkpoint: llm
    workload: {requests: 30 / min, prompt: 32, output: 32, longest: 256, live: 8}
    held: source
    wanted: node[1-3]
profile:
  - {device: cpu, dtype: F32, compute: 20 Gflop/s, memory: 5 GB/s, overhead: 400 us, source: made up}
"""

OLD = """    checkpoint: llm
    workload: {requests: 30 / min, prompt: 32, output: 32, longest: 256, live: 8}
    held: node[1-3]
"""

# Two racks of GPU nodes with several NICs, over two spines: many equal paths.
SIXTY = """
cluster:
  name: sixty
  switches:
    leaf[0-1]: {uplinks: {to: "spine[0-1]", rate: 400 Gb/s}}
    spine[0-1]:
  templates:
    gpu: {gpus: 4 x H100, nics: 200 Gb/s, pcie: PCIe 5 x16}
  nodes:
    a[01-30]: {like: gpu, switch: leaf0}
    b[01-30]: {like: gpu, switch: leaf1}
llms:
  chat:
    checkpoint: llm
    workload: {requests: 30 / min, prompt: 32, output: 32, longest: 256, live: 8}
    held: a01/gpu0
    wanted: [a02/gpu0, "a[03-30]/gpu1", "b[01-30]/gpu0"]
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    found = tmp_path_factory.mktemp("plan")
    make_checkpoint(found / "llm", "qwen3", tied=True)
    (found / "small.yaml").write_text(DESCRIPTION)
    (found / "tight.yaml").write_text(DESCRIPTION.replace("cpu: 1 GB", "cpu: 1 MB"))
    (found / "sixty.yaml").write_text(SIXTY)
    return found


def test_a_plan_is_written(directory, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert main(["plan", str(directory / "small.yaml"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    first = printed.out.splitlines()[0]
    assert first.startswith("planned and verified in ")
    assert first.endswith(f"{len(out.read_bytes()):,} bytes, written to {out}")
    for words in ("how good it is", "completion", "0, optimal", "closed-form: one-port-multicast-ticks", "pipelines"):
        assert words in printed.out
    for pipeline in read_plan(out).pipelines:
        assert pipeline.id in printed.out


def test_names_are_whole_in_a_narrow_terminal(directory, tmp_path):
    out = tmp_path / "plan.json"
    assert main(["plan", str(directory / "small.yaml"), "--out", str(out)]) == 0
    verified = read_verified(read_problem(directory / "small.yaml"), out)
    for table in (certificate_table(verified), pipeline_table(verified)):
        console = Console(width=72, file=io.StringIO())
        console.print(table)
        assert "…" not in console.file.getvalue()


def test_without_a_file_nothing_is_written(directory, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", str(directory / "small.yaml")]) == 0
    assert "not written (use --out)" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_json(directory, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert main(["plan", str(directory / "small.yaml"), "--json", "--blocks", "3", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "problem", "generation", "parent", "planner", "blobs", "transfers", "pipelines", "certificates",
    }  # fmt: skip
    assert (found["blobs"], found["transfers"], found["generation"], found["parent"]) == (3, 9, 1, None)
    plan = read_plan(out)
    assert found["problem"] == plan.problem
    assert [each["id"] for each in found["pipelines"]] == [each.id for each in plan.pipelines]
    claims = {"claim", "subject", "measure", "value", "bound", "method", "formula"}
    assert all(set(each) == claims for each in found["certificates"])


def test_a_plan_that_follows_another(directory, tmp_path, capsys):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert main(["plan", str(directory / "small.yaml"), "--out", str(first)]) == 0
    assert main(["plan", str(directory / "small.yaml"), "--after", str(first), "--out", str(second)]) == 0
    assert read_plan(second).generation == 2
    assert read_plan(second).parent == codec.digest(read_plan(first))


@pytest.mark.parametrize("option", ["--out", "--document"])
def test_the_description_is_not_written_over(directory, tmp_path, capsys, option):
    (tmp_path / "link.yaml").symlink_to(directory / "small.yaml")
    assert main(["plan", str(directory / "small.yaml"), option, str(tmp_path / "link.yaml")]) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path}/link.yaml cannot be written: it is what is read; name another file\n"
    )
    assert (directory / "small.yaml").read_text() == DESCRIPTION


def test_of_many_equal_conflicts_some_are_said(directory, capsys):
    many = directory / "many.yaml"
    text = DESCRIPTION.replace(', address: "127.0.0.1:23100"', "").replace(', address: "127.0.0.1:[23101-23103]"', "")
    many.write_text(text.replace("node[1-3]", "node[1-30]").replace("cpu: 1 GB", "cpu: 1 MB"))
    assert main(["plan", str(many)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[-1]) == (10, "  ... and at 22 other places (--json has all)")


def test_infeasible(directory, capsys, tmp_path):
    out = tmp_path / "plan.json"
    assert main(["plan", str(directory / "tight.yaml"), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("no plan: the problem is infeasible\n  MEM at node1/cpu0: needs ")
    assert all(line.endswith(" bytes are missing") for line in printed.out.splitlines()[1:])
    assert not out.exists()
    assert main(["plan", str(directory / "tight.yaml"), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["infeasible"]
    assert {row["rule"] for row in rows} == {"MEM"}
    assert set(rows[0]) == {"rule", "where", "sentence"}


def test_undecided(directory, capsys):
    apart = directory / "apart.yaml"
    # What the nodes hold would have to be given up for what they are to hold.
    full = DESCRIPTION.replace("cpu: 1 GB", "cpu: 5 MB").replace("llms:\n", "llms:\n  old:\n" + OLD)
    apart.write_text(full)
    assert main(["plan", str(apart)]) == 3
    assert capsys.readouterr().out.startswith("undecided: ")
    assert main(["plan", str(apart), "--json"]) == 3
    assert "this planner gives nothing up" in json.loads(capsys.readouterr().out)["undecided"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{}/absent.yaml"], "the file cannot be read"),
        (["{}/small.yaml", "--blocks", "5"], "chat has 4 layers; it can be cut into 1 to 4 blocks, not 5"),
        (["{}/small.yaml", "--after", "{}/absent.json"], "absent.json: cannot be read: No such file or directory"),
        (["{}/small.yaml", "--after", "{}/small.yaml"], "small.yaml: line 2, column 1: not JSON"),
        (["{}/small.yaml", "--out", "{}/no/plan.json"], "plan.json cannot be written: No such file or directory"),
        (["{}/small.yaml", "--blocks", "0"], "Invalid value for '--blocks'"),
    ],
)
def test_bad_input_is_one_sentence(directory, capsys, arguments, sentence):
    assert main(["plan", *(argument.format(directory) for argument in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("name", ["small", "sixty"])
def test_every_process_writes_the_same_bytes(directory, tmp_path, name):
    written = []
    for seed in ("1", "77"):
        out = tmp_path / f"{seed}.json"
        command = [sys.executable, "-m", "planner", "plan", str(directory / f"{name}.yaml"), "--out", str(out)]
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True)
        written.append(out.read_bytes())
    assert written[0] == written[1]
