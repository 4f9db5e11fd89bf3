"""Asking daemons for their state: answers are put together, whoever does not answer is named."""

import http.server
import json
import threading

import attrs
import pytest

from planner.__main__ import main
from planner.asking import ask
from planner.cli.documents import read_state
from planner.errors import BadState
from planner.reconfiguring.beginning import begin
from specs import codec
from specs.protocols.plan_switch_nouns import PlanName
from specs.state import RunningNode
from tests.plans import a_chain
from tests.running_clusters import after


class Doors:
    """HTTP servers that give these documents; each is closed at the end."""

    def __init__(self):
        self._servers = []

    def open(self, documents):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = documents.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self._servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    def close(self):
        for server, thread in self._servers:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def doors():
    found = Doors()
    yield found
    found.close()


def daemons(doors, state, nodes=None):
    document = b'{"plan":' + codec.encode(state.plan) + b',"problem":' + codec.encode(state.problem) + b"}"
    return [doors.open({"/state": codec.encode(node), "/plan": document}) for node in (nodes or state.nodes)]


def test_answers_are_put_together(doors):
    state = after(*a_chain())
    urls = daemons(doors, state)
    answers = ask(urls, 5)
    assert answers.state == state
    assert (answers.urls, answers.failed) == (tuple(urls), ())


def test_who_does_not_answer_is_named(doors):
    state = after(*a_chain())
    urls = daemons(doors, state, state.nodes[:2])
    answers = ask([*urls, doors.open({}), doors.open({"/state": b"{}"}), "http://127.0.0.1:1", "ftp://x"], 5)
    assert answers.state.silent == ("n2", "n3")
    assert [why.split(":")[0] for _, why in answers.failed] == [
        "it answers 404 to GET /state",
        "its answer is no state",
        "no answer",
        "not a URL that begins with http",
    ]


def test_who_has_no_plan_counts_for_the_next_generation(doors):
    state = after(*a_chain())
    urls = daemons(doors, state, state.nodes[:3])
    empty = RunningNode(node="n3", plan=None, generation_max=9, held=(), leads=())
    found = ask([doors.open({"/state": codec.encode(empty)}), *urls], 5).state
    assert (found.empty, found.silent, found.generation_max) == (("n3",), (), 9)
    begun = begin(found, state.problem)
    assert begun.request.generation == 10
    assert "n3" not in {node.id for node in begun.problem.cluster.nodes}
    assert "n3" in {node.id for node in begin(found, state.problem, back=frozenset({"n3"})).problem.cluster.nodes}


def test_nobody_has_a_plan(doors):
    empty = RunningNode(node="n3", plan=None, generation_max=9, held=(), leads=())
    with pytest.raises(BadState, match="no node has a plan yet: n3"):
        ask([doors.open({"/state": codec.encode(empty)})], 5)


def test_nobody_answers(doors):
    with pytest.raises(BadState, match=r"nobody answered: .* 404"):
        ask([doors.open({})], 5)


def test_nodes_with_different_plans_have_no_common_state(doors):
    state = after(*a_chain())
    nodes = (state.nodes[0], attrs.evolve(state.nodes[1], plan=PlanName(generation=2, digest="0" * 64)))
    with pytest.raises(BadState, match=r"n0: .* generation 1; n1: .* generation 2"):
        ask(daemons(doors, state, nodes), 5)


def test_a_plan_that_nobody_gives(doors):
    state = after(*a_chain())
    with pytest.raises(BadState, match=r"no node gave its plan: .* 404"):
        ask([doors.open({"/state": codec.encode(state.nodes[0])})], 5)


def test_the_command_writes_the_state(doors, tmp_path, capsys):
    state = after(*a_chain())
    urls, out = daemons(doors, state), tmp_path / "state.json"
    assert main(["state", *urls, "--out", str(out)]) == 0
    assert read_state(out) == state
    assert "generation 1; written to" in capsys.readouterr().out
    assert main(["state", urls[0], "--out", str(out), "--json"]) == 1
    printed = capsys.readouterr().out
    assert json.loads(printed)["silent"] == ["n1", "n2", "n3"]
    assert main(["state", *urls[:2], doors.open({}), "-o", str(out), "--within", "3s"]) == 1
    printed = capsys.readouterr().err
    assert "404" in printed
    assert "no answer from n2, n3: a plan that begins from this state counts them as lost" in printed


def test_the_command_without_an_answer(doors, tmp_path, capsys):
    out = tmp_path / "state.json"
    assert main(["state", doors.open({}), "--out", str(out)]) == 2
    assert "nobody answered" in capsys.readouterr().err
    assert not out.exists()
