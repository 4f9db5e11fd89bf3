"""The unmodified `openai` client against a real server."""

import openai
import pytest

from executor.api import order
from tests.executor.api.fake_serving import CONTEXT_TOKENS, LLM, tokens_of


def text_of(reference, serving, index=0):
    return reference.decode(tokens_of(serving.requests[index]), skip_special_tokens=True)


def token_ids(reference, text):
    return reference(text)["input_ids"]


def test_a_completion(client, serving, reference):
    answer = client.completions.create(model=LLM, prompt="Which bytes", max_tokens=24, temperature=0)
    (request,) = serving.requests
    assert list(request.prompt_tokens) == token_ids(reference, "Which bytes")
    assert (request.max_tokens, request.temperature, request.top_p, request.logprobs) == (24, None, 1.0, None)
    assert answer.choices[0].text == text_of(reference, serving)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(request.prompt_tokens), 24)
    assert answer.usage.total_tokens == len(request.prompt_tokens) + 24
    assert (answer.object, answer.model) == ("text_completion", LLM)
    assert answer.id.startswith("cmpl-")


def test_defaults_are_those_of_openai(client, serving):
    client.completions.create(model=LLM, prompt="x")
    (request,) = serving.requests
    assert (request.max_tokens, request.temperature, request.top_p) == (16, 1.0, 1.0)
    client.chat.completions.create(model=LLM, messages=[{"role": "user", "content": "x"}])
    chat = serving.requests[1]
    assert chat.max_tokens == CONTEXT_TOKENS - len(chat.prompt_tokens)


def test_a_streamed_completion_is_the_same_text(client, serving, reference):
    chunks = list(
        client.completions.create(
            model=LLM,
            prompt="Which bytes",
            max_tokens=60,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == text_of(reference, serving)
    assert chunks[-2].choices[0].finish_reason == "length"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-2])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 60
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 30


def test_without_include_usage_no_chunk_has_usage(client):
    chunks = list(client.completions.create(model=LLM, prompt="x", stream=True))
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        (["a", "b"], 2),
        ([10, 11, 12], [(10, 11, 12)]),
        ([[10, 11], [12]], [(10, 11), (12,)]),
    ],
    ids=["strings", "tokens", "lists of tokens"],
)
def test_every_form_of_prompt(client, serving, reference, prompt, wanted):
    answer = client.completions.create(model=LLM, prompt=prompt, max_tokens=5, temperature=0)
    prompts = sorted(request.prompt_tokens for request in serving.requests)
    if isinstance(wanted, int):
        assert prompts == [tuple(token_ids(reference, each)) for each in prompt]
    else:
        assert prompts == sorted(wanted)
    assert [choice.index for choice in answer.choices] == list(range(len(prompts)))
    by_prompt = {request.prompt_tokens: reference.decode(tokens_of(request)) for request in serving.requests}
    ordered = wanted if not isinstance(wanted, int) else [tuple(token_ids(reference, each)) for each in prompt]
    assert [choice.text for choice in answer.choices] == [by_prompt[tokens] for tokens in ordered]


def test_n_with_a_seed_gives_each_choice_its_own_and_the_same_again(client, serving):
    first = client.completions.create(model=LLM, prompt="x", n=3, seed=7, max_tokens=12)
    again = client.completions.create(model=LLM, prompt="x", n=3, seed=7, max_tokens=12)
    alone = client.completions.create(model=LLM, prompt="x", seed=7, max_tokens=12)
    texts = [choice.text for choice in first.choices]
    assert len(set(texts)) == 3
    assert texts == [choice.text for choice in again.choices]
    assert alone.choices[0].text == texts[0]
    assert first.usage.completion_tokens == 36
    assert first.usage.prompt_tokens == len(serving.requests[0].prompt_tokens)


def test_n_without_a_seed_differs_and_greedy_is_equal(client):
    sampled = client.completions.create(model=LLM, prompt="x", n=4, max_tokens=12)
    assert len({choice.text for choice in sampled.choices}) == 4
    greedy = client.completions.create(model=LLM, prompt="x", n=4, max_tokens=12, temperature=0)
    assert len({choice.text for choice in greedy.choices}) == 1


