"""The front: whatever becomes of pipelines and messages, a request ends once, with the right tokens."""

import asyncio
from collections import Counter

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executor.engine.request import SamplingParams
from executor.kv_traffic import Handed, HandedOver, Resume
from executor.pipelines.front import PATIENCE_NS, Door, Front, GaveUp
from executor.traffic import Cancel, Chosen, Returned, Submit, Token
from specs.protocols.kv_hand_over_nouns import HandOverId

LLM, OTHER = "llm", "other"
DOORS = (
    Door(pipeline="wide", llm=LLM, leader="n0", weight=3, slots=4),
    Door(pipeline="narrow", llm=LLM, leader="n1", weight=1, slots=2),
    Door(pipeline="twin", llm=LLM, leader="n1", weight=1, slots=2),
    Door(pipeline="alone", llm=OTHER, leader="n0", weight=1, slots=1),
)
OF = {door.pipeline: door for door in DOORS}


def token_after(tokens):
    """What the one true LLM generates: it depends on every token before."""
    return (sum((place + 1) * token for place, token in enumerate(tokens)) * 31 + 7) % 101


def right_answer(prompt, max_tokens, end_tokens=frozenset()):
    tokens = list(prompt)
    while len(tokens) - len(prompt) < max_tokens:
        tokens.append(token_after(tokens))
        if tokens[-1] in end_tokens:
            break
    return tokens[len(prompt) :]


class FakePost:
    def __init__(self):
        self.sent = []

    def send(self, node, message, body=b""):
        assert node == OF[message.id.new if isinstance(message, Resume) else message.pipeline].leader
        self.sent.append(message)


def a_front(post):
    front = Front("me", post, [].append)
    front.adopt(DOORS)
    return front


@attrs.define(eq=False)
class Client:
    """One request and what was read of its answer."""

    prompt: tuple
    max_tokens: int
    items: list = attrs.field(factory=list)
    task: asyncio.Task | None = None
    llm: str = LLM

    async def read(self, front, ends=frozenset()):
        answer = front.generate(
            llm=self.llm, prompt=self.prompt, max_tokens=self.max_tokens, end_tokens=ends, sampling=SamplingParams()
        )
        try:
            async for item in answer:
                self.items.append(item)
        finally:
            await answer.aclose()


def names_of(message):
    """The requests that a message to the front is about."""
    return tuple(each.request for each in message.guests) if isinstance(message, HandedOver) else (message.request,)


