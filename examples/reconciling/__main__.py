"""Leave a cluster alone: a node is killed and started again, another hangs and wakes, and nobody types a thing.

Four daemons and `holdfast reconcile` run on this machine; a client asks all the time for the same answer.

python -m examples.reconciling OUT
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from examples.demo import checkpoint
from examples.demo.daemons import check_ports_free
from planner.description.reading import read_problem

WISH = Path(__file__).resolve().parent.parent / "night.yaml"
SHAPE = {"num_hidden_layers": 8, "max_position_embeddings": 256}
HTTP_PORT = 23310  # of the first daemon; the others have the next ones
PATIENCE_S = 120
TOKENS = 40


class Cluster:
    """The daemons, by their nodes' names."""

    def __init__(self, out: Path, llm: Path) -> None:
        self._out, self._llm = out, llm
        self.problem = read_problem(WISH)
        check_ports_free(self.problem.cluster)
        names = [str(node.id) for node in self.problem.cluster.nodes]
        self.urls = {name: f"http://127.0.0.1:{HTTP_PORT + number}" for number, name in enumerate(names)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a daemon; those that hold the LLM get its checkpoint."""
        program = Path(sys.executable).with_name("holdfastd")
        options = ["--node", name, "--http", self.urls[name].removeprefix("http://"), "--state", str(self._out / name)]
        if any(holding.place.startswith(f"{name}/") for holding in self.problem.holdings):
            options += ["--checkpoint", f"{self.problem.llms[0].id}={self._llm}"]
        with (self._out / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([program, *options], stdout=log, stderr=log, process_group=0)

    def stop(self) -> None:
        """End all daemons."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            process.wait(30)


class Client:
    """Asks one question again and again, at a node to which nothing happens."""

    def __init__(self, url: str, llm: str) -> None:
        self._url, self._llm = url, llm
        self.answers: list[str] = []
        self.longest_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        body = {"model": self._llm, "prompt": "All is well", "max_tokens": TOKENS, "temperature": 0}
        while not self._over.is_set():
            began = time.monotonic()
            reply = httpx.post(f"{self._url}/v1/completions", json=body, timeout=PATIENCE_S)
            self.answers.append(reply.json()["choices"][0]["text"] if reply.is_success else reply.text)
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def end(self) -> None:
        """Wait for the last answer."""
        self._over.set()
        self._thread.join(PATIENCE_S)


@contextlib.contextmanager
def reconciling(cluster: Cluster) -> Iterator[list[str]]:
    """Run `holdfast reconcile`; give its log, which is printed as it grows, and end it by Ctrl-C."""
    ats = [word for url in cluster.urls.values() for word in ("--at", url)]
    program = Path(sys.executable).with_name("holdfast")
    lines: list[str] = []
    with subprocess.Popen([program, "reconcile", WISH, *ats], stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                print(line, end="", flush=True)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
            reader.join()


def wait_for(lines: list[str], says: Callable[[str], bool]) -> None:
    """Wait until the last line of the log says so."""
    end = time.monotonic() + PATIENCE_S
    while not (lines and says(lines[-1])):
        if time.monotonic() > end:
            raise SystemExit(f"gave up after {PATIENCE_S} s; the log ends with: {''.join(lines[-1:])}")
        time.sleep(0.05)


def happens(what: str) -> None:
    """Say what happens to the cluster."""
    print(f"--- {what}", flush=True)


def night(cluster: Cluster, lines: list[str]) -> None:
    """Let things happen, each once the cluster is at rest."""
    all_there = f"by {len(cluster.urls)} nodes\n"
    wait_for(lines, lambda line: line.endswith(all_there))
    first, second = "small1", "small2"
    happens(f"kill -9 {first}")
    cluster.processes[first].kill()
    cluster.processes[first].wait()
    wait_for(lines, lambda line: line.endswith(f"without {first}\n"))
    happens(f"{first} is started again")
    cluster.start(first)
    wait_for(lines, lambda line: line.endswith(all_there))
    happens(f"kill -STOP {second}")
    cluster.processes[second].send_signal(signal.SIGSTOP)
    wait_for(lines, lambda line: line.endswith(f"without {second}\n"))
    happens(f"kill -CONT {second}")
    cluster.processes[second].send_signal(signal.SIGCONT)
    wait_for(lines, lambda line: line.endswith(all_there))


def main() -> int:
    """Run the night; return 0 only if every answer was the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="an empty directory for logs and journals")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    llm = (WISH.parent / "../demo-out/night-llm").resolve()
    if not checkpoint.is_whole(llm, SHAPE):
        llm.parent.mkdir(exist_ok=True)
        checkpoint.make(llm, SHAPE)
    cluster = Cluster(out, llm)
    try:
        for name in cluster.urls:
            cluster.start(name)
        with reconciling(cluster) as lines:
            wait_for(lines, lambda line: " at rest " in line)
            client = Client(cluster.urls["large"], cluster.problem.llms[0].id)
            night(cluster, lines)
            client.end()
    finally:
        cluster.stop()
    same = len(set(client.answers)) == 1
    print(
        f"{len(client.answers)} answers, {'all the same' if same else 'NOT all the same'}; "
        f"the longest took {client.longest_s:.1f} s"
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
