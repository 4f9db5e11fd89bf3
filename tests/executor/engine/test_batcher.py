from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.engine.batcher import Batcher
from executor.engine.errors import RequestRefused
from executor.engine.iteration import Finish, Iteration, Limits
from executor.engine.request import Request, RequestId, SamplingParams

END = 7


def request(name: str, prompt: int, max_tokens: int, *, end: bool = True) -> Request:
    return Request(
        id=RequestId(name),
        tokens=tuple(range(100, 100 + prompt)),
        prompt_tokens=prompt,
        max_tokens=max_tokens,
        end_tokens=frozenset({END}) if end else frozenset(),
    )


def limits(**changes: int) -> Limits:
    return Limits(**({"slots": 4, "context_tokens": 64, "tokens_per_iteration": 32, "in_flight_max": 1} | changes))


class Simulation:
    """Serves with any order of events, and checks after each of them what must hold at all times."""

    def __init__(self, batcher: Batcher, choose):
        self.batcher = batcher
        self.choose = choose  # the token that a request samples at an index
        self.under_way: deque[Iteration] = deque()
        self.written: dict[RequestId, int] = {}  # tokens whose KV has been computed
        self.slot_of: dict[RequestId, int] = {}
        self.tokens: dict[RequestId, list[int]] = {}
        self.finished: dict[RequestId, Finish] = {}
        self.first_seen: list[RequestId] = []

    def add(self, new: Request):
        self.batcher.add(new)
        self.tokens[new.id] = list(new.tokens)
        self.written[new.id] = 0

    def form(self) -> bool:
        iteration = self.batcher.next_iteration()
        if iteration is None:
            return False
        self.under_way.append(iteration)
        entries = iteration.entries
        assert entries
        assert iteration.batch.tokens <= self.batcher.limits.tokens_per_iteration
        assert len(self.under_way) <= self.batcher.limits.in_flight_max
        busy = [entry.request for each in self.under_way for entry in each.entries]
        assert len(busy) == len(set(busy)), "a request is in at most one iteration"
        for entry in sorted(entries, key=lambda entry: entry.row.slot):
            known = self.tokens[entry.request]
            assert entry.row.start == self.written[entry.request], "tokens are computed once, in order"
            assert list(entry.tokens) == known[entry.row.start : entry.row.end]
            assert entry.row.wants_logits == (entry.row.end == len(known))
            assert entry.row.end < self.batcher.limits.context_tokens
            assert 0 <= entry.row.slot < self.batcher.limits.slots
            if self.slot_of.setdefault(entry.request, entry.row.slot) != entry.row.slot:
                pytest.fail("a request keeps its slot")
            if entry.request not in self.first_seen:
                self.first_seen.append(entry.request)
        live = [slot for name, slot in self.slot_of.items() if name not in self.finished]
        assert len(live) == len(set(live)), "no slot has two requests"
        return True

    def complete(self, position: int = 0):
        iteration = self.under_way[position]
        del self.under_way[position]
        for entry in iteration.entries:
            self.written[entry.request] += entry.row.tokens
        chosen = [self.choose(entry.request, entry.index) for entry in iteration.sampled]
        for progress in self.batcher.complete(iteration.id, chosen):
            self.tokens[progress.request].append(progress.token)
            if progress.finish is not None:
                self.finished[progress.request] = progress.finish

    def run(self):
        while self.batcher.running or self.batcher.waiting:
            while self.form():
                pass
            self.complete()


shapes = st.tuples(st.integers(1, 20), st.integers(1, 12))


