"""Files for Helix's simulator, and the question behind them, on three small machines."""

import json
from ast import literal_eval
from configparser import ConfigParser
from pathlib import Path

import attrs
import pytest

from benchmarks import helix_simulator
from benchmarks.helix_simulator import (
    HOP_S,
    PROFILE,
    Case,
    Profile,
    Simulator,
    adjacent,
    cluster_text,
    compare,
    lay_out,
    question,
    read_cluster,
    solution_text,
    token_s,
)
from specs.decisions.layout.spans import ENTRY, EXIT, Answer, Flow, Span

CLUSTER = """
[NodeNames]
total_compute_nodes=3

[ComputeNode-0]
type=Big
[ComputeNode-1]
type=Small
[ComputeNode-2]
type=Small
""" + "".join(
    f"[Link-{one}-{other}]\nbandwidth=1000 * mbps\nlatency=1 * MilliSec\n"
    for one, other in (
        *(("source", i) for i in range(3)),
        *((i, "sink") for i in range(3)),
        *((0, 1), (0, 2), (1, 2)),
    )
)
MACHINES = """
[SourceNode]
outbound_nic_speed = 10 * gbps
[SinkNode]
inbound_nic_speed = 10 * gbps
[Big]
vram_size = 40 * GB
[Small]
vram_size = 16 * GB
"""
KV = {"Big": [9000, 8000, 6000], "Small": [3000, 2000]}


def profile() -> Profile:
    times = {"prompt": [(0, 0.0), (100, 0.010)], "decode": [(0, 0.0), (2, 0.001), (10, 0.002)]}
    return Profile(
        layers=4,
        prompt=60.0,
        output=40.0,
        kv=KV,
        rates={"Big": [90.0, 40.0, 20.0], "Small": [30.0, 10.0]},
        times={"Big": times, "Small": times},
    )


def two_stages(*, parallel: bool) -> Answer:
    runs = [("0", 0, 2), ("1", 2, 4), ("2", 2, 4)]
    return Answer(
        spans=tuple(Span(machine=m, first_layer=f, end_layer=e) for m, f, e in runs[: 3 if parallel else 2]),
        flows=(),
    )


def machines() -> ConfigParser:
    parser = ConfigParser()
    parser.read_string(MACHINES)
    return parser


def test_a_cluster_has_its_kinds_in_order_and_its_links():
    cluster = read_cluster(CLUSTER)
    assert cluster.kinds == ("Big", "Small", "Small")
    assert len(cluster.links) == 9
    assert cluster.links["0", "2"]["bandwidth"] == "1000 * mbps"


def test_a_solution_lists_layers_of_machines_that_hold_some():
    parser = ConfigParser()
    parser.read_string(solution_text(read_cluster(CLUSTER), two_stages(parallel=False)))
    assert parser["Settings"]["offset"] == "2"
    assert dict(parser["Solution"]) == {"compute_node_2": "[0, 1]", "compute_node_3": "[2, 3]"}


@pytest.mark.parametrize("parallel", [False, True])
def test_a_described_cluster_has_just_the_machines_of_the_answer_with_their_room_for_kv(parallel):
    parser = ConfigParser()
    parser.read_string(cluster_text(read_cluster(CLUSTER), machines(), KV, two_stages(parallel=parallel)))
    names = literal_eval(parser["ComputeNodes"]["names"])
    assert names == ["compute_node_2", "compute_node_3", "compute_node_4"][: 3 if parallel else 2]
    assert [parser[name]["kv_cache_capacity"] for name in names] == ["8000", "2000", "2000"][: len(names)]
    assert parser["compute_node_2"]["vram_size"] == "40 * GB"
    links = literal_eval(parser["Links"]["names"])
    assert len(links) == 2 * len(names) - 1
    for name in links:
        assert parser[name]["latency"] == "1 * MilliSec"
        assert name == f"link_{parser[name]['in']}_{parser[name]['out']}"


