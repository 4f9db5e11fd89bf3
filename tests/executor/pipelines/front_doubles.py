"""A front with an LLM that is a formula, doors to pipelines that are none, and clients that read answers."""

import asyncio

import attrs

from executor.engine.request import SamplingParams
from executor.kv_traffic import HandedOver, Resume
from executor.pipelines.front import Door, Front

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
