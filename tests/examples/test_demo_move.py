import io
from pathlib import Path

import attrs
import pytest
from rich.console import Console
from ruamel.yaml import YAML

from examples.demo.load import Answer
from examples.demo_move.__main__ import main
from examples.demo_move.changing import Change
from examples.demo_move.findings import MACHINE, Spread, find, gaps_of
from examples.demo_move.picture import draw
from examples.demo_move.sequence import run
from examples.demo_move.serving import Served
from examples.demo_move.settings import Settings
from examples.demo_move.tables import tables
from examples.demo_move.wishes import WISHES, Wish, write
from specs import journal
from specs.cluster import NodeId
from specs.plan import PipelineId
from specs.protocols.nouns import Ending
from tests.builders import a_problem
from tests.examples.test_demo import TINY, daemons, free_ports
from tests.running_clusters import planned

ROOT = Path(__file__).parent.parent.parent
MS = 10**6
START = 10**18
EXPECTED = (("a", "b", "c", "d"),)


def answer(*instants_ms: int, names: str = "abcd") -> Answer:
    """A request whose tokens came at these instants, from the start."""
    return Answer(
        front=NodeId("n"),
        prompt=0,
        max_tokens=4,
        asked_unix_ns=START,
        names=list(names),
        named_unix_ns=[START + at * MS for at in instants_ms],
        finish="length",
    )


def change(begin_ms: int, end_ms: int, pause_ms: int = 0) -> Change:
    """A change of some pipeline; its plan is generation 1 of some problem."""
    seen = [
        {"pipeline": "p", "fate": "copy", "requests": 3, "pause_ns": pause_ms * MS},
        {"pipeline": "q", "fate": "drain", "requests": 2, "pause_ns": 0},
        {"pipeline": "r", "fate": "kept", "requests": 9, "pause_ns": 0},
    ]
    return Change(
        wish=WISHES[0],
        verified=planned(a_problem(2, 1)),
        difference={"seen": seen, "moved": [{"bytes": 7}, {"bytes": 5}], "lasts_ns": 11},
        put_unix_ns=START + begin_ms * MS,
        settled_unix_ns=START + end_ms * MS,
    )


def noted(at_ms: int, what: journal.What) -> journal.Record:
    return journal.Record(sequence=0, at_unix_ns=START + at_ms * MS, node=NodeId("n"), generation=1, what=what)


def found(answers, changes=(), records=()):
    served = Served(calm_unix_ns=START, changes=changes, answers=answers, journals={NodeId("n"): tuple(records)})
    return find(served, EXPECTED)


