"""The front: one thing at a time."""

import asyncio
from collections import Counter

import attrs
import pytest

from executor.pipelines.front import PATIENCE_NS, GaveUp
from executor.traffic import Cancel, Chosen, Returned, Submit, Token
from tests.executor.pipelines.front_doubles import (
    DOORS,
    LLM,
    OF,
    OTHER,
    Client,
    FakePost,
    a_front,
)


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