class FrontMachine(RuleBasedStateMachine):
    """A front, leaders that compute right tokens when told to, and a post that delays, repeats and loses."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.post = FakePost()
        self.front = a_front(self.post)
        self.open, self.shut = frozenset(), frozenset()
        self.jobs = {}  # attempt -> [pipeline, tokens, prompt_tokens, max_tokens], at the leaders
        self.mail = []  # messages to the front, under way
        self.past = []  # those delivered
        self.clients, self.cancelled = [], []
        self.seen = set()
        self.guests = {}  # (hand-over, request) -> job: what is in a new pipeline, with its KV
        self.hand_overs = 0
        self.handed = set()  # pipelines that have been handed over: fronts never try them again

    def settle(self):
        """Let tasks run, and leaders take what was sent to them."""
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))
            for message in self.post.sent:
                if isinstance(message, Cancel):
                    self.jobs.pop(message.request, None)
                elif isinstance(message, Resume):
                    self.resume(message)
                else:
                    assert isinstance(message, Submit)
                    assert message.request not in self.seen, "an attempt has an id of its own"
                    assert message.pipeline in self.open - self.shut
                    self.seen.add(message.request)
                    self.jobs[message.request] = message
            self.post.sent.clear()

    def resume(self, message):
        for guest in message.guests:
            assert guest.attempt not in self.seen
            self.seen.add(guest.attempt)
            job = self.guests.pop((message.id, guest.request), None)
            if job is None or len(job.tokens) != guest.tokens:
                self.mail.append(Returned(request=guest.attempt, shut=False))
            else:
                assert guest.tail == tuple(job.tokens[guest.tokens - len(guest.tail) :])
                self.jobs[guest.attempt] = attrs.evolve(job, request=guest.attempt, pipeline=message.id.new)

    def deliver(self, message):
        self.past.append(message)
        if isinstance(message, HandedOver):
            self.shut |= {message.id.old}
            self.front.handed_over(message)
        else:
            (self.front.token if isinstance(message, Token) else self.front.returned)(message)
        self.settle()

    def teardown(self):
        """Open one pipeline for good, let it serve: everything ends, right, and nothing is left."""
        try:
            self.finish()
        finally:
            for client in self.clients:
                client.task.cancel()
            for client in self.clients:
                self.loop.run_until_complete(asyncio.wait([client.task]))
            self.loop.close()

    def finish(self):
        if "wide" in self.shut | self.handed:
            self.shut = frozenset(door.pipeline for door in DOORS)
            self.open = frozenset()
        else:
            self.open |= {"wide"}
        self.front.openings(self.open, self.shut)
        self.front.tick(0)
        self.settle()
        for _ in range(3000):
            if self.mail:
                self.deliver(self.mail.pop(0))
            elif self.jobs:
                self.progress(min(self.jobs))
            else:
                break
        self.front.tick(PATIENCE_NS)
        self.settle()
        for client in self.clients:
            if client in self.cancelled:
                continue
            assert client.task.done(), client
            client.task.result()
            last = client.items[-1]
            tokens = [item.sampled.token for item in client.items if not isinstance(item, GaveUp)]
            right = right_answer(client.prompt, client.max_tokens)
            if isinstance(last, GaveUp):
                assert self.shut >= {"wide", "narrow", "twin"}
                assert tokens == right[: len(tokens)]
            else:
                assert tokens == right
                assert [item.finish for item in client.items] == [None] * (len(tokens) - 1) + ["length"]
        assert self.front._attempts == {}
        assert set(self.front.loads().values()) == {0}
        assert (self.front.running, self.front.waiting) == (0, 0)

    def progress(self, attempt):
        job = self.jobs[attempt]
        token = token_after(job.tokens)
        index = len(job.tokens) - job.prompt_tokens
        finish = "length" if index + 1 == job.max_tokens else None
        self.mail.append(Token(request=attempt, index=index, chosen=Chosen(token=token), finish=finish))
        if finish is None:
            self.jobs[attempt] = attrs.evolve(job, tokens=(*job.tokens, token))
        else:
            del self.jobs[attempt]

    # --- what can happen ---------------------------------------------------------------------------------------------

    @rule(prompt=st.lists(st.integers(0, 100), min_size=1, max_size=3).map(tuple), max_tokens=st.integers(1, 6))
    def come(self, prompt, max_tokens):
        client = Client(prompt, max_tokens)
        client.task = self.loop.create_task(client.read(self.front))
        self.clients.append(client)
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.clients)
    def leave(self, data):
        client = data.draw(st.sampled_from(self.clients))
        if not client.task.done():
            self.cancelled.append(client)
        client.task.cancel()
        self.settle()

    @rule(data=st.data())
    def openings(self, data):
        names = ["wide", "narrow", "twin"]
        shut = data.draw(st.lists(st.sampled_from(names), max_size=1)) if data.draw(st.booleans()) else []
        self.shut |= frozenset(shut)
        self.open = frozenset(data.draw(st.lists(st.sampled_from(names), unique=True))) - self.shut
        self.front.openings(self.open, self.shut)
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def generate(self, data):
        self.progress(data.draw(st.sampled_from(sorted(self.jobs))))

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def give_back(self, data):
        attempt = data.draw(st.sampled_from(sorted(self.jobs)))
        del self.jobs[attempt]
        self.mail.append(Returned(request=attempt, shut=False))

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def hand_over(self, data):
        """A pipeline forgets its requests, which are in another with their KV; word of it may overtake tokens."""
        old = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))].pipeline
        new = data.draw(st.sampled_from([name for name in ("wide", "narrow", "twin") if name != old]))
        names = sorted(name for name, job in self.jobs.items() if job.pipeline == old)
        copied = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        self.hand_overs += 1
        self.handed.add(old)
        id_ = HandOverId(old=old, new=new, number=self.hand_overs)
        left = {name: self.jobs.pop(name) for name in names}
        self.guests |= {(id_, name): left[name] for name in copied}
        known = data.draw(st.integers(1, min(len(left[name].tokens) for name in copied)))
        guests = tuple(Handed(request=name, known=known) for name in copied)
        self.mail.append(HandedOver(id=id_, guests=guests))

    @rule(data=st.data())
    @precondition(lambda self: self.mail)
    def arrive(self, data):
        """In order per leader, but leaders overtake each other: the first message of some request comes."""
        request = data.draw(st.sampled_from(sorted({name for message in self.mail for name in names_of(message)})))
        message = next(message for message in self.mail if request in names_of(message))
        self.mail.remove(message)
        self.deliver(message)

    @rule(data=st.data())
    @precondition(lambda self: self.past)
    def arrive_again(self, data):
        self.deliver(data.draw(st.sampled_from(self.past)))

    @rule(node=st.sampled_from(["n0", "n1"]), lost=st.booleans())
    def break_connection(self, node, lost):
        """Everything under way from a leader may be lost; the front learns that a connection broke."""
        if lost:
            pipelines = {door.pipeline for door in DOORS if door.leader == node}
            of = {attempt: live.door.pipeline for attempt, live in self.front._attempts.items()}
            self.mail = [
                message for message in self.mail if pipelines.isdisjoint(of.get(name) for name in names_of(message))
            ]
        self.front.broken(node)
        self.settle()

    # --- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def counts_are_right(self):
        in_pipelines = Counter(live.door.pipeline for live in self.front._attempts.values())
        assert {name: load for name, load in self.front.loads().items() if load} == in_pipelines
        assert self.hand_overs or all(load <= OF[name].slots for name, load in in_pipelines.items())
        assert set(in_pipelines) <= self.open - self.shut

    @invariant()
    def nothing_waits_that_could_run(self):
        if self.front.waiting:
            loads = self.front.loads()
            assert all(loads[name] >= OF[name].slots for name in self.open - self.shut)

    @invariant()
    def what_was_read_is_right(self):
        for client in self.clients:
            tokens = [item.sampled.token for item in client.items if not isinstance(item, GaveUp)]
            assert tokens == right_answer(client.prompt, client.max_tokens)[: len(tokens)]


FrontMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestFront = FrontMachine.TestCase


# --- one thing at a time ---------------------------------------------------------------------------------------------


def on_a_loop(test):
    def wrapped():
        async def run():
            post = FakePost()
            await test(a_front(post), post)

        asyncio.run(run())

    wrapped.__name__ = test.__name__
    return wrapped


async def start(front, count=1, *, llm=LLM, max_tokens=2):
    clients = [Client((5, number), max_tokens, llm=llm) for number in range(count)]
    for client in clients:
        client.task = asyncio.create_task(client.read(front))
    await asyncio.sleep(0)
    return clients


def submits(post):
    return [message for message in post.sent if isinstance(message, Submit)]


def drop(post):
    post.sent.clear()


@on_a_loop
async def test_requests_are_shared_by_weight_and_slots(front, post):
    front.openings(frozenset({"wide", "narrow"}))
    clients = await start(front, 10)
    assert Counter(each.pipeline for each in submits(post)) == {"wide": 4, "narrow": 2}
    assert [each.pipeline for each in submits(post)][:4] == ["wide", "wide", "narrow", "wide"]
    assert (front.running, front.waiting) == (6, 4)
    for client in clients:
        client.task.cancel()
    await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
    assert (front.running, front.waiting) == (0, 0)
    assert len([message for message in post.sent if isinstance(message, Cancel)]) == len(submits(post))


@on_a_loop
async def test_slots_that_come_are_used_and_those_that_go_are_not_taken_again(front, post):
    front.openings(frozenset({"wide", "narrow"}))
    clients = await start(front, 10)
    front.resized({"narrow": 3})
    assert Counter(each.pipeline for each in submits(post)) == {"wide": 4, "narrow": 3}
    front.resized({"wide": 5, "narrow": 2})
    assert Counter(each.pipeline for each in submits(post)) == {"wide": 5, "narrow": 3}
    drop(post)
    for client in clients[:7]:
        client.task.cancel()
        await asyncio.sleep(0)
    assert front.loads()["narrow"] <= 2
    assert (front.running, front.waiting) == (3, 0)


@on_a_loop
async def test_a_request_goes_on_with_its_tokens(front, post):
    front.openings(frozenset({"wide"}))
    (client,) = await start(front, max_tokens=3)
    (first,) = submits(post)
    front.token(Token(request=first.request, index=0, chosen=Chosen(token=42)))
    drop(post)
    front.openings(frozenset({"narrow"}))
    cancel, second = post.sent
    assert cancel == Cancel(pipeline="wide", request=first.request), "nobody computes for a request that has left"
    assert (second.pipeline, second.tokens, second.prompt_tokens) == ("narrow", (5, 0, 42), 2)
    front.token(Token(request=first.request, index=1, chosen=Chosen(token=13)))  # late
    front.token(Token(request=second.request, index=1, chosen=Chosen(token=43)))
    front.token(Token(request=second.request, index=1, chosen=Chosen(token=43)))  # repeated
    front.token(Token(request=second.request, index=2, chosen=Chosen(token=44), finish="stop"))
    await client.task
    assert [(item.sampled.token, item.pipeline) for item in client.items] == [
        (42, "wide"),
        (43, "narrow"),
        (44, "narrow"),
    ]


@on_a_loop
async def test_a_pipeline_that_is_shut_is_not_tried_again(front, post):
    front.openings(frozenset({"wide", "narrow"}))
    (client,) = await start(front)
    (first,) = submits(post)
    drop(post)
    front.returned(Returned(request=first.request, shut=True))
    assert [each.pipeline for each in submits(post)] == ["narrow"], "though fronts have not heard yet that it closed"
    client.task.cancel()


@on_a_loop
async def test_those_that_move_keep_their_order(front, post):
    front.openings(frozenset({"wide"}))
    await start(front, 3)
    drop(post)
    front.openings(frozenset())
    front.openings(frozenset({"wide"}))
    assert [each.tokens for each in submits(post)] == [(5, 0), (5, 1), (5, 2)]


@on_a_loop
async def test_without_hope_requests_wait_for_another_plan(front, post):
    (client,) = await start(front)
    front.openings(frozenset(), frozenset({"wide", "narrow", "twin"}))
    front.tick(0)
    front.tick(PATIENCE_NS - 1)
    await asyncio.sleep(0)
    assert not client.task.done()
    front.adopt(DOORS)
    front.tick(PATIENCE_NS)
    front.openings(frozenset({"wide"}))
    assert [each.pipeline for each in submits(post)] == ["wide"]
    client.task.cancel()


@on_a_loop
async def test_without_hope_requests_end_when_no_plan_comes(front, post):
    waiting = await start(front, 2)
    other = await start(front, llm=OTHER)
    front.openings(frozenset(), frozenset({"wide", "narrow", "twin"}))
    front.tick(5)
    front.tick(5 + PATIENCE_NS)
    waiting += await start(front)
    front.tick(6 + PATIENCE_NS)
    for client in waiting:
        await client.task
        assert client.items == [
            GaveUp("every pipeline of llm has closed, and under this plan none will open again", retryable=True)
        ]
    assert not other[0].task.done()
    other[0].task.cancel()


@on_a_loop
async def test_a_refusal_ends_the_request_for_good(front, post):
    front.openings(frozenset({"wide"}))
    (client,) = await start(front)
    front.returned(Returned(request=submits(post)[0].request, shut=False, refusal="too long"))
    await client.task
    assert client.items == [GaveUp("too long", retryable=False)]
    assert front.running == 0


@on_a_loop
async def test_after_close_every_request_ends_at_once(front, post):
    front.openings(frozenset({"wide"}))
    before = await start(front, 7)
    front.close("a new plan came")
    drop(post)
    for client in before + await start(front):
        await client.task
        assert client.items == [GaveUp("a new plan came", retryable=True)]
    assert submits(post) == []
    assert (front.running, front.waiting) == (0, 0)


def test_attempts_of_another_life_have_other_ids():
    async def run():
        found = []
        for _ in range(2):
            post = FakePost()
            front = a_front(post)
            front.openings(frozenset({"wide"}))
            (client,) = await start(front)
            found.append(submits(post)[0].request)
            client.task.cancel()
        return found

    first, second = asyncio.run(run())
    assert first != second
    assert first.startswith("me:")
    assert second.startswith("me:")


@pytest.mark.parametrize(("opened", "wanted"), [((), False), (("alone",), False), (("twin",), True)])
def test_health_is_per_llm(opened, wanted):
    front = a_front(FakePost())
    front.openings(frozenset(opened))
    assert front.can_serve(LLM) == wanted
    front.openings(frozenset(opened), frozenset({"twin"}))
    assert not front.can_serve(LLM)


@on_a_loop
async def test_a_leaders_word_alone_ends_no_request(front, post):
    """It may have gone on to a plan under which others serve; this node hears of that plan soon."""
    front.openings(frozenset({"wide"}))
    (client,) = await start(front)
    front.returned(Returned(request=submits(post)[0].request, shut=True))
    await asyncio.sleep(0)
    assert not client.items
    drop(post)
    front.adopt(DOORS[1:])
    front.openings(frozenset({"twin"}))
    assert [each.pipeline for each in submits(post)] == ["twin"]
    client.task.cancel()


@on_a_loop
async def test_what_was_over_under_one_plan_may_serve_again_under_the_next(front, post):
    """A leader was silent for too long, so that its pipeline was over here; the next plan counts on it again."""
    front.openings(frozenset({"twin"}), frozenset({"wide", "narrow"}))
    front.adopt(DOORS)
    front.openings(frozenset({"wide"}))
    assert front.can_serve(LLM)
    (client,) = await start(front, 1)
    assert [each.pipeline for each in submits(post)] == ["wide"]
    client.task.cancel()


@on_a_loop
async def test_requests_in_kept_pipelines_notice_no_adoption_and_the_others_move_at_once(front, post):
    front.adopt((OF["wide"], OF["twin"]))
    front.openings(frozenset({"wide", "twin"}))
    clients = await start(front, 5)
    where = {each.request: each.pipeline for each in submits(post)}
    assert set(where.values()) == {"wide", "twin"}
    drop(post)
    front.adopt((attrs.evolve(DOORS[0], weight=7), OF["narrow"]))
    assert {each.request for each in post.sent if isinstance(each, Cancel)} == {
        request for request, pipeline in where.items() if pipeline == "twin"
    }
    moved = [each for each in submits(post) if each.pipeline != "wide"]
    assert moved == []
    assert set(front.loads()) == {"wide", "narrow"}
    assert front.running + front.waiting == 5
    for request, pipeline in where.items():
        assert (front.leader_of(request) == "n0") == (pipeline == "wide")
    drop(post)
    front.openings(frozenset({"wide", "narrow"}))
    assert {each.pipeline for each in submits(post)} <= {"narrow", "wide"}
    for client in clients:
        client.task.cancel()