@settings(max_examples=200, deadline=None)
@given(data=st.data(), slots=st.integers(1, 5), budget=st.integers(1, 12), in_flight=st.integers(1, 4))
def test_every_request_ends_within_its_limits(data, slots, budget, in_flight):
    bounds = limits(slots=slots, context_tokens=26, tokens_per_iteration=budget, in_flight_max=in_flight)
    simulation = Simulation(
        Batcher(bounds), lambda name, index: END if (int(name[1:]) * 5 + index) % 9 == 0 else 50 + index
    )
    asked = {}
    for number, (prompt, max_tokens) in enumerate(data.draw(st.lists(shapes, max_size=12))):
        new = request(f"r{number}", prompt, max_tokens)
        simulation.add(new)
        asked[new.id] = new
        for _ in range(data.draw(st.integers(0, 3))):  # requests join while others run
            if not simulation.form() and simulation.under_way:
                simulation.complete(data.draw(st.integers(0, len(simulation.under_way) - 1)))
    simulation.run()
    assert set(simulation.finished) == set(asked)
    for name, new in asked.items():
        generated = simulation.tokens[name][new.prompt_tokens :]
        if simulation.finished[name] is Finish.STOP:
            assert generated.index(END) == len(generated) - 1
        else:
            assert END not in generated
            assert len(generated) == min(new.max_tokens, 26 - new.prompt_tokens)


@settings(max_examples=100, deadline=None)
@given(shape=st.lists(shapes, min_size=1, max_size=10), budget=st.integers(1, 40), slots=st.integers(1, 4))
def test_admission_is_first_come_first_served(shape, budget, slots):
    simulation = Simulation(Batcher(limits(slots=slots, tokens_per_iteration=budget)), lambda *_: 50)
    for number, (prompt, max_tokens) in enumerate(shape):
        simulation.add(request(f"r{number}", prompt, max_tokens))
    admitted: list[RequestId] = []
    while simulation.batcher.running or simulation.batcher.waiting:
        simulation.form()
        admitted += [name for name in simulation.batcher._running if name not in admitted]
        simulation.complete()
    assert admitted == [f"r{number}" for number in range(len(shape))]


@settings(max_examples=100, deadline=None)
@given(shape=st.lists(shapes, min_size=1, max_size=8), steps=st.integers(0, 20), in_flight=st.integers(1, 3))
def test_drained_requests_go_on_elsewhere_with_every_token(shape, steps, in_flight):
    def choose(name, index):
        return 50 + index

    first = Simulation(Batcher(limits(in_flight_max=in_flight)), choose)
    for number, (prompt, max_tokens) in enumerate(shape):
        first.add(request(f"r{number}", prompt, max_tokens))
    for _ in range(steps):
        if not first.form() and first.under_way:
            first.complete()
    moved = first.batcher.drain()
    assert [each.id for each in moved] == [f"r{n}" for n in range(len(shape)) if f"r{n}" not in first.finished]
    for late in first.under_way:  # results of what was under way change nothing
        assert first.batcher.complete(late.id, [1] * len(late.sampled)) == ()
    second = Simulation(Batcher(limits(in_flight_max=2)), choose)
    for each in moved:
        second.add(each)
    second.run()
    for number, (prompt, max_tokens) in enumerate(shape):
        tokens = (second if f"r{number}" in second.tokens else first).tokens[RequestId(f"r{number}")]
        assert tokens == [*range(100, 100 + prompt), *range(50, 50 + max_tokens)]


def test_same_calls_give_the_same_iterations():
    def transcript():
        simulation = Simulation(Batcher(limits(in_flight_max=2, tokens_per_iteration=7)), lambda _, index: 50 + index)
        for number in range(9):
            simulation.add(request(f"r{number}", 3 * number + 1, 4))
        seen = []
        while simulation.batcher.running or simulation.batcher.waiting:
            while simulation.form():
                seen.append(simulation.under_way[-1])
            simulation.complete()
        return seen

    assert transcript() == transcript()


def test_long_prompt_leaves_room_for_decoding_requests():
    simulation = Simulation(Batcher(limits(tokens_per_iteration=8)), lambda _, index: 50 + index)
    simulation.add(request("short", 2, 10))
    simulation.form()
    simulation.complete()
    simulation.add(request("long", 40, 2))
    for _ in range(3):
        simulation.form()
        granted = [(entry.request, entry.row.tokens) for entry in simulation.under_way[0].entries]
        assert granted == [("short", 1), ("long", 7)]
        simulation.complete()


