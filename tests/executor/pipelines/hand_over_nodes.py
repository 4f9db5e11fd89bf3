"""Nodes in one process that serve two pipelines with all of a daemon but its plan: real stages, mail, fronts."""

import asyncio
from contextlib import asynccontextmanager

import attrs
import torch

from executor.checkpoint import fill
from executor.engine.request import SamplingParams
from executor.mail import Mail
from executor.pipelines.front import Door, Front
from executor.pipelines.host import Host
from executor.pipelines.kv_stages import KvStages
from executor.pipelines.leader import Leader
from executor.senders import Senders
from executor.store import Store
from specs.handing_over import far_pairs
from specs.plan import HandOver, KvPath
from tests.builders import a_problem
from tests.plans import a_chain, a_pipeline, activations

NODES = ("n0", "n1", "n2")
OLD, NEW = "old", "new"


class Wire:
    """The transport of one node: frames come to the others on later turns of the loop, unless they are dropped."""

    def __init__(self, nodes, name):
        self.nodes, self.name = nodes, name

    def send_message(self, peer, buffers):
        frame = memoryview(bytearray().join(bytes(each) for each in buffers))
        self.nodes.damage(frame)
        if not self.nodes.drops(self.name, peer, frame):
            asyncio.get_running_loop().call_soon(self.nodes.deliver, self.name, peer, frame[1:])


class Node:
    def __init__(self, nodes, name, store, checkpoint):
        self.mail = Mail(name, nodes.spawn)
        self.store = store
        self.host = Host(node=name, files=lambda _: checkpoint, device_of=lambda _: torch.device("cpu"), post=self.mail)
        self.front = Front(name, self.mail, [].append)
        self.leaders = {}
        self.mail.host, self.mail.front, self.mail.leaders = self.host, self.front, self.leaders
        self.mail.kv_stages = KvStages(self.host, self.mail, [].append)
        self.mail.connect(Wire(nodes, name))
        self.mail.adopt(each for each in NODES if each != name)


class Nodes:
    """Two pipelines over three nodes; the front is on n2.  `lose` may drop frames, `damage` change them."""

    def __init__(self, checkpoint, llm, blobs, old, new, *, slots=None, lose=lambda *_: False, damage=id):
        self.tasks, self.receipts, self.dead = set(), [], set()
        self.computed = {OLD: 0, NEW: 0}  # tokens
        self._lose, self.damage = lose, damage
        self.problem = a_problem(len(NODES), llm=llm)
        units = len(llm.units)
        self.old = a_pipeline(OLD, llm, *cut(old, units))
        self.new = a_pipeline(NEW, llm, *cut(new, units))
        if slots is not None:
            self.new = attrs.evolve(self.new, slots=slots)
        pipelines = (self.old, self.new)
        self.plan = attrs.evolve(a_chain(2)[1], blobs=blobs, pipelines=pipelines, steps=activations(*pipelines))
        self.nodes = {}
        for name in NODES:
            place = f"{name}/gpu0"
            store = Store({place: 2**28}, {place: torch.device("cpu")})
            for blob in blobs:
                fill(checkpoint, llm, blob, store.reserve(blob, place))
                store.hold(blob, place)
            self.nodes[name] = Node(self, name, store, checkpoint)

    def __getitem__(self, name):
        return self.nodes[name]

    @property
    def front(self):
        return self.nodes["n2"].front

    def leader(self, pipeline):
        return next(node.leaders[pipeline] for node in self.nodes.values() if pipeline in node.leaders)

    def spawn(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            task.get_loop().call_exception_handler({"message": "task", "exception": task.exception()})

    def drops(self, teller, hearer, frame):
        return {teller, hearer} & self.dead or self._lose(teller, hearer, bytes(frame[:9999]))

    def deliver(self, teller, hearer, frame):
        if not {teller, hearer} & self.dead:
            self.nodes[hearer].mail.receive(teller, frame)

    @asynccontextmanager
    async def serving(self):
        """Both pipelines are built and open; the front knows the old one alone."""
        failures = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        torch.set_num_threads(1)
        for node in self.nodes.values():
            node.host.adopt(self.problem, self.plan, node.store)
            self.count(node.host)
            node.mail.may_send = Senders(self.problem, self.plan, node.front.leader_of).may
        for pipeline in (self.old, self.new):
            home = self.nodes[pipeline.stages[0].place.partition("/")[0]]
            home.leaders[pipeline.id] = Leader(pipeline, pipeline.slots, home.host, home.mail, self.spawn, [].append)
            for node in self.nodes.values():
                await node.host.build(pipeline.id)
            home.leaders[pipeline.id].open()
        host = self.nodes["n2"].host
        self.front.adopt(
            [
                Door(pipeline=p.id, llm=p.llm, leader=host.leader_of(p.id), weight=1, slots=p.slots)
                for p in (self.old, self.new)
            ]
        )
        self.front.openings(frozenset({OLD}))  # the successor opens with the hand-over
        try:
            yield self
        finally:
            for node in self.nodes.values():
                for leader in node.leaders.values():
                    leader.close()
            for task in list(self.tasks):
                task.cancel()
            for node in self.nodes.values():
                await node.host.close()
        assert failures == []

    def count(self, host):
        """Count the tokens that go through first stages."""
        start = host.start

        def counted(pipeline, iteration):
            self.computed[pipeline] += len(iteration.tokens)
            return start(pipeline, iteration)

        host.start = counted

    def hand_over(self, **changes):
        """What the core does when the successor is open: the front sees it open, and then the old one closed."""
        paths = tuple(
            KvPath(old_stage=a, new_stage=b, route=0, bytes_per_second=10**9)
            for a, b in far_pairs(self.problem.llms[0], self.old, self.new)
        )
        self.front.openings(frozenset({OLD, NEW}))
        usual = {"start_ns": 0, "rounds_max": 5, "rest_tokens_max": 64, "copy_tokens_min": 2, "pause_ns": 1}
        self.leader(OLD).hand_over(NEW, HandOver(**{**usual, "paths": paths, **changes}), self.handed_over)

    def handed_over(self, receipt):
        """What the shell does: the core hears of it after the word to a front on this node."""
        self.receipts.append(receipt)
        asyncio.get_running_loop().call_soon(self._close_old)

    def _close_old(self):
        self.leader(OLD).close()
        is_here = self.old.stages[0].place.partition("/")[0] == "n2"  # then the core tells the front at once
        openings = (frozenset({NEW} if "n1" not in self.dead else ()), frozenset({OLD}))
        if is_here:
            self.front.openings(*openings)
        else:
            asyncio.get_running_loop().call_later(0.05, self.front.openings, *openings)

    async def answer(self, prompt, tokens, *, told=None, seed=None):
        """The tokens of an answer; each is put into `told` as it comes."""
        sampling = SamplingParams() if seed is None else SamplingParams(temperature=0.8, seed=seed)
        found = []
        async for item in self.front.generate(
            llm=self.old.llm, prompt=prompt, max_tokens=tokens, end_tokens=frozenset(), sampling=sampling
        ):
            found.append((item.sampled.token, item.pipeline))
            if told is not None:
                told.append(item.sampled.token)
        return found


def cut(stages, units):
    """Name the stages by their nodes: "n0 n1" is a pipeline in two halves."""
    nodes = stages.split()
    borders = [units * index // len(nodes) for index in range(len(nodes) + 1)]
    return [(f"{node}/gpu0", borders[index], borders[index + 1]) for index, node in enumerate(nodes)]
