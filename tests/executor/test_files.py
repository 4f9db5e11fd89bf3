"""Small files and canaries: asked for in turn, checked, written, and answered to others."""

import asyncio

import attrs
import blake3
import pytest

from executor.errors import BadCheckpoint, MalformedFrame
from executor.files import ASK_AGAIN_NS, Files
from executor.pipelines.leader import Canary
from executor.traffic import AskCanary, AskFile, CanaryIs, FileIs
from specs.llm import File
from specs.problem import Holding
from tests.builders import a_problem, an_llm
from tests.plans import a_chain

CONTENTS = {"config.json": b"{}", "tokenizer.json": b"[1]", "copy.json": b"{}"}
LLM = attrs.evolve(
    an_llm(),
    files=tuple(
        File(name=name, bytes=len(content), digest=blake3.blake3(content).hexdigest())
        for name, content in CONTENTS.items()
    ),
)
DIGESTS = {file.name: file.digest for file in LLM.files}
BASE = a_problem(4, sources=2, llm=LLM)
PROBLEM = attrs.evolve(BASE, holdings=(*BASE.holdings, Holding(llm="llm", place="n3/gpu0")), targets=BASE.targets[:1])
PLAN = a_chain(problem=BASE)[1]  # of its plan the files look at blobs and pipelines only
CANARY = Canary(prompt=(1, 2), tokens=(3,))


class FakePost:
    def __init__(self):
        self.sent = []

    def send(self, node, message, body=b""):
        self.sent.append((node, message, bytes(body)))


def running(test):
    """Run a test with a node's files and what it sends, on a loop."""

    def wrapped(tmp_path):
        async def run():
            post = FakePost()
            await test(Files(PROBLEM, PLAN, "n2", tmp_path, post), post, tmp_path)

        asyncio.run(run())

    wrapped.__name__ = test.__name__
    return wrapped


def answer(name, content=None):
    return FileIs(llm="llm", digest=DIGESTS[name]), CONTENTS[name] if content is None else content


def asker(files, post):
    """Ask as if no answer had come; give whom, and of which kinds the questions were."""

    def asked(turn, *lost):
        post.sent.clear()
        files.ask(frozenset(lost), turn * ASK_AGAIN_NS)
        return {(node, type(message)) for node, message, _ in post.sent}

    return asked


def both(node):
    return {(node, AskFile), (node, AskCanary)}


@running
async def test_sources_are_asked_in_turn_and_lost_ones_are_not(files, post, path):
    asked = asker(files, post)
    assert [asked(turn) for turn in (1, 2, 3, 4)] == [both("n0"), both("n1"), both("n3"), both("n0")]
    assert {message.digest for _, message, _ in post.sent if isinstance(message, AskFile)} == set(DIGESTS.values())
    assert [message for _, message, _ in post.sent if isinstance(message, AskCanary)] == [AskCanary(llm="llm")]
    assert [asked(turn, "n1") for turn in (5, 6, 7)] == [both("n0"), both("n3"), both("n0")]
    assert asked(8, "n0", "n1", "n3") == set()


def one_source(path, holdings, node="n3"):
    post = FakePost()
    problem = attrs.evolve(PROBLEM, holdings=holdings)
    return Files(problem, PLAN, node, path, post), post


@running
async def test_files_may_come_from_others_and_canaries_only_from_sources(files, post, path):
    files, post = one_source(path, PROBLEM.holdings[:1])
    asked = asker(files, post)
    whom = [asked(turn) for turn in range(1, 7)]
    assert whom == [both("n0"), both("n0"), {("n1", AskFile)}, both("n0"), both("n0"), {("n2", AskFile)}]
    assert asked(7, "n0") == {("n1", AskFile)}, "files come without a source too"
    for name in CONTENTS:
        files.put_answer(*answer(name))
    assert [asked(turn) for turn in (8, 9, 10)] == [{("n0", AskCanary)}] * 3
    assert asked(11, "n0") == set()


@running
async def test_holders_of_parts_are_sources_where_nobody_holds_the_whole(files, post, path):
    end = PLAN.blobs[0].end_tensor
    parts = (
        Holding(llm="llm", place="n1/gpu0", end_tensor=end),
        Holding(llm="llm", place="n2/gpu0", first_tensor=end),
    )
    asked = asker(*one_source(path, parts))
    assert [asked(turn) for turn in (1, 2)] == [both("n1"), both("n2")]
    whole = (*parts, Holding(llm="llm", place="n1/gpu0", first_tensor=end))
    asked = asker(*one_source(path, whole))
    assert [asked(turn) for turn in (1, 2)] == [both("n1")] * 2, "in two runs, but the whole LLM"


@running
async def test_what_was_known_of_the_same_llm_is_kept(files, post, path):
    waiting = asyncio.create_task(files.wait_for_canary("llm"))
    asking = asyncio.create_task(files.wait_for_files("llm"))
    await asyncio.sleep(0)
    files.put_answer(*answer("config.json"))
    later = Files(PROBLEM, PLAN, "n3", path, post, files)
    assert not later.knows("llm")
    later.set_canary("llm", CANARY)
    assert await waiting == CANARY, "who waited under the plan before is answered"
    later.put_answer(*answer("tokenizer.json"))
    assert await asking == files.directory("llm")
    last = Files(PROBLEM, PLAN, "n3", path, post, later)
    assert last.has_files("llm")
    assert await last.wait_for_canary("llm") == CANARY
    shorter = attrs.evolve(PROBLEM.workloads[0], request_tokens_max=2)
    assert not Files(attrs.evolve(PROBLEM, workloads=(shorter,)), PLAN, "n3", path, post, later).knows("llm")
    first, *rest = LLM.tensors
    other = attrs.evolve(LLM, tensors=(attrs.evolve(first, digest="f" * 64), *rest))
    changed = Files(attrs.evolve(PROBLEM, llms=(other,)), PLAN, "n3", path, post, later)
    assert not changed.knows("llm"), "one tensor is another"


