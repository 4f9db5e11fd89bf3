"""`holdfast mix` from the outside, and how its files are read."""

import json
from pathlib import Path

import pytest

from planner.__main__ import main
from planner.description.mix_reading import read_mix
from planner.errors import BadDescription
from specs.decisions.mix.question import Ability, Objective
from tests.hash_seeds import printed

EXAMPLES = Path(__file__).parents[3] / "examples" / "mixes"
SMALL = """objective: cost
demands:
  prefill: {requests: 2 / s, floor: 1 / s}
  decode: {requests: 2 / s}
devices: {H200: 8, L40S: 4}
units:
  p: {devices: {H200: 1}, serves: {prefill: 3 / s}, price: 4 USD / h, running: 1}
  d: {devices: {L40S: 2}, serves: {decode: 1.5 / s}, price: 1.20 USD / h, start: 0.5 USD, stop: 0.25 USD}
  pd: {devices: {H200: 1, L40S: 1}, serves: {prefill + decode: 90 / min}, price: 4.6 USD / h}
hours: 10
phases: 2
changes: 5
budget: 1000 USD
group: 4
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "mix.yaml"
        path.write_text(text)
        return path

    return write


def test_a_file_is_read_whole(file):
    read = read_mix(file(SMALL))
    question = read.question
    assert read.group_devices_max == 4
    assert (question.objective, question.hours, question.phases_max, question.changes_max) == (Objective.COST, 10, 2, 5)
    assert question.cost_max == 1000 * 10**6
    assert [(each.requests_per_hour, each.floor_per_hour) for each in question.demands] == [(7200, 3600), (7200, 0)]
    p, d, pd = question.units
    assert (p.cost, p.running, d.start_cost, d.stop_cost) == (4 * 10**6, 1, 500_000, 250_000)
    # A third of a second, rounded up: demand up, capacity down.
    assert p.abilities == (Ability(covers=("prefill",), request_ns=333_333_334),)
    assert pd.abilities == (Ability(covers=("prefill", "decode"), request_ns=666_666_667),)
    assert [(part.kind, part.count) for part in pd.devices] == [("H200", 1), ("L40S", 1)]


@pytest.mark.parametrize(
    ("old", "new", "place", "sentence"),
    [
        ("objective: cost", "objective: fast", "1:12", "'fast' is not an objective; write one of devices, cost, chang"),
        ("prefill: 3 / s", "prefil: 3 / s", "7:36", "'prefil' is not stated above; "),
        ("{H200: 1}, serves: {prefill:", "{H100: 1}, serves: {prefill:", "7:17", "'H100' is not stated above; "),
        ("floor: 1 / s", "floor: 3 / s", "3:37", "the floor, 10,800 per hour, is above the demand, 7,200 per hour"),
        ("decode: 1.5 / s", "decode: 1.5", "8:44", "'1.5' is not a rate of requests; write for example 3.05 / s"),
        ("decode: 1.5 / s", "decode: 0 / s", "8:44", "'0 / s': a unit that serves nothing of this is left out"),
        ("prefill + decode", "prefill + prefill", "9:46", "'prefill + prefill' names a demand twice"),
        ("start: 0.5 USD", "start: 0.5", "8:82", "'0.5' is not money; write for example 1.50 USD"),
        ("{L40S: 2}", "{}", "8:16", "a unit that has no devices is no unit"),
        ("{decode: 1.5 / s}", "{}", "8:35", "a unit that serves nothing is no unit"),
        ("group: 4", "groups: 4", "14:1", "unknown key 'groups'"),
        ("running: 1", "running: 9", "1:1", "running units have 9 devices of kind H200, 8 are available"),
        ("units:\n", "shapes:\n", "1:1", "units is missing"),
    ],
)
def test_faults_have_their_place(file, old, new, place, sentence):
    assert old in SMALL
    path = file(SMALL.replace(old, new, 1))
    with pytest.raises(BadDescription) as found:
        read_mix(path)
    assert any(each.startswith(f"{path}:{place}: ") and sentence in each for each in found.value.faults), found.value


def test_equal_groups_have_no_changes(file):
    with pytest.raises(BadDescription, match="equal groups are chosen by devices or cost, not by changes"):
        read_mix(file(SMALL.replace("objective: cost", "objective: changes")))


def test_the_published_sizes(capsys):
    """68 H200 where AIConfigurator takes 72; its relaxation shows that 67 are too few."""
    assert main(["mix", str(EXAMPLES / "qwen3-32b-h200.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["value"], found["bound"], found["gap"], found["method"]) == (68, 68, 0, "dual")
    assert found["equal_groups"]["value"] - found["value"] == found["equal_groups"]["more"] > 0


def test_tables(file, capsys):
    assert main(["mix", str(file(SMALL))]) == 0
    printed = capsys.readouterr().out
    assert "0, optimal" in printed
    assert "USD" in printed
    assert "equal groups of" in printed
    assert main(["mix", str(EXAMPLES / "growing.yaml")]) == 0
    printed = capsys.readouterr().out
    assert "then stops" in printed
    assert "18 devices" in printed


def test_no_mix(file, capsys):
    scarce = SMALL.replace("H200: 8, L40S: 4", "H200: 2, L40S: 1")
    assert main(["mix", str(file(scarce))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("no mix serves these demands within the limits (")
    assert any("devices of kind L40S are needed, 1 are available" in line for line in lines)
    assert main(["mix", str(file(scarce)), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    limits = {each["limit"]: each for each in found["infeasible"]}
    assert limits["devices:L40S"]["allowed"] == 1 < limits["devices:L40S"]["needed"]


def test_bad_input(file, capsys):
    assert main(["mix", str(file(SMALL)), "--within", "2"]) == 2
    assert main(["mix", str(file("objective: cost\n"))]) == 2
    printed = capsys.readouterr()
    assert "demands and devices and units are missing" in printed.err
    assert printed.out == ""


def test_every_process_says_the_same(file):
    words = ["mix", str(file(SMALL)), "--json"]
    assert printed(f"from planner.__main__ import main; main({words})")
