"""Daemons without weights: real HTTP, the real plan switch, and steps that are done at once or when a test says so."""

import contextlib
import http.server
import json
import threading

from planner.reconfiguring.arrived import arrived
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.plan import Plan
from specs.problem import Problem
from specs.protocols import plan_switch
from specs.protocols import plan_switch_nouns as switch


class FakeCluster:
    """One daemon for each node, behind one lock; `alive` answer, and `unable` decline with a reason."""

    def __init__(self, problem: Problem) -> None:
        self.nodes = [node.id for node in problem.cluster.nodes]
        self.documents: dict[switch.PlanName, bytes] = {}
        self.adopted: list[int] = []  # generations, in the order in which they were first adopted
        self.puts: list[tuple[str, int]] = []
        self.lost: dict[str, dict[str, str]] = {node: {} for node in self.nodes}
        self.heard_again: dict[str, list[str]] = {node: [] for node in self.nodes}
        self.phase: dict[str, str] = {}
        self.requests: dict[str, int] = {}
        self.unable: dict[str, str] = {}
        self.alive = set(self.nodes)
        self.states = {node: plan_switch.begin(node) for node in self.nodes}
        self._lock = threading.RLock()
        self._servers: list[http.server.ThreadingHTTPServer] = []
        self.urls = {node: self._serve(node) for node in self.nodes}

    # --- what happens ---

    def die(self, node: str) -> None:
        """The process ends, and the others of its plan find out."""
        with self._lock:
            self.alive.discard(node)
            for other in self.alive:
                if self.states[other].adopted and node in self.states[other].adopted.nodes:
                    self.lost[other][node] = "silent"

    def start(self, node: str) -> None:
        """Begin a new life: what an earlier one accepted is on its disk."""
        with self._lock:
            self.states[node] = plan_switch.begin(node, plan_switch.recorded(self.states[node]))
            self.lost[node] = {}
            self.phase.pop(node, None)
            self.alive.add(node)

    def generations(self) -> dict[str, int | None]:
        """What each node that lives carries out."""
        with self._lock:
            found = {node: self.states[node].adopted for node in sorted(self.alive)}
            return {node: None if offer is None else offer.name.generation for node, offer in found.items()}

    def offer(self, node: str, document: bytes) -> str | None:
        """Offer a plan to a node; give the reason of a refusal."""
        with self._lock:
            parsed = json.loads(document)
            problem, plan = codec.read(Problem, parsed["problem"], ""), codec.read(Plan, parsed["plan"], "")
            name = switch.PlanName(generation=plan.generation, digest=codec.digest(plan))
            assert isinstance(verify(problem, plan), VerifiedPlan)
            self.documents[name] = document
            self.puts.append((node, plan.generation))
            actions = self._take(node, name)
            reason = next((each.reason for each in actions if isinstance(each, switch.Forget)), None)
            for _ in range(3):
                for each in sorted(self.alive):
                    self._step(each, switch.Tick())
            return reason

    def _step(self, node, event):
        before = self.states[node].adopted
        self.states[node], actions = plan_switch.step(self.states[node], event)
        after = self.states[node].adopted
        if after != before:
            self.lost[node], self.phase[node] = {}, self.phase.get("next", "complete")
            if after.name.generation not in self.adopted:
                self.adopted.append(after.name.generation)
        for action in actions:
            match action:
                case switch.Tell(peer=peer, standing=standing) if peer in self.alive:
                    self._step(peer, switch.Heard(node, standing))
                case switch.AskPlan(peer=peer, plan=plan) if peer in self.alive:
                    self._take(node, plan)
        return actions

    def _take(self, node, name):
        plan, problem = self._read(name)
        nodes = tuple(each.id for each in problem.cluster.nodes)
        offer = switch.Offer(name=name, parent=plan.parent, nodes=nodes)
        return self._step(node, switch.Offered(offer, self.unable.get(node)))

    def _read(self, name):
        parsed = json.loads(self.documents[name])
        return codec.read(Plan, parsed["plan"], ""), codec.read(Problem, parsed["problem"], "")

    # --- what it says ---

    def status(self, node: str) -> dict:
        """Say what GET /status says."""
        state = self.states[node]
        foremost = plan_switch.foremost(state)
        accepted = None
        if foremost is not None:
            accepted = {**_named(foremost.name), "nodes": list(foremost.nodes), "awaited": []}
        coming = {
            "generation_max": plan_switch.promised(state),
            "accepted": accepted,
            "declined": [{**_named(each.plan), "reason": each.reason} for each in state.declined],
        }
        if state.adopted is None:
            return {"node": node, "plan": None, "next": coming}
        _, problem = self._read(state.adopted.name)
        return {
            "node": node,
            "plan": {
                **_named(state.adopted.name),
                "cluster": problem.cluster.name,
                "nodes": [each.id for each in problem.cluster.nodes],
            },
            "next": coming,
            "phase": self.phase[node],
            "steps": {},
            "lost": self.lost[node],
            "heard_again": self.heard_again[node],
            "blobs": {"lacking": []},
            "transfers": {"arrived": 0, "arrive": 0, "receiving": []},
            "pipelines": {"draining": [], "proving": []},
            "hand_overs": [],
            "requests": {"running": self.requests.get(node, 0), "waiting": 0},
        }

    def _answer(self, node: str, path: str) -> bytes | None:
        state = self.states[node]
        if path == "/status":
            return json.dumps(self.status(node)).encode()
        if state.adopted is None:
            return None
        if path == "/plan":
            return self.documents[state.adopted.name]
        plan, problem = self._read(state.adopted.name)
        found = arrived(verify(problem, plan), requests=1, context_tokens=20)
        return codec.encode(next(each for each in found.nodes if each.node == node))

    def _serve(self, node: str) -> str:
        cluster = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _reply(self, code: int, body: bytes) -> None:
                self.send_response(code)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _lives(self) -> bool:
                if node not in cluster.alive:
                    self.close_connection = True
                    self.connection.close()
                return node in cluster.alive

            def do_GET(self):
                with cluster._lock:
                    if self._lives():
                        body = cluster._answer(node, self.path)
                        self._reply(404 if body is None else 200, body or b"{}")

            def do_PUT(self):
                document = self.rfile.read(int(self.headers["content-length"]))
                with cluster._lock:
                    if self._lives():
                        reason = cluster.offer(node, document)
                        body = json.dumps({"error": {"message": reason}}).encode()
                        self._reply(200 if reason is None else 409, body)

            def log_message(self, *_):
                pass

            def handle(self):
                with contextlib.suppress(OSError, ValueError):
                    super().handle()

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self._servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    def close(self) -> None:
        """End all servers."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _named(name: switch.PlanName) -> dict:
    return {"generation": name.generation, "digest": name.digest}
