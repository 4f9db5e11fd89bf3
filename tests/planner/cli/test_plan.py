"""`holdfast plan` from the outside: exit codes, what it prints, what it writes."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from planner.__main__ import main
from planner.cli.documents import read_plan, read_verified
from planner.cli.plan_tables import certificate_table, pipeline_table
from planner.cli.searching import STEPS_DEFAULT, say, shown
from planner.description.reading import read_problem
from planner.search import Progress, Search
from planner.solve import solve
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
        "problem", "generation", "parent", "planner", "solvers", "seed", "steps_max", "within_ns", "aim",
        "blobs", "transfers", "running", "pipelines", "switches", "resizes", "residents", "certificates",
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


def test_a_plan_for_nodes_that_know_of_others(directory, tmp_path, capsys):
    description, first, second = str(directory / "small.yaml"), tmp_path / "first.json", tmp_path / "second.json"
    assert main(["plan", description, "--generation", "7", "--out", str(first)]) == 0
    assert (read_plan(first).generation, read_plan(first).parent) == (7, None)
    assert main(["plan", description, "--after", str(first), "--generation", "9", "--out", str(second)]) == 0
    assert read_plan(second).generation == 9
    capsys.readouterr()
    assert main(["plan", description, "--after", str(second), "--generation", "9"]) == 2
    assert "what follows that plan has generation 10 or more" in capsys.readouterr().err


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
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("    ")]
    assert (len(lines), lines[-1]) == (10, "  ... and at 22 other places (--json has all)")


def test_infeasible(directory, capsys, tmp_path):
    out = tmp_path / "plan.json"
    assert main(["plan", str(directory / "tight.yaml"), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("no plan: the problem is infeasible\n  MEM at node1/cpu0: needs ")
    lines = printed.out.splitlines()[1:]
    assert all(line.endswith(" bytes are missing") for line in lines if line.startswith("  MEM"))
    assert lines[1].startswith("    enough by itself - memory of node1/cpu0: ")
    assert not out.exists()
    assert main(["plan", str(directory / "tight.yaml"), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["infeasible"]
    assert {row["rule"] for row in rows} == {"MEM"}
    assert set(rows[0]) == {"rule", "where", "sentence", "gives", "proven"}
    give = rows[0]["gives"][0]
    assert give["limit"] == "memory of node1/cpu0"
    assert give["allowed"] < give["needed"]


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
        (["{}/small.yaml", "--blocks", "7"], "chat cannot be cut into 7 blocks: its 4 layers and what lies before and"),
        (["{}/small.yaml", "--after", "{}/absent.json"], "absent.json: cannot be read: No such file or directory"),
        (["{}/small.yaml", "--after", "{}/small.yaml"], "small.yaml: line 2, column 1: not JSON"),
        (["{}/small.yaml", "--out", "{}/no/plan.json"], "plan.json cannot be written: No such file or directory"),
        (["{}/small.yaml", "--from", "{}/absent.json", "--generation", "2"], "a state says by itself which"),
        (["{}/small.yaml", "--blocks", "0"], "Invalid value for '--blocks'"),
    ],
)
def test_bad_input_is_one_sentence(directory, capsys, arguments, sentence):
    assert main(["plan", *(argument.format(directory) for argument in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--within", "2"], "'2' has no unit; write for example 200 us, 30 ms or 1.5 s"),
        (["--within", "soon"], "Invalid value for '--within'"),
        (["--within", "2s", "--steps", "9"], "a limit by the clock differs from run to run; --steps rules it out"),
        (["--within", "2s", "--reproducible"], "--reproducible rules it out"),
        (["--steps", "0"], "Invalid value for '--steps'"),
    ],
)
def test_limits_that_mean_nothing(directory, capsys, arguments, sentence):
    assert main(["plan", str(directory / "small.yaml"), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_limits_are_recorded(directory, tmp_path):
    out = tmp_path / "plan.json"
    for arguments, limits in (
        ([], (None, None, 0)),
        (["--within", "20 s"], (None, 20 * 10**9, 0)),
        (["--reproducible", "--seed", "5"], (STEPS_DEFAULT, None, 5)),
        (["--steps", "7"], (7, None, 0)),
    ):
        assert main(["plan", str(directory / "small.yaml"), "--out", str(out), *arguments]) == 0
        made = read_plan(out).provenance
        assert (made.steps_max, made.within_ns, made.seed) == limits


def test_no_time_is_undecided(directory, capsys):
    assert main(["plan", str(directory / "small.yaml"), "--within", "0 s"]) == 3
    assert capsys.readouterr().out.startswith("undecided: the time was over before the first plan was whole: ")


def test_the_first_ctrl_c_ends_the_search_and_the_second_the_command(capsys):
    search = Search()
    with shown(search, "planning"):
        os.kill(os.getpid(), signal.SIGINT)
        assert search.over()
        assert capsys.readouterr().err == "ending with the best plan so far; Ctrl-C again ends at once\n"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_gives_the_best_plan(directory, capsys, monkeypatch):
    def interrupted(problem, request, search):
        os.kill(os.getpid(), signal.SIGINT)
        assert search.over()
        return solve(problem, request, search)

    monkeypatch.setattr("planner.cli.plan.solve", interrupted)
    assert main(["plan", str(directory / "small.yaml")]) == 0
    assert "the search was ended early: this is the best plan that it had" in capsys.readouterr().out


def test_progress_says_value_bound_and_gap():
    for value, bound, said in (
        (None, None, "transfers of a: none found yet"),
        (1_100, None, "transfers of a: value 1,100, bound unknown"),
        (1_100, 1_000, "transfers of a: value 1,100, bound 1,000, gap 10.00%"),
        (90, 100, "transfers of a: value 90, bound 100, gap 10.00%"),  # of what is to be large
    ):
        assert say(Progress(decision="transfers of a", value=value, bound=bound)) == said


def test_output_that_cannot_be_written(directory):
    call = [sys.executable, "-m", "planner", "plan", str(directory / "small.yaml")]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a file
        ended = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "the output cannot be written: No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(call, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, "")


def test_ctrl_c_while_it_imports_is_quiet(directory):
    text = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from planner.__main__ import main\n"
        "sys.exit(main(['--help']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("name", "more"), [("small", ["--reproducible", "--seed", "3"]), ("sixty", [])], ids=["reproducible", "many paths"]
)
def test_every_process_writes_the_same_bytes(directory, tmp_path, name, more):
    written = []
    for seed in ("1", "77"):
        out = tmp_path / f"{seed}.json"
        command = [sys.executable, "-m", "planner", "plan", str(directory / f"{name}.yaml"), "--out", str(out), *more]
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True)
        written.append(out.read_bytes())
    assert written[0] == written[1]