def test_prompts_take_nothing_from_decoding_requests():
    simulation = Simulation(Batcher(limits(slots=8, tokens_per_iteration=9)), lambda _, index: 50 + index)
    for name in ("a", "b", "c"):
        simulation.add(request(name, 1, 20))
    simulation.form()
    simulation.complete()
    for number in range(4):
        simulation.add(request(f"prompt{number}", 9, 2))
    for _ in range(4):
        simulation.form()
        granted = {entry.request: entry.row.tokens for entry in simulation.under_way[0].entries}
        assert {granted.get(name) for name in ("a", "b", "c")} == {1}, "each lap gives each its token"
        assert sum(granted.values()) == 9, "and prompts all the rest"
        simulation.complete()
    assert simulation.first_seen.index("prompt1") < simulation.first_seen.index("prompt2")


@pytest.mark.parametrize("stages", [2, 3])
def test_prompts_that_wait_take_no_seat_of_an_iteration(stages):
    simulation = Simulation(
        Batcher(limits(slots=12, in_flight_max=stages, tokens_per_iteration=6)), lambda _, index: 50 + index
    )
    short = [f"short{number}" for number in range(6)]
    for name in short:
        simulation.add(request(name, 1, 40))
    while simulation.form():
        pass
    while simulation.under_way:
        simulation.complete()
    for number in range(6):
        simulation.add(request(f"long{number}", 30, 2))
    for _ in range(5 * stages):
        while simulation.form():
            pass
        simulation.complete()
    laps = [len(simulation.tokens[name]) for name in short]
    assert min(laps) >= 4, laps


def test_iterations_share_the_requests_of_a_pipeline_equally():
    simulation = Simulation(Batcher(limits(slots=8, in_flight_max=4, tokens_per_iteration=64)), lambda *_: 50)
    for number in range(8):
        simulation.add(request(f"r{number}", 4, 4))
    while simulation.form():
        pass
    assert [len(iteration.entries) for iteration in simulation.under_way] == [2, 2, 2, 2]


@pytest.mark.parametrize("in_flight", [False, True])
def test_cancelled_request_frees_its_slot_and_reports_nothing(in_flight):
    batcher = Batcher(limits(slots=1))
    batcher.add(request("a", 3, 5))
    batcher.add(request("b", 3, 5))
    iteration = batcher.next_iteration()
    assert iteration is not None
    if not in_flight:
        batcher.complete(iteration.id, [50])
    assert batcher.cancel(RequestId("a"))
    assert not batcher.cancel(RequestId("a"))
    if in_flight:
        assert batcher.next_iteration() is None
        assert batcher.complete(iteration.id, [50]) == ()
    iteration = batcher.next_iteration()
    assert iteration is not None
    assert [entry.request for entry in iteration.entries] == ["b"]
    assert batcher.cancel(RequestId("b"))
    assert not batcher.cancel(RequestId("c"))
    batcher.complete(iteration.id, [50])
    assert batcher.drain() == ()
    assert (batcher.running, batcher.waiting, batcher.in_flight) == (0, 0, 0)


def test_context_edge():
    batcher = Batcher(limits(context_tokens=8))
    with pytest.raises(RequestRefused, match="has 8 tokens, but the context holds 8"):
        batcher.add(request("a", 8, 1))
    batcher.add(request("a", 7, 9))
    iteration = batcher.next_iteration()
    assert iteration is not None
    (progress,) = batcher.complete(iteration.id, [50])
    assert progress.finish is Finish.LENGTH


def test_known_request_is_refused():
    batcher = Batcher(limits(slots=1))
    for name in ("a", "b"):
        batcher.add(request(name, 3, 5))
    batcher.next_iteration()
    for name in ("a", "b"):
        with pytest.raises(RequestRefused, match="already"):
            batcher.add(request(name, 3, 5))


def test_request_without_a_token_to_come_is_refused():
    with pytest.raises(RequestRefused, match="all of its 2 tokens"):
        Request(id=RequestId("a"), tokens=(1, 2, 3), prompt_tokens=1, max_tokens=2, end_tokens=frozenset())
    with pytest.raises(RequestRefused, match="temperature"):
        SamplingParams(temperature=-1.0)
    with pytest.raises(RequestRefused, match="top_p"):
        SamplingParams(top_p=0.0)
