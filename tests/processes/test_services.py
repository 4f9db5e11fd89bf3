"""Pipelines over several devices that stay, from an LLM that no device holds whole; and who may say what is right."""

import shutil
import signal

import attrs
import pytest
from safetensors.torch import load_file, save_file

from planner.audit.journals import read_journals
from planner.repair import records_of_run, repair
from specs import journal
from specs.cluster import Link, Place, PlaceKind
from specs.problem import Holding, Problem, Target
from specs.units import INTEGER_MAX
from specs.wishes import Objective, Service, Standby
from tests.processes.cluster import (
    LLM,
    adopt,
    completion,
    daemons,
    document,
    make_plan,
    make_problem,
    text_of,
    wait_for,
    wait_until_complete,
    weights_bytes,
)

FAST = 10**9
HOST = "n0/host0"
WORKERS = ("n1/cpu0", "n2/cpu0")


def with_memory(problem, kind, name):
    """Give node n0 one more memory, beside its NIC."""
    nic, rate = "n0/nic0", problem.cluster.links[0].bytes_per_second
    ends = ((name, nic), (nic, name))
    links = tuple(Link(id=f"{a}>{b}", source=a, destination=b, bytes_per_second=rate, latency_ns=0) for a, b in ends)
    place = Place(id=name, kind=kind, node="n0", memory_bytes=2**30)
    cluster = attrs.evolve(
        problem.cluster, places=(*problem.cluster.places, place), links=(*problem.cluster.links, *links)
    )
    return attrs.evolve(problem, cluster=cluster)


def a_service(checkpoint):
    """n0 keeps the LLM in host memory and has no device; n1 and n2 serve it, and either has room for a part only."""
    base = with_memory(make_problem(checkpoint, 3, rate=FAST), PlaceKind.HOST, HOST)
    small = 5 * weights_bytes(checkpoint) // 2  # with KV and what an iteration needs, too little for the whole
    places = tuple(
        attrs.evolve(place, memory_bytes=small) if place.id in WORKERS else place
        for place in base.cluster.places
        if place.id != "n0/cpu0"
    )
    links = tuple(link for link in base.cluster.links if "n0/cpu0" not in (link.source, link.destination))
    return attrs.evolve(
        base,
        cluster=attrs.evolve(base.cluster, places=places, links=links),
        holdings=(Holding(llm=LLM, place=HOST),),
        targets=(),
        services=(Service(llm=LLM, places=WORKERS, objective=Objective.GOODPUT),),
    )


def with_room(problem):
    """Let every device hold the whole LLM."""
    places = tuple(attrs.evolve(each, memory_bytes=each.memory_bytes and 2**30) for each in problem.cluster.places)
    return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))


def test_a_service_over_two_nodes_outlives_its_source(checkpoint, oracle, tmp_path):
    problem = a_service(checkpoint)
    first = make_plan(problem, blocks=8)
    (pipeline,) = first.plan.pipelines
    assert {stage.place for stage in pipeline.stages} == set(WORKERS)
    right = oracle.answer("in two halves", 12)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, first)
        source, *workers = running
        wait_until_complete(running)
        wait_for(lambda: all(each.get("/health").status_code == 200 for each in running), "it is open", seconds=60)
        for daemon in running:
            assert text_of(completion(daemon, "in two halves", 12)) == right
        held = [
            {record.what.blob for record in daemon.records() if isinstance(record.what, journal.BlobHeld)}
            for daemon in running
        ]
        assert held[0] == {blob.id for blob in first.plan.blobs}
        assert held[1] < held[0]
        assert held[2] < held[0]
        source.signal(signal.SIGKILL)
        journals = read_journals([daemon.state / "journal" for daemon in workers])
        left = repair(problem, first.plan, records_of_run(journals, problem, first.plan), {source.name})
        assert isinstance(left, Problem)
        assert not any(holding.whole for holding in left.holdings), "nobody holds the whole LLM any more"
        second = make_plan(with_room(left), parent=first.plan)
        adopt(workers, second)
        wait_until_complete(workers)
        wait_for(lambda: all(each.get("/health").status_code == 200 for each in workers), "it is open", seconds=60)
        for daemon in workers:
            assert daemon.status()["plan"]["generation"] == 2
            assert text_of(completion(daemon, "in two halves", 12)) == right


