"""The front: whatever becomes of pipelines and messages, a request ends once, with the right tokens."""

import asyncio
from collections import Counter

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executor.kv_traffic import Handed, HandedOver, Resume
from executor.pipelines.front import PATIENCE_NS, GaveUp
from executor.traffic import Cancel, Chosen, Returned, Submit, Token
from specs.protocols.kv_hand_over_nouns import HandOverId
from tests.executor.pipelines.front_doubles import (
    DOORS,
    OF,
    Client,
    FakePost,
    a_front,
    names_of,
    right_answer,
    token_after,
)


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