def test_n_streamed_is_n_whole(client):
    whole = client.completions.create(model=LLM, prompt="x", n=3, seed=1, max_tokens=20)
    texts = ["", "", ""]
    for chunk in client.completions.create(model=LLM, prompt="x", n=3, seed=1, max_tokens=20, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]


def test_a_stop_string_over_tokens_cuts_and_cancels(client, serving, reference):
    serving.script = token_ids(reference, "one two END three four five")
    assert len(token_ids(reference, " END ")) > 1
    whole = client.completions.create(model=LLM, prompt="x", max_tokens=100, stop=[" END ", "never"])
    assert whole.choices[0].text == "one two"
    assert whole.choices[0].finish_reason == "stop"
    assert serving.cancelled == 1
    chunks = list(client.completions.create(model=LLM, prompt="x", max_tokens=100, stop=" END ", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one two"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert serving.cancelled == 2
    assert serving.given < 2 * len(serving.script)


def test_an_end_token_is_no_text(client, serving, reference):
    serving.script = [*token_ids(reference, "one"), 1]
    answer = client.completions.create(model=LLM, prompt="x", max_tokens=100)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("one", "stop")
    assert answer.usage.completion_tokens == len(serving.script)


def test_split_characters_stream_whole(client, serving, reference):
    text = "日本 ß 🎉 done"
    serving.script = token_ids(reference, text)
    pieces = [
        chunk.choices[0].text for chunk in client.completions.create(model=LLM, prompt="x", max_tokens=100, stream=True)
    ]
    assert "".join(pieces) == text
    assert not any("�" in piece for piece in pieces)


def test_logprobs_of_a_completion(client, serving, reference):
    serving.script = token_ids(reference, "ab 日 cd")
    whole = client.completions.create(model=LLM, prompt="x", max_tokens=100, logprobs=2).choices[0]
    logprobs = whole.logprobs
    count = len(serving.script)
    assert logprobs.token_logprobs == [-0.25 * place for place in range(count)]
    assert [len(top) for top in logprobs.top_logprobs] == [2] * count
    assert len(logprobs.tokens) == len(logprobs.text_offset) == count
    for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
        if not token.startswith("bytes:"):
            assert whole.text[offset:].startswith(token)
    assert logprobs.tokens[3:6] == ["bytes:\\xe6", "bytes:\\x97", "bytes:\\xa5"]
    streamed = client.completions.create(model=LLM, prompt="x", max_tokens=100, logprobs=2, stream=True)
    parts = [chunk.choices[0].logprobs for chunk in streamed]
    assert [token for part in parts for token in part.tokens] == logprobs.tokens
    assert [offset for part in parts for offset in part.text_offset] == logprobs.text_offset


def test_tokens_of_a_stop_string_have_no_logprobs(client, serving, reference):
    serving.script = token_ids(reference, "one two END three")
    choice = client.completions.create(model=LLM, prompt="x", max_tokens=100, logprobs=0, stop=" END").choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text == "one two"
    assert choice.logprobs.top_logprobs == [{}] * len(choice.logprobs.tokens)


def test_a_chat(client, serving, reference):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
        {"role": "assistant", "content": "Hi", "refusal": None},
        {"role": "user", "content": "Again"},
    ]
    answer = client.chat.completions.create(
        model=LLM,
        messages=messages,
        max_completion_tokens=20,
        temperature=0,
        user="me",
        metadata={"a": "b"},
        store=False,
    )
    (request,) = serving.requests
    assert reference.decode(request.prompt_tokens) == (
        "<|begin|><|system|>Be brief.<|end|><|user|>Hello<|end|><|assistant|>Hi<|end|><|user|>Again<|end|><|assistant|>"
    )
    assert answer.choices[0].message.content == text_of(reference, serving)
    assert (answer.choices[0].message.role, answer.choices[0].finish_reason) == ("assistant", "length")
    assert (answer.object, answer.usage.completion_tokens) == ("chat.completion", 20)


def test_a_streamed_chat(client, serving, reference):
    messages = [{"role": "user", "content": "Hello"}]
    chunks = list(
        client.chat.completions.create(
            model=LLM, messages=messages, max_tokens=30, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == text_of(reference, serving)
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 30
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_the_streaming_helper_of_the_client(client, serving, reference):
    serving.script = [*token_ids(reference, "one two"), 1]
    with client.chat.completions.stream(
        model=LLM, messages=[{"role": "user", "content": "x"}], max_tokens=20, logprobs=True, top_logprobs=1
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "one two"
    assert len(final.choices[0].logprobs.content) == len(serving.script)


def test_logprobs_of_a_chat(client, serving, reference):
    serving.script = token_ids(reference, "ab 日")
    messages = [{"role": "user", "content": "x"}]
    choice = client.chat.completions.create(model=LLM, messages=messages, logprobs=True, top_logprobs=3).choices[0]
    content = choice.logprobs.content
    assert b"".join(bytes(entry.bytes) for entry in content).decode() == choice.message.content == "ab 日"
    assert [entry.logprob for entry in content] == [-0.25 * place for place in range(len(content))]
    assert [len(entry.top_logprobs) for entry in content] == [3] * len(content)
    plain = client.chat.completions.create(model=LLM, messages=messages, logprobs=True).choices[0]
    assert plain.logprobs.content[0].top_logprobs == []


def test_infinite_logprobs_become_the_least(client, serving, monkeypatch):
    from executor.api.serving import Finished, Reason, TokenEvent

    async def generate(_request):
        yield TokenEvent(20, float("-inf"), ())
        yield Finished(Reason.LENGTH)

    monkeypatch.setattr(type(serving), "generate", lambda _self, request: generate(request))
    answer = client.completions.create(model=LLM, prompt="x", max_tokens=1, logprobs=0)
    assert answer.choices[0].logprobs.token_logprobs == [-9999.0]


def test_llms_are_listed_and_shown(client, serving):
    assert [llm.id for llm in client.models.list()] == [LLM]
    shown = client.models.retrieve(LLM)
    assert (shown.id, shown.created, shown.max_model_len) == (LLM, 1_700_000_000, CONTEXT_TOKENS)
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other")
    assert caught.value.code == "model_not_found"


def test_a_failure_before_the_first_token_is_a_503(client, serving):
    serving.fail_after = 0
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as caught:
            client.completions.create(model=LLM, prompt="x", stream=stream)
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"] == "1"
        assert "lost a stage" in caught.value.message


def test_a_failure_that_will_not_pass_is_a_500(client, serving):
    from executor.api.serving import Failed

    serving.fail_after, serving.failure = 0, Failed("the logits are not finite", retryable=False)
    with pytest.raises(openai.InternalServerError, match="not finite") as caught:
        client.completions.create(model=LLM, prompt="x", n=2)
    assert caught.value.status_code == 500


def test_a_failure_in_the_middle_ends_the_stream_with_its_sentence(client, serving):
    serving.fail_after = 3
    chunks = iter(client.completions.create(model=LLM, prompt="x", stream=True))
    assert next(chunks).choices[0].finish_reason is None
    with pytest.raises(openai.APIError, match="lost a stage"):
        list(chunks)


def test_one_failed_choice_cancels_the_others(client, serving, monkeypatch):
    generate = type(serving).generate
    from executor.api.serving import Failed

    async def first_fails(self, request):
        if request.id.endswith("-0"):
            yield Failed("no memory", retryable=True)
            return
        self.token_delay_s = 0.5
        async for event in generate(self, request):
            yield event

    monkeypatch.setattr(type(serving), "generate", first_fails)
    with pytest.raises(openai.InternalServerError, match="no memory"):
        client.completions.create(model=LLM, prompt="x", n=3)


def test_while_nothing_is_served_clients_are_told_to_come_back(client, serving, monkeypatch):
    monkeypatch.setattr(order, "TOKENIZER_PATIENCE_S", 0.05)
    serving.names = ()
    with pytest.raises(openai.InternalServerError) as caught:
        client.completions.create(model=LLM, prompt="x")
    assert caught.value.status_code == 503
    serving.names, serving.tokenizer = (LLM,), None
    with pytest.raises(openai.InternalServerError, match="has not arrived") as caught:
        client.completions.create(model=LLM, prompt="x")
    assert caught.value.status_code == 503
