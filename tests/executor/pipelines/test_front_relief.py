"""What a front does with requests that wait in a full pipeline when another one opens."""

import asyncio
from collections.abc import Sequence

from executor.engine.request import SamplingParams
from executor.engine.sampler import Sampled
from executor.pipelines.front import Door, Front
from executor.traffic import Cancel, Chosen, Submit, Token
from specs.cluster import NodeId
from specs.llm import LlmId
from specs.plan import PipelineId

LLM, OTHER = LlmId("llm"), LlmId("other")
FIRST, SECOND, FOREIGN = PipelineId("first"), PipelineId("second"), PipelineId("foreign")


class Letters:
    """A post that keeps what was sent."""

    def __init__(self):
        self.sent = []

    def send(self, node, message, body=b""):
        self.sent.append(message)

    def submitted(self, pipeline):
        return [each for each in self.sent if isinstance(each, Submit) and each.pipeline == pipeline]

    def cancelled(self):
        return {each.request for each in self.sent if isinstance(each, Cancel)}


def door(pipeline, llm=LLM):
    return Door(pipeline=pipeline, llm=llm, leader=NodeId("there"), weight=1, slots=4)


async def waiting_at_first(requests: int) -> tuple[Front, Letters, Sequence[object]]:
    letters = Letters()
    front = Front(NodeId("here"), letters, [].append)
    front.adopt((door(FIRST), door(SECOND), door(FOREIGN, OTHER)))
    front.openings(frozenset({FIRST}))
    answers = [
        front.generate(llm=LLM, prompt=(5, n), max_tokens=3, end_tokens=frozenset(), sampling=SamplingParams())
        for n in range(requests)
    ]
    tasks = [asyncio.ensure_future(anext(answer)) for answer in answers]
    await asyncio.sleep(0)
    return front, letters, (tasks, answers)


def token(submit):
    chosen = Chosen.of(Sampled(token=7, logprob=None, top=()))
    return Token(request=submit.request, index=0, chosen=chosen)


async def end(tasks, answers):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for answer in answers:
        await answer.aclose()


def test_requests_without_a_token_are_shared_with_a_pipeline_that_opens():
    async def scenario():
        front, letters, held = await waiting_at_first(4)
        begun, *others = letters.submitted(FIRST)
        front.token(token(begun))
        front.openings(frozenset({FIRST, SECOND}))
        assert front.loads() == {FIRST: 2, SECOND: 2, FOREIGN: 0}
        # The one that has begun stays where its KV is.
        assert letters.cancelled() == {each.request for each in others}
        await end(*held)

    asyncio.run(scenario())


def test_pipelines_of_other_llms_change_nothing():
    async def scenario():
        front, letters, held = await waiting_at_first(3)
        front.openings(frozenset({FIRST, FOREIGN}))
        assert front.loads() == {FIRST: 3, SECOND: 0, FOREIGN: 0}
        assert not letters.cancelled()
        await end(*held)

    asyncio.run(scenario())
