"""A burst: 200 requests at once from 32 connections, each answered, none wrong."""

import asyncio

import openai

from tests.executor.api.fake_serving import LLM, tokens_of

REQUESTS, CONNECTIONS, TOKENS = 200, 32, 64


def test_a_burst_is_answered_whole_and_right(url, serving, reference):
    async def burst():
        turn = asyncio.Semaphore(CONNECTIONS)

        async def one(client, number):
            async with turn:
                stream = await client.completions.create(
                    model=LLM, prompt=[10 + number % 256, 6], max_tokens=TOKENS, temperature=0, stream=True
                )
                return number, "".join([chunk.choices[0].text async for chunk in stream])

        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(REQUESTS)))

    answers = asyncio.run(burst())
    wanted = {request.prompt_tokens: reference.decode(tokens_of(request)) for request in serving.requests}
    assert len(answers) == REQUESTS
    for number, text in answers:
        assert text == wanted[(10 + number % 256, 6)]
    assert serving.cancelled == 0
