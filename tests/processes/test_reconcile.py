"""Nobody is at the keyboard: a node dies or hangs while it serves, the cluster goes on, and the node is used again."""

import contextlib
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from planner.description.reading import read_problem
from specs import journal
from tests.processes.cluster import completion, daemons, free_ports, records_of, text_of, wait_for

WISH = """
name: night
cluster:
  name: loopback-night
  templates:
    large: {{gpus: 1 x Large, nics: {{rate: 400 Mb/s, latency: 200 us}}}}
    small: {{gpus: 1 x Small, nics: {{rate: 400 Mb/s, latency: 200 us}}}}
  nodes:
    n0: {{like: large, address: "127.0.0.1:{0}"}}
    n1: {{like: small, address: "127.0.0.1:{1}"}}
    n2: {{like: small, address: "127.0.0.1:{2}"}}
    n3: {{like: small, address: "127.0.0.1:{3}"}}
llms:
  tiny:
    checkpoint: {checkpoint}
    workload: {{requests: 2 / s, prompt: 16, output: 32, longest: 96, live: 2}}
    held: [n0]
    serve: {{on: [n1, n2, n3], objective: goodput, depth: 2}}
device kinds:
  Large: {{memory: 200 MB, memory rate: 8 GB/s, fp32: 20 Gflop/s, bf16: 20 Gflop/s, source: a test machine}}
  Small: {{memory: {memory}, memory rate: 8 GB/s, fp32: 20 Gflop/s, bf16: 20 Gflop/s, source: a test machine}}
"""
TOKENS = 48


class Clients:
    """Ask again and again at fronts that nothing happens to; every answer must be the oracle's."""

    def __init__(self, fronts, oracle, log):
        self.answers = 0
        self._wrong, self._errors = [], []
        self._log = log
        self._over = threading.Event()
        self._right = {prompt: oracle.answer(prompt, TOKENS) for prompt in ("by day", "by night, as well")}
        self._threads = [
            threading.Thread(target=self._ask, args=(front, prompt), daemon=True)
            for front in fronts
            for prompt in self._right
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, front, prompt):
        while not self._over.is_set():
            try:
                reply = completion(front, prompt, TOKENS)
            except httpx.TimeoutException:
                self._wrong.append((front.name, "never answered", front.status()))
                return
            except httpx.TransportError as error:
                self._errors.append((front.name, repr(error)))
                continue
            if reply.status_code != 200:
                self._errors.append((front.name, reply.text))
            elif text_of(reply) != self._right[prompt]:
                self._wrong.append((front.name, reply.text))
            self.answers += reply.status_code == 200

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._over.set()
        if kind is None:
            for thread in self._threads:
                thread.join(120)
                assert not thread.is_alive(), "a request was never answered"
            assert not self._wrong
            # On a starved machine a front may count as lost, be left out, and have to begin a new life.
            told = self._log.read_text()
            left_out = " ".join(line.partition(", without ")[2] for line in told.splitlines())
            errors = [each for each in self._errors if each[0] not in left_out]
            assert not errors, (errors, told)


@contextlib.contextmanager
def reconciling(wish, running, log):
    """Run `holdfast reconcile` until the end, and then press Ctrl-C."""
    ats = [word for daemon in running for word in ("--at", daemon.url)]
    with (
        log.open("w") as out,
        subprocess.Popen(
            [sys.executable, "-m", "planner", "reconcile", str(wish), *ats], stdout=out, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130, log.read_text()


def serves(running, nodes, after=0):
    """Whether exactly these nodes have the newest plan, later than this one, all of it done, and each answers."""
    try:
        statuses = [daemon.status() for daemon in running]
        healthy = all(daemon.get("/health").status_code == 200 for daemon in running)
    except httpx.TransportError:
        return False
    newest = max((status["plan"]["generation"] for status in statuses if status["plan"] is not None), default=0)
    done = {
        status["node"]
        for status in statuses
        if status["plan"] is not None and status["plan"]["generation"] == newest and status["phase"] == "complete"
    }
    return newest > after and done == nodes and healthy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "memory", "pipelines"),
    [(signal.SIGKILL, "3.2 MB", 1), (signal.SIGSTOP, "4 MB", 3)],
    ids=["killed, of two that serve together", "hung, of three that serve alone"],
)
def test_a_lost_node_is_done_without_and_used_again(how, memory, pipelines, checkpoint, oracle, tmp_path):
    wish, log = tmp_path / "wish.yaml", tmp_path / "log"
    wish.write_text(WISH.format(*free_ports(4), checkpoint=checkpoint, memory=memory))
    problem = read_problem(wish)
    with daemons(problem, checkpoint, tmp_path) as running, reconciling(wish, running, log):

        def wait_until(condition, what):
            try:
                wait_for(condition, what, seconds=120)
            except AssertionError:
                raise AssertionError(log.read_text()) from None

        wait_until(lambda: serves(running, {"n0", "n1", "n2", "n3"}), "the first plan is carried out")
        assert len(running[0].status()["pipelines"]["open"]) == pipelines
        built = records_of(running, journal.StageBuilt)
        victim = next(daemon for daemon in running if daemon.name == built[0].node)
        others = [daemon for daemon in running if daemon is not victim]
        names = {daemon.name for daemon in others}
        with Clients(others[:2], oracle, log) as clients:
            wait_until(lambda: clients.answers >= 4, "requests run")
            victim.signal(how)
            wait_until(lambda: serves(others, names, after=1), "the others go on under another plan")
            assert victim.name not in others[0].status()["lost"], "it is not in that plan"
            asked = clients.answers
            wait_until(lambda: clients.answers >= asked + 4, "requests run again")
            if how is signal.SIGKILL:
                victim.process.join()
                victim.start()
                victim.wait_until_it_answers()
            else:
                victim.signal(signal.SIGCONT)
            wait_until(lambda: serves(running, {*names, victim.name}, after=2), "it is used again")
        assert len(victim.status()["pipelines"]["open"]) == pipelines
        assert text_of(completion(victim, "at last", 12)) == oracle.answer("at last", 12)
        assert f"{victim.name} is lost" in log.read_text()
        assert f"{victim.name} has come" in log.read_text()
        for daemon in running:
            refused = [each for each in daemon.records() if isinstance(each.what, journal.Refused)]
            assert not refused, refused