def in_halves(checkpoint):
    """Two nodes: what one lacks the other has, and both want the whole."""
    base = make_problem(checkpoint, 2, rate=FAST)
    (llm,) = base.llms
    middle = len(llm.tensors) // 2
    places = "n0/cpu0", "n1/cpu0"
    return attrs.evolve(
        base,
        holdings=(
            Holding(llm=LLM, place=places[0], end_tensor=middle),
            Holding(llm=LLM, place=places[1], first_tensor=middle),
        ),
        targets=tuple(Target(llm=LLM, place=place) for place in places),
    )


def test_two_halves_make_two_wholes(checkpoint, oracle, tmp_path):
    problem = in_halves(checkpoint)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, make_plan(problem, blocks=6))
        wait_until_complete(running)
        wait_for(lambda: all(each.get("/health").status_code == 200 for each in running), "they are open", seconds=60)
        for daemon in running:
            assert text_of(completion(daemon, "half and half", 12)) == oracle.answer("half and half", 12)


def split(checkpoint, llm, directory):
    """Write the two halves of a checkpoint, each with all small files."""
    (weights,) = checkpoint.glob("*.safetensors")
    tensors = load_file(weights)
    names = [tensor.name for tensor in llm.tensors]
    middle = len(names) // 2
    halves = directory / "half0", directory / "half1"
    for half, mine in zip(halves, (names[:middle], names[middle:]), strict=True):
        shutil.copytree(checkpoint, half)
        save_file({name: tensors[name] for name in mine}, half / weights.name, metadata={"format": "pt"})
    return halves


def refusal(daemon, verified):
    answer = daemon.put(document(verified))
    assert answer.status_code == 422, answer.text
    return answer.json()["error"]["message"]


def test_a_plan_under_which_nobody_knows_what_is_right_is_refused_before_anything_moves(checkpoint, tmp_path):
    problem = in_halves(checkpoint)
    verified = make_plan(problem, blocks=6)
    (llm,) = problem.llms
    halves = split(checkpoint, llm, tmp_path)
    middle = len(llm.tensors) // 2
    lacking = llm.tensors[middle].name, llm.tensors[0].name
    given = {f"n{index}": half for index, half in enumerate(halves)}
    with daemons(problem, given, tmp_path) as running:
        for daemon, half, name in zip(running, halves, lacking, strict=True):
            assert refusal(daemon, verified) == (
                f"no pipeline of {LLM} could be proved: {daemon.name} is to say which tokens are right, but knows none "
                f"from a plan before, holds only a part of it, as does every node that holds any, and {half} has no "
                f"tensor {name}"
            )
            assert daemon.status()["plan"] is None
            assert daemon.get("/health").status_code == 503


@pytest.mark.parametrize("use", ["holding", "resident"])
def test_a_plan_that_keeps_blobs_on_an_ssd_is_refused(use, checkpoint, tmp_path):
    problem = with_memory(make_problem(checkpoint, 2, rate=FAST), PlaceKind.SSD, "n0/ssd0")
    if use == "holding":
        problem = attrs.evolve(problem, holdings=(*problem.holdings, Holding(llm=LLM, place="n0/ssd0")))
        words = f"holds {LLM} at the start"
    else:
        standby = Standby(llm=LLM, places=("n0/ssd0",), start_ns_max=INTEGER_MAX)
        problem = attrs.evolve(problem, standbys=(standby,))
        words = f"receives {LLM} (step 0)"
    verified = make_plan(problem, blocks=2)
    with daemons(problem, checkpoint, tmp_path) as running:
        for daemon in running:
            said = refusal(daemon, verified)
            assert said.startswith("n0/ssd0, of kind ssd, ")
            assert said.endswith(": daemons keep blobs in the memory of devices and hosts only")
            assert use == "resident" or words in said
            assert daemon.status()["plan"] is None


def test_a_copy_on_standby_rests_in_host_memory(checkpoint, oracle, tmp_path):
    problem = with_memory(make_problem(checkpoint, 2, rate=FAST), PlaceKind.HOST, HOST)
    problem = attrs.evolve(
        problem,
        holdings=(Holding(llm=LLM, place="n1/cpu0"),),
        targets=(Target(llm=LLM, place="n1/cpu0"),),
        standbys=(Standby(llm=LLM, places=(HOST,), start_ns_max=INTEGER_MAX),),
    )
    verified = make_plan(problem, blocks=4)
    assert [resident.place for resident in verified.plan.residents] == [HOST]
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        wait_until_complete(running)
        keeper, _ = running
        assert keeper.status()["memory_bytes_used"][HOST] == sum(blob.bytes for blob in verified.plan.blobs)
        assert text_of(completion(keeper, "from afar", 8)) == oracle.answer("from afar", 8)
