"""Every family of LLM, tied and untied, whole and in shards: answers from nodes that each hold a part are exact."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from specs import journal
from tests.checkpoints import make_checkpoint
from tests.processes.cluster import (
    Oracle,
    adopt,
    complete,
    completion,
    daemons,
    make_plan,
    make_problem,
    over_nodes,
    records_of,
    text_of,
    weights_bytes,
)

QUESTIONS = (
    ("a", 20),
    ("Which bytes move over which link by when", 12),
    ("Every request keeps its tokens while the pipeline under it changes from many nodes to one. " * 2, 16),
    ("def fits(memory: int)", 5),
)
SLOW = pytest.mark.slow
FAMILIES = (
    pytest.param("gpt_neox", False, False, id="gpt_neox"),
    pytest.param("gemma2", True, True, id="gemma2-tied-sharded"),
    pytest.param("qwen3", False, True, id="qwen3-sharded"),
    pytest.param("llama", True, True, id="llama-tied-sharded", marks=SLOW),
    pytest.param("qwen2", True, False, id="qwen2-tied", marks=SLOW),
    pytest.param("qwen3", True, False, id="qwen3-tied", marks=SLOW),
    pytest.param("mistral", False, True, id="mistral-sharded", marks=SLOW),
    pytest.param("gemma", True, False, id="gemma-tied", marks=SLOW),
    pytest.param("gemma3_text", True, True, id="gemma3_text-tied-sharded", marks=SLOW),
    pytest.param("phi3", False, False, id="phi3", marks=SLOW),
    pytest.param("olmo2", False, True, id="olmo2-sharded", marks=SLOW),
    pytest.param("gpt_neox", False, True, id="gpt_neox-sharded", marks=SLOW),
)


@pytest.mark.parametrize(("family", "tied", "sharded"), FAMILIES)
def test_answers_while_loading_are_exact(family, tied, sharded, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, tied=tied, sharded=sharded)
    assert (len(list(checkpoint.glob("*.safetensors"))) > 1) == sharded
    oracle = Oracle(checkpoint)
    right = [oracle.answer(*question) for question in QUESTIONS]
    # A third of nine seconds is theirs whose halves cross: a busy machine takes a while to build and prove a pipeline.
    verified = make_plan(make_problem(checkpoint, 3, rate=weights_bytes(checkpoint) // 6, context=256), blocks=2)
    with daemons(verified.problem, checkpoint, tmp_path) as running:
        adopt(running, verified)

        def ask_until_complete(number: int) -> list[tuple[int, str]]:
            daemon, which = running[number % len(running)], number % len(QUESTIONS)
            given = [(which, text_of(completion(daemon, *QUESTIONS[which])))]
            while not complete(daemon):
                which = (which + 1) % len(QUESTIONS)
                given.append((which, text_of(completion(daemon, *QUESTIONS[which]))))
            return given

        with ThreadPoolExecutor(6) as pool:
            given = [each for found in pool.map(ask_until_complete, range(6)) for each in found]
        assert [(which, text) for which, text in given if text != right[which]] == []
        assert {which for which, _ in given} == set(range(len(QUESTIONS)))
        served = {record.what.pipeline for record in records_of(running, journal.FirstToken)}
        assert served & over_nodes(verified), "some were answered by nodes that each held a part of the LLM"
