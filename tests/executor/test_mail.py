"""Mail: what comes is handed to the part that it is for; what makes no sense, or comes from a lost node, to none."""

import asyncio
import logging

import attrs
import pytest

from executor import traffic
from executor.engine.request import SamplingParams
from executor.errors import MalformedFrame, TransportClosed
from executor.mail import TRAFFIC, Mail
from executor.traffic import (
    Cancel,
    Choice,
    Chosen,
    Forward,
    Interrupted,
    Missed,
    ResizeStage,
    Returned,
    SampledTokens,
    StageResized,
    Submit,
    Token,
)

CHOICE = Choice.of(SamplingParams())
SUBMIT = Submit(
    pipeline="here", request="n1:1", tokens=(1,), prompt_tokens=1, max_tokens=1, end_tokens=(), choice=CHOICE
)
CANCEL = Cancel(pipeline="here", request="n1:1")
SAMPLED = SampledTokens(pipeline="here", iteration=0, tokens=())
ORDER = ResizeStage(pipeline="here", stage=1, number=1, slots=2)
RESIZED = StageResized(pipeline="here", stage=1, number=1)
TOKEN = Token(request="n0:1", index=0, chosen=Chosen(token=1))
RETURNED = Returned(request="n0:1", shut=True)
FORWARD = Forward(pipeline="here", stage=1, iteration=0, width=1, entries=())


@attrs.define
class Recorder:
    """Stands for every part of a node: writes down what is asked of it."""

    calls: list = attrs.field(factory=list)
    fails: bool = False

    @property
    def resizing(self):
        return self  # of a leader

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if self.fails:
                raise MalformedFrame("no sense")

        async def work(*arguments):
            call(*arguments)

        return work if name in ("carry_on", "resize") else call


class World:
    def __init__(self):
        self.mail = Mail("n0", lambda work: asyncio.get_running_loop().create_task(work))
        self.parts = Recorder()
        self.mail.files = self.mail.host = self.mail.front = self.parts
        self.mail.leaders = {"here": self.parts}
        self.mail.on_missed = self.parts.disconnected
        self.mail.may_send = lambda peer, message: peer != "n9"
        self.mail.adopt([f"n{index}" for index in range(1, 10)])
        self.wire = Recorder()
        self.mail.connect(self.wire)

    async def come(self, message, body=b"", peer="n1"):
        frame = memoryview(bytearray(b"".join(bytes(part) for part in traffic.write(message, body))))
        self.mail.receive(peer, frame)
        await asyncio.sleep(0.01)
        return self.parts.calls


def on_a_loop(test):
    def wrapped():
        async def run():
            await test(World())

        asyncio.run(run())

    wrapped.__name__ = test.__name__
    return wrapped


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (SUBMIT, ("submit", "n1", SUBMIT)),
        (CANCEL, ("cancel", "n1", CANCEL)),
        (SAMPLED, ("sampled", SAMPLED)),
        (Interrupted(pipeline="here"), ("give_back",)),
        (Missed(), ("disconnected", "n1")),
        (ORDER, ("resize", ORDER)),
        (RESIZED, ("heard", RESIZED)),
        (TOKEN, ("token", TOKEN)),
        (RETURNED, ("returned", RETURNED)),
    ],
)
def test_everything_has_its_place(message, call):
    assert asyncio.run(_come(message)) == [call]


async def _come(message):
    return await World().come(message)


@on_a_loop
async def test_activations_come_with_their_bytes(world):
    ((name, forward, body),) = await world.come(FORWARD, b"abc")
    assert (name, forward, bytes(body)) == ("carry_on", FORWARD, b"abc")


@pytest.mark.parametrize("message", [CANCEL, SAMPLED, RESIZED, Interrupted(pipeline="here")])
def test_what_is_for_a_pipeline_that_is_not_led_here_is_dropped(message):
    assert asyncio.run(_come(attrs.evolve(message, pipeline="elsewhere"))) == []


@on_a_loop
async def test_a_request_for_a_pipeline_that_is_not_led_here_goes_back(world):
    assert await world.come(attrs.evolve(SUBMIT, pipeline="elsewhere")) == []
    ((_, peer, buffers),) = world.wire.calls
    kind, *rest = buffers
    assert (peer, kind) == ("n1", TRAFFIC)
    message, _ = traffic.read(memoryview(b"".join(bytes(part) for part in rest)))
    assert message == Returned(request="n1:1", shut=True)


@pytest.mark.parametrize("message", [TOKEN, FORWARD, SAMPLED])
def test_what_a_part_finds_malformed_is_a_line_in_the_log(message, caplog):
    async def run():
        world = World()
        world.parts.fails = True
        await world.come(message)
        world.mail.receive("n1", memoryview(b"garbage"))

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["n1", "n1"]
    assert "no sense" in caplog.text


@on_a_loop
async def test_what_is_not_a_peers_to_send_is_dropped(world):
    assert await world.come(TOKEN, peer="n9") == []


@on_a_loop
async def test_lost_nodes_are_neither_told_nor_heard(world):
    world.mail.lose(frozenset({"n1"}))
    assert await world.come(TOKEN) == []
    world.mail.send("n1", TOKEN)
    assert world.wire.calls == []
    world.mail.send("n2", TOKEN)
    assert [call[1] for call in world.wire.calls] == ["n2"]


@on_a_loop
async def test_this_node_hears_itself_later_and_in_order(world):
    world.mail.send("n0", TOKEN)
    world.mail.send("n0", RETURNED)
    assert world.parts.calls == [], "never from inside send"
    await asyncio.sleep(0)
    assert [call[0] for call in world.parts.calls] == ["token", "returned"]
    assert world.wire.calls == []


@on_a_loop
async def test_without_a_transport_messages_vanish(world):
    def closed(*_):
        raise TransportClosed("closed")

    world.wire = attrs.make_class("Closed", [])()
    type(world.wire).send_message = closed
    world.mail.connect(world.wire)
    world.mail.send("n1", TOKEN)
    world.mail.disconnect()
    world.mail.send("n1", TOKEN)