def test_links_go_from_where_a_machine_ends_to_where_another_begins():
    pairs = adjacent(read_cluster(CLUSTER), two_stages(parallel=True))
    assert pairs == [("source", "0"), ("0", "1"), ("0", "2"), ("1", "sink"), ("2", "sink")]
    # The file lists a link between machines once; it carries both ways.
    back = Answer(
        spans=(Span(machine="2", first_layer=0, end_layer=2), Span(machine="0", first_layer=2, end_layer=4)), flows=()
    )
    assert ("2", "0") in adjacent(read_cluster(CLUSTER), back)


def test_a_machine_takes_the_requests_that_it_is_sent_and_has_kv_for():
    # 100 tokens a request, 80 % full: 72, 32, 16 and 24, 8 requests; both kinds are full of layers in 0.8 s, in which
    # rates of 90, 40, 20 and 30, 10 give 72, 32, 16 and 24, 8.
    assert profile().requests("Big") == (72_000, 32_000, 16_000)
    assert profile().requests("Small") == (24_000, 8_000)
    asked = question(read_cluster(CLUSTER), profile())
    assert asked.machine["0"].millitokens_per_second == (72_000, 32_000, 16_000)
    assert {(ENTRY, "0"), ("0", "1"), ("1", "0"), ("1", EXIT)} <= asked.link.keys()


def test_a_token_takes_two_passes_of_each_stage_and_its_share_of_prompts():
    answer = Answer(
        spans=two_stages(parallel=False).spans,
        flows=tuple(
            Flow(source=a, destination=b, millitokens_per_second=20_000)
            for a, b in ((ENTRY, "0"), ("0", "1"), ("1", EXIT))
        ),
    )
    # Batches of 10: 1 ms alone, 2 ms together, and a quarter of a prompt of 6 ms; four layers, three links.
    assert token_s(read_cluster(CLUSTER), profile(), answer) == pytest.approx(4 * 0.0045 + 3 * HOP_S)


def test_the_limit_of_stages_that_gives_most_tokens_a_second_is_taken():
    cluster = read_cluster(CLUSTER)
    answer, rate = lay_out(cluster, profile(), (2, 3))
    flow = sum(each.millitokens_per_second for each in answer.flows if each.source == ENTRY)
    assert rate == flow / 1000 / token_s(cluster, profile(), answer)
    assert rate == max(lay_out(cluster, profile(), [depth])[1] for depth in (2, 3))


def test_without_a_layout_nothing_is_expected():
    assert lay_out(read_cluster(CLUSTER), profile(), []) == (Answer(spans=(), flows=()), 0.0)


def test_both_layouts_are_simulated_alike_and_compared(tmp_path, monkeypatch):
    folder = tmp_path / "artifact_evaluation" / "folder"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "cluster.ini").write_text(CLUSTER)
    (folder / "config" / "machine_profiles.ini").write_text(MACHINES)
    simulated = []

    def run(_self: Simulator, script: str, *given: str, folder: str = "") -> str:
        if script == PROFILE:
            own = attrs.asdict(profile())
            kinds = {
                kind: {"kv": own["kv"][kind], "rates": own["rates"][kind], **own["times"][kind]} for kind in own["kv"]
            }
            return json.dumps({**{name: own[name] for name in ("layers", "prompt", "output")}, "kinds": kinds})
        simulated.append((folder, *given[1:3], *given[6:]))
        return f"[watch]\ndecoded {12.5 if Path(given[3]).name == 'ilp_sol.ini' else 25.0}\n"

    monkeypatch.setattr(Simulator, "run", run)
    monkeypatch.setattr(helix_simulator, "DEPTHS", (2,))
    case = Case(folder="folder", cluster="config/cluster.ini", layout="layout", model="LLM", published="12.5")
    row = compare(Simulator(checkout=tmp_path, python=Path("python")), case, 7)
    assert row.startswith("| 12.5 | 12.5 | 25.0 | 2.00 | 2 |")
    assert simulated == [("folder", "7", "LLM", '{"Big": 1, "Small": 2}')] * 2
