import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest

from planner.audit.instants import timeline
from planner.page.render import render
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.journal import PeerLost, TransferEnded, TransferFailed
from specs.plan import Transfer
from specs.protocols.nouns import LossReason
from tests import plans
from tests.builders import a_cluster, a_problem, an_llm
from tests.runs import exact_run, journals_of, only, with_record, without

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VOID = {"meta", "input", "img", "br", "hr", "link"}


class Strict(HTMLParser):
    """Follows open elements; collects ids, attributes with addresses, and scripts."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.addresses = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "action"):
                self.addresses.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def verified(problem, plan) -> VerifiedPlan:
    verdict = verify(problem, plan)
    assert isinstance(verdict, VerifiedPlan), verdict
    return verdict


def a_run(name="rescue"):
    plan = verified(*plans.GOOD[name]())
    records = [each for journal in journals_of(exact_run(plan.problem, plan.plan)) for each in journal.records]
    return plan, timeline(plan.plan, plan.problem, records)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize("name", plans.GOOD)
@pytest.mark.parametrize("with_run", [False, True])
def test_pages_are_whole_and_fetch_nothing(name, with_run):
    plan, measured = a_run(name)
    page = render(plan, measured if with_run else None)
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert all(address.startswith("data:") for address in parser.addresses)
    assert "url(" not in page
    assert "@import" not in page
    data = data_of(page)
    moved = sum(row["kind"] == "transfer" for row in json.loads(codec.encode(plan.plan))["steps"])
    assert len(data["transfers"]) == moved
    assert data["measured"] is with_run
    assert data["heat"] is None
    assert codec.digest(plan.plan) in page


def test_the_same_input_gives_the_same_page():
    plan, measured = a_run()
    assert render(plan, measured) == render(plan, measured)


def test_no_name_becomes_markup():
    """Names may hold `>` and slashes; the nouns allow no `<`, and the page would escape it all the same."""
    llm = an_llm(name="a>b/script>{{DATA}}".replace("{", "").replace("}", ""))
    plan = verified(*plans.a_chain(3, 2, problem=a_problem(3, llm=llm)))
    page = render(plan)
    assert "a&gt;b/script&gt;DATA on " in page
    assert "<a>b" not in page
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert data_of(page)["blobs"][0][0] == "a>b/script>DATA/0"


def test_embedded_data_cannot_end_its_element():
    from planner.page.render import _embed

    text = _embed({"name": "</script><script>alert(1)</script><!--"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><script>alert(1)</script><!--"}


def test_large_plans_show_some_nodes_and_sum_up_the_rest():
    problem = a_problem(80, cluster=a_cluster(80))
    plan = verified(*plans.a_chain(80, 4, problem=problem))
    page = render(plan)
    data = data_of(page)
    assert len(data["nodes"]) == 64
    assert data["heat"]["nodes"] == 16
    assert sum(name.count("n") for name in data["heat"]["groups"]) == 16
    assert all(row.endswith("z") for row in data["heat"]["planned"])
    assert "shows 64" in page or "show 64 of them" in page.replace("\n", " ")
    assert {transfer[0] for transfer in data["transfers"]} < set(range(len(plan.plan.steps)))


def test_nodes_that_hold_the_llm_are_always_shown():
    problem = a_problem(80, cluster=a_cluster(80))
    last = attrs.evolve(problem.holdings[0], place="n79/gpu0")
    from planner.page.selection import select
    from specs.invariants.facts import Facts

    _, plan = plans.a_chain(80, 2, problem=problem)
    facts = Facts(attrs.evolve(problem, holdings=(*problem.holdings, last)), plan)
    assert select(facts, 5).nodes == ("n0", "n1", "n2", "n3", "n79")


# --- in a real browser -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_lost_node_and_its_broken_transfer_are_seen(tmp_path):
    problem, good = plans.GOOD["rescue"]()
    last = [step for step in good.steps if isinstance(step, Transfer)][-1]
    run = without(exact_run(problem, good), only(TransferEnded, step=last.id))
    run = with_record(run, "n1", TransferFailed(step=last.id, reason="broken"), last.end_ns)
    run = with_record(run, "n1", PeerLost(node="n2", reason=LossReason.STALLED), last.end_ns)
    records = [each for journal in journals_of(run) for each in journal.records]
    measured = timeline(good, problem, records)
    page = tmp_path / "page.html"
    page.write_text(render(verified(problem, good), measured), encoding="utf-8")
    document, console = browse(page, f"#t={measured.end_ns / 1e9}", tmp_path / "profile")
    assert console == ""
    assert "n2 counts as lost since" in document
    assert document.count("g-card serves lost") == 1
    assert document.count('class="failed"') == 2  # at its sender and at its receiver
    assert "0 transfers under way" in document


def browse(page: Path, fragment: str, profile: Path) -> tuple[str, str]:
    """Give the document after its scripts have run, and what the console says."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={profile}",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
        "--dump-dom",
        f"{page.as_uri()}{fragment}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_slider_changes_the_picture_and_the_console_stays_empty(tmp_path):
    plan, measured = a_run()
    page = tmp_path / "page.html"
    page.write_text(render(plan, measured), encoding="utf-8")
    end_s = measured.end_ns / 1e9
    seen = {}
    for name, fragment in {
        "start": "#t=0",
        "middle": f"#t={end_s * 0.3}",
        "end": f"#t={end_s}",
        "planned": f"#t={end_s * 0.3}&run=planned",
    }.items():
        document, console = browse(page, fragment, tmp_path / "profile")
        assert console == ""
        seen[name] = document
    said = {name: re.search(r'<p id="now">(.*?)</p>', document)[1] for name, document in seen.items()}
    assert "2 of 6 copies held" in said["start"]
    assert "6 of 6 copies held" in said["end"]
    assert "1 transfer under way" in said["middle"]
    assert "as measured" in said["middle"]
    assert "as planned" in said["planned"]
    lit = {name: len(re.findall(r'class="g-wire lit"', document)) for name, document in seen.items()}
    assert lit["middle"] == 2
    assert lit["end"] == 0
    filled = {name: len(re.findall(r'class="g-cell"[^>]*style="fill: ', doc)) for name, doc in seen.items()}
    assert filled["start"] < filled["end"] == 6
    assert seen["end"].count('class="bar ran"') == 5


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_lines_of_the_flow_follow_the_slider_and_the_arrow_keys(tmp_path):
    plan, _ = a_run("chain")
    page = tmp_path / "page.html"
    press = (
        'byId("flow").querySelector("[tabindex=\\"0\\"]").focus();'
        'document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));'
    )
    page.write_text(render(plan).replace("</body>", f"<script>{press}</script></body>"), encoding="utf-8")
    edges = data_of(page.read_text(encoding="utf-8"))["flow"]["edges"]
    document, console = browse(page, "#t=0", tmp_path / "profile")
    assert console == ""
    tip = re.search(r'<div id="tip"[^>]*>(.*?)</div>', document, re.DOTALL)
    assert "hidden" not in tip[0].split(">")[0]
    assert tip[1].replace("&gt;", ">") == edges[1][1]
    assert document.count('tabindex="0"') == 1
    shades = re.compile(r'class="f-line (\w+)')
    whole = shades.findall(document)
    late, console = browse(page, "#t=1000&flow=now", tmp_path / "profile")
    assert console == ""
    assert 'id="flow-now"' in late
    assert len(re.findall(r'data-edge="\d+"', late)) == len(edges)
    assert len(re.findall(r'class="f-line(?: f-binds)? still', late)) == len(edges)
    assert not any("still" in shade for shade in whole)