def test_gaps_are_between_tokens_of_one_request():
    gaps = list(gaps_of([answer(0, 10, 40, 41), answer(5, 6, 7, 8)], START))
    assert [(gap.request, gap.ns // MS) for gap in gaps] == [(0, 10), (0, 30), (0, 1), (1, 1), (1, 1), (1, 1)]


def test_what_was_before_the_start_does_not_count():
    assert [gap.ns // MS for gap in found([answer(-9, -1, 1, 3)]).gaps] == [2]


def test_percentiles_are_lengths_that_occurred():
    assert Spread.of([]) == Spread(p50_ns=0, p99_ns=0, largest_ns=0)
    assert Spread.of([7]) == Spread(p50_ns=7, p99_ns=7, largest_ns=7)
    assert Spread.of(range(1, 201)) == Spread(p50_ns=100, p99_ns=198, largest_ns=200)


def test_calm_gaps_say_what_the_machine_adds():
    whole = found([answer(0, 10, 20, 50), answer(100, 300, 310, 320)], [change(60, 200)])
    assert whole.calm == Spread(p50_ns=10 * MS, p99_ns=30 * MS, largest_ns=30 * MS)
    assert whole.changes[0].during.largest_ns == 200 * MS
    assert whole.changes[0].before.largest_ns == 30 * MS


@pytest.mark.parametrize(("late_ms", "good"), [(0, True), (1, False)])
def test_a_gap_may_be_as_long_as_iteration_and_promise_and_machine_and_no_longer(late_ms, good):
    promised_ms = 25
    allowed_ms = 10 + promised_ms + MACHINE * 30
    answers = [answer(0, 10, 20, 50), answer(150, 160, 160 + allowed_ms + late_ms, 170 + allowed_ms + late_ms)]
    whole = found(answers, [change(155, 280, pause_ms=promised_ms)])
    assert whole.changes[0].bound_ns == allowed_ms * MS
    assert whole.is_good == good
    assert [gap.ns for gap in whole.beyond] == ([] if good else [(allowed_ms + late_ms) * MS])


def test_a_promise_counts_only_while_its_plan_is_carried_out():
    calm, late = answer(0, 10, 20, 50), answer(300, 390, 395, 398)
    changes = [change(290, 400, pause_ms=25), change(500, 700)]
    assert found([calm, late], changes).is_good
    whole = found([calm, late, answer(510, 520, 610, 620)], changes)
    assert [(gap.request, gap.ns // MS) for gap in whole.beyond] == [(2, 90)]


@pytest.mark.parametrize("wrong", [answer(0, 1, 2, 3, names="abcx"), attrs.evolve(answer(0, 1), finish=None)])
def test_other_tokens_or_none_are_a_failure(wrong):
    assert found([answer(0, 1, 2, 3)]).is_good
    assert not found([answer(0, 1, 2, 3), wrong]).is_good


def test_receipts_and_closes_are_those_of_the_plan():
    handed = journal.HandedOver(
        pipeline=PipelineId("p"),
        successor=PipelineId("s"),
        copied=2,
        recomputed=1,
        rounds=3,
        bytes=99,
        halted_ns=4 * MS,
    )
    closed = journal.Closed(pipeline=PipelineId("p"), ending=Ending.SUPERSEDED, successor=PipelineId("s"))
    earlier = attrs.evolve(noted(110, closed), generation=2)
    records = [noted(120, handed), noted(121, closed), earlier]
    (one,) = found([answer(100, 105, 119, 125), answer(107, 112, 113, 140)], [change(90, 200)], records).changes
    assert (one.copied, one.again, one.drained, one.halted_ns) == (2, 1, 2, 4 * MS)
    assert one.closes_ns == (121 * MS,)
    assert one.across_ns == 27 * MS
    assert one.moved_bytes == 12
    assert one.closed == ("p: copy", "q: drain")


def test_no_close_and_no_hand_over_are_not_zero():
    (one,) = found([answer(100, 105, 119, 125)], [change(90, 200)]).changes
    assert (one.across_ns, one.halted_ns) == (None, None)


def test_tables_and_picture_of_a_run():
    answers = [answer(0, 10, 20, 50), answer(150, 160, 270, 300)]
    whole = found(answers, [change(155, 280, pause_ms=25)])
    console = Console(file=io.StringIO(), width=220)
    for table in tables(whole):
        console.print(table)
    shown = console.file.getvalue()
    assert "Small is slower" in shown
    assert "2 of 2" in shown
    page = draw(whole, answers, START)
    assert page.count("<svg") == 3
    assert "110 ms without a token" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_gap_beyond_its_bound_is_drawn_as_one():
    answers = [answer(0, 10, 20, 50), answer(100, 110, 190, 200)]
    whole = found(answers, [change(105, 195)])
    assert [gap.ns // MS for gap in whole.beyond] == [80]
    assert draw(whole, answers, START).count('class="gap bad"') == 2, "among all requests and in its change"


def test_every_wish_is_a_description_of_its_own(tmp_path):
    description = ROOT / "examples" / "move.yaml"
    for wish in WISHES:
        write(description, wish, tmp_path / f"{wish.name}.yaml")
        (llm,) = YAML(typ="safe").load(tmp_path / f"{wish.name}.yaml")["llms"].values()
        assert llm["serve"]["on"] == list(wish.on)
        assert llm["slo"]["pause"] == wish.pause
        assert Path(llm["checkpoint"]) == ROOT / "demo-out" / "move-llm"
    assert len({wish.name for wish in WISHES}) == len(WISHES) == 10


def test_help_says_what_can_be_chosen(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out


@pytest.fixture
def tiny(tmp_path: Path) -> Settings:
    """The demo's own description with a tiny LLM, three changes of nodes, and ports that nobody has."""
    text = (ROOT / "examples" / "move.yaml").read_text().replace("../demo-out/move-llm", "llm")
    before, rest = text.split("  nodes:\n")
    names = ("large1", "large2", "middle1", "small1", "small2", "small3")
    nodes = "\n".join(
        f'    {name}: {{like: {name[:-1]}, address: "127.0.0.1:{port}"}}'
        for name, port in zip(names, free_ports(6), strict=True)
    )
    description = tmp_path / "tiny.yaml"
    description.write_text(f"{before}  nodes:\n{nodes}\n{rest[rest.index(chr(10) + 'llms:') :]}")
    wishes = (
        Wish(name="add", says="large2 is added", on=("large[1-2]", "small1")),
        Wish(name="one", says="computed again", on=("large2",), pause="5 s"),
        Wish(name="drain", says="all but large2", on=("large1", "middle1", "small[1-3]")),
    )
    return Settings(description=description, out=tmp_path / "out", llm_shape=TINY, wishes=wishes, clients=3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_run_with_a_tiny_llm(tiny):
    shown = Console(file=io.StringIO(), width=200)
    run(tiny, shown)  # a busy machine may make a gap too long; tokens and daemons are always as they should be
    text = shown.file.getvalue()
    assert "every daemon stopped cleanly" in text
    assert "failed request" not in text
    asked = text.rpartition("requests answered")[2].split()
    assert asked[1] == asked[3], text
    equal = text.rpartition("requests whose tokens equal the oracle's")[2].split()
    assert equal[1] == equal[3], text
    generations = {
        record.generation for path in tiny.journals.iterdir() for record in journal.read_lines(path.read_text())
    }
    assert generations >= {1, 2, 3, 4}
    assert tiny.picture.stat().st_size > 10_000
    assert not daemons()
