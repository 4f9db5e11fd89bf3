"""Real daemons change the slots of pipelines under load: every token is right, and memory really comes and goes."""

import re
import threading
import time
from pathlib import Path

import attrs
import pytest

from executor.admission import read
from specs import codec, journal
from specs.checker import VerifiedPlan, verify
from specs.plan import Resize
from specs.state import RunningNode
from specs.timing import stage_kv_bytes
from tests.checkpoints import make_checkpoint
from tests.plans import certified
from tests.processes.cluster import (
    Oracle,
    adopt,
    completion,
    daemons,
    document,
    make_plan,
    make_problem,
    records_of,
    text_of,
    wait_for,
    wait_until_adopted,
    wait_until_complete,
    with_service,
)
from tests.processes.test_reconfiguration import FAST, asking, journals_of, next_plan, replay_of

pytestmark = pytest.mark.slow

SMALL_BYTES = 4_200_000  # the LLM and a stage of a part of it, but not a stage of all of it


def resized(verified, slots):
    """The plan, at whose end every pipeline that is open has so many slots."""
    problem, plan = verified.problem, verified.plan
    for running in problem.running:
        last = max((step.end_ns if hasattr(step, "end_ns") else step.at_ns for step in plan.steps), default=0)
        step = Resize(id=len(plan.steps), pipeline=running.pipeline.id, slots=slots, at_ns=last)
        plan = attrs.evolve(plan, steps=(*plan.steps, step))
    verdict = verify(problem, certified(problem, plan))
    assert isinstance(verdict, VerifiedPlan), verdict
    return verdict


def slots_of(daemon):
    """How many slots the pipelines have that it leads; its metrics and status say the same, once nothing changes."""
    state = codec.decode(RunningNode, daemon.get("/state").content)
    problem, plan = read(daemon.get("/plan").content)
    most = {each.id: each.slots for each in (*plan.pipelines, *(each.pipeline for each in problem.running))}
    return {load.pipeline: load.slots or most[load.pipeline] for load in state.leads}


def wait_for_slots(daemon, slots):
    wait_for(lambda: slots_of(daemon) == slots, f"it has the slots {slots}", seconds=60)
    text = daemon.get("/metrics").text
    gauge = {name: float(value) for name, value in re.findall(r'holdfast_pipeline_slots{pipeline="(.*)"} (.*)', text)}
    assert gauge == daemon.status()["pipelines"]["slots"] == slots


def small(problem):
    """The problem with so little memory that two devices serve together."""
    places = (attrs.evolve(p, memory_bytes=SMALL_BYTES) if p.device else p for p in problem.cluster.places)
    return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=tuple(places)))


def used_bytes(running):
    return {place: used for each in running for place, used in each.status()["memory_bytes_used"].items()}


def test_a_pipeline_over_two_nodes_shrinks_and_grows_while_requests_stream(checkpoint, tmp_path):
    """It is the planner that has it grow again: a plan from what runs gives it all of its slots."""
    whole = small(make_problem(checkpoint, 2, rate=FAST, context=256))
    wish = with_service(whole, ("n0/cpu0", "n1/cpu0"))
    first = make_plan(wish)
    (llm,), (pipeline,) = whole.llms, first.plan.pipelines
    freed = {each.place: each.kv_bytes - stage_kv_bytes(llm, pipeline, each, 1) for each in pipeline.stages}
    most = pipeline.slots
    assert len(freed) == most == 2
    with daemons(whole, checkpoint, tmp_path) as running:
        leader = next(each for each in running if pipeline.stages[0].place.startswith(each.name))
        adopt(running, first)
        wait_until_complete(running)
        with asking(running):
            before = used_bytes(running)
            wait_for_slots(leader, {pipeline.id: most})
            second = resized(next_plan(running, wish), 1)
            assert running[1].put(document(second)).status_code == 200
            wait_until_adopted(running, second)
            wait_for_slots(leader, {pipeline.id: 1})
            assert used_bytes(running) == {place: used - freed[place] for place, used in before.items()}
            third = next_plan(running, wish)
            assert [(step.pipeline, step.slots) for step in third.plan.steps] == [(pipeline.id, most)]
            assert running[0].put(document(third)).status_code == 200
            wait_until_adopted(running, third)
            wait_for_slots(leader, {pipeline.id: most})
            assert used_bytes(running) == before
        receipts = [each.what for each in records_of(running, journal.Resized)]
        assert [(each.pipeline, each.slots_before, each.slots) for each in receipts] == [
            (pipeline.id, most, 1),
            (pipeline.id, 1, most),
        ]
        assert all(each.elapsed_ns > 0 for each in receipts)
        replayed = replay_of(journals_of(running), first, second, third)
        assert replayed.breaches == replayed.notes == (), replayed


class Readers:
    """They have long prompts read at a daemon, one after the other, and keep every answer."""

    def __init__(self, daemon):
        self.answers = []
        self._daemon, self._enough = daemon, threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(number,)) for number in range(READERS)]
        for thread in self._threads:
            thread.start()

    def _read(self, number):
        while not self._enough.is_set():
            self.answers.append((number, text_of(completion(self._daemon, long_prompt(number), ANSWER_TOKENS))))

    def stop(self):
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def most_resident_bytes(self):
        """The most that the process has, as far as is seen, while everybody is answered about once."""
        before, most = len(self.answers), 0
        while len(self.answers) < before + READERS:
            most = max(most, resident_bytes(self._daemon))
            time.sleep(0.02)
        return most


READERS, ANSWER_TOKENS, CONTEXT = 6, 20, 1024


def long_prompt(number):
    return f"{number} " + "order is law " * 80


def resident_bytes(daemon):
    """What the process has of the machine's memory."""
    (line,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{daemon.process.pid}/status").read_text())
    return int(line) * 1024


def test_the_process_has_less_memory_with_fewer_slots_and_more_with_more(tmp_path):
    """Readers are always as many as there are slots at most; KV of one prompt is about 16 MB."""
    shape = {"num_hidden_layers": 8, "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": CONTEXT}
    checkpoint = make_checkpoint(tmp_path / "long", "llama", **shape)
    oracle = Oracle(checkpoint)
    right = {number: oracle.answer(long_prompt(number), ANSWER_TOKENS) for number in range(READERS)}
    problem = make_problem(checkpoint, 1, rate=FAST, context=CONTEXT, live=READERS)
    wish = with_service(problem, ("n0/cpu0",))
    first = make_plan(wish)
    (pipeline,) = first.plan.pipelines
    assert pipeline.slots == READERS
    read_tokens = len(oracle.tokenizer(long_prompt(0))["input_ids"])
    freed = (READERS - 1) * read_tokens * pipeline.stages[0].kv_bytes // (READERS * CONTEXT)
    with daemons(problem, checkpoint, tmp_path) as running:
        (daemon,) = running
        adopt(running, first)
        wait_until_complete(running)
        readers = Readers(daemon)
        try:
            readers.most_resident_bytes()  # what libraries keep, they have then
            high = readers.most_resident_bytes()
            assert daemon.put(document(resized(next_plan(running, wish), 1))).status_code == 200
            wait_for_slots(daemon, {pipeline.id: 1})
            low = readers.most_resident_bytes()
            assert low < high - freed // 2
            assert daemon.put(document(next_plan(running, wish))).status_code == 200
            wait_for_slots(daemon, {pipeline.id: READERS})
            readers.most_resident_bytes()
            assert readers.most_resident_bytes() > low + freed // 2
        finally:
            readers.stop()
    assert {number for number, _ in readers.answers} == right.keys()
    assert all(text == right[number] for number, text in readers.answers)