@running
async def test_no_file_is_asked_for_again_while_its_answer_may_be_under_way(files, post, path):
    files.ask(frozenset(), ASK_AGAIN_NS)
    first = len(post.sent)
    files.ask(frozenset(), 2 * ASK_AGAIN_NS - 1)
    assert len(post.sent) == first
    files.disconnected("n0")
    files.ask(frozenset(), 2 * ASK_AGAIN_NS - 1)
    assert len(post.sent) == 2 * first, "a broken connection may have lost the ask"
    files.ask(frozenset({"n1"}), 2 * ASK_AGAIN_NS)
    assert {node for node, _, _ in post.sent[2 * first :]} == {"n0"}, "the source that was asked is lost"


@running
async def test_what_has_come_is_not_asked_for(files, post, path):
    waiting = asyncio.create_task(files.wait_for_files("llm"))
    for name in ("config.json", "tokenizer.json"):
        assert not files.has_files("llm")
        files.put_answer(*answer(name))
    files.set_canary("llm", CANARY)
    files.ask(frozenset(), 0)
    assert post.sent == []
    assert files.has_files("llm")
    directory = await waiting
    assert directory.is_relative_to(path)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == CONTENTS, "copies of one another too"


@running
async def test_a_wrong_file_is_refused_and_asked_for_again(files, post, path):
    with pytest.raises(MalformedFrame, match=r"config\.json of llm: its content is not the one that was planned"):
        files.put_answer(*answer("config.json", b"evil"))
    assert not (files.directory("llm") / "config.json").exists()
    files.ask(frozenset(), 0)
    assert DIGESTS["config.json"] in {message.digest for _, message, _ in post.sent if isinstance(message, AskFile)}


@running
async def test_answers_that_nobody_asked_for_change_nothing(files, post, path):
    files.put_answer(FileIs(llm="other", digest="0" * 64), b"x")
    files.put_answer(FileIs(llm="llm", digest="0" * 64), b"x")
    files.set_canary("other", CANARY)
    assert list(files.directory("llm").iterdir()) == []


@running
async def test_the_first_canary_stays_and_a_waiter_may_leave(files, post, path):
    impatient = asyncio.create_task(files.wait_for_canary("llm"))
    patient = asyncio.create_task(files.wait_for_canary("llm"))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    files.set_canary("llm", CANARY)
    files.set_canary("llm", Canary(prompt=(9,), tokens=(9,)))
    assert await patient == CANARY


@pytest.mark.parametrize(
    ("canary", "words"),
    [
        (Canary(prompt=(1, 2), tokens=(LLM.vocabulary_size,)), "a token beyond the"),
        (Canary(prompt=(LLM.vocabulary_size, 2), tokens=(3,)), "a token beyond the"),
        (Canary(prompt=(1,) * 64, tokens=(3,)), "longer than the 64 of a request"),
    ],
)
def test_a_canary_that_no_pipeline_could_be_asked_is_refused(canary, words, tmp_path):
    @running
    async def refused(files, post, path):
        with pytest.raises(MalformedFrame, match=words):
            files.set_canary("llm", canary)
        files.set_canary("llm", CANARY)
        assert await files.wait_for_canary("llm") == CANARY

    refused(tmp_path)


@running
async def test_only_what_is_here_is_answered(files, post, path):
    ask = AskFile(llm="llm", digest=DIGESTS["config.json"])
    files.answer_file("n2", ask)
    files.answer_file("n2", attrs.evolve(ask, llm="other"))
    files.answer_file("n2", attrs.evolve(ask, digest="0" * 64))
    files.answer_canary("n2", AskCanary(llm="llm"))
    files.answer_canary("n2", AskCanary(llm="other"))
    assert post.sent == []
    files.put_answer(*answer("config.json"))
    files.set_canary("llm", CANARY)
    files.answer_file("n2", ask)
    files.answer_canary("n2", AskCanary(llm="llm"))
    assert post.sent == [("n2", *answer("config.json")), ("n2", CanaryIs(llm="llm", prompt=(1, 2), tokens=(3,)), b"")]


@running
async def test_files_of_an_earlier_life_are_checked_and_kept(files, post, path):
    for name in CONTENTS:
        files.put_answer(*answer(name))
    assert Files(PROBLEM, PLAN, "n2", path, post).has_files("llm")
    (files.directory("llm") / "tokenizer.json").write_bytes(b"[2]")
    again = Files(PROBLEM, PLAN, "n2", path, post)
    assert not again.has_files("llm")
    again.put_answer(*answer("tokenizer.json"))
    assert again.has_files("llm")


@running
async def test_a_name_with_a_path_is_refused(files, post, path):
    llm = attrs.evolve(LLM, files=(attrs.evolve(LLM.files[0], name="a/../../../escaped"),))
    with pytest.raises(BadCheckpoint, match="is no plain file name"):
        Files(attrs.evolve(PROBLEM, llms=(llm,)), PLAN, "n2", path, post)
