"""One change, by the commands that an operator would type: state, plan, diff, and PUT of the plan at one node."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import httpx

from examples.demo.commands import run
from examples.demo.settings import DemoFailed
from examples.demo_move.settings import Settings
from examples.demo_move.watch import Watch
from examples.demo_move.wishes import Wish, write
from planner.cli.documents import read_document
from specs.checker import VerifiedPlan
from specs.cluster import NodeId

# An operator has a machine of his own; here his commands must not take the processor from what serves.
_NICENESS = 3
_SETTLED_S = 90
_POLL_S = 0.3


@attrs.frozen(kw_only=True)
class Change:
    """A change that was carried out."""

    wish: Wish
    verified: VerifiedPlan
    difference: Mapping[str, Any]  # what `holdfast diff --json` said
    put_unix_ns: int
    settled_unix_ns: int  # every node has done its part

    @property
    def generation(self) -> int:
        """Of its plan."""
        return self.verified.plan.generation


@attrs.frozen(kw_only=True)
class Operator:
    """Who changes the running cluster."""

    settings: Settings
    urls: Mapping[NodeId, str]
    watch: Watch

    async def change(self, number: int, wish: Wish) -> Change:
        """Carry out one wish.  Raises DemoFailed when there is no plan, a node refuses it, or it takes too long."""

        def file(name: str) -> Path:
            return self.settings.file(number, wish, name)

        description, state, document = file("wish.yaml"), file("state.json"), file("document.json")
        write(self.settings.description, wish, description)
        await self._holdfast(file("state.txt"), "state", *self.urls.values(), "--out", str(state))
        begun = ("plan", str(description), "--from", str(state), "--document", str(document))
        await self._holdfast(file("plan.txt"), *begun)
        compared = await self._holdfast(file("diff.json"), "diff", str(state), str(document), "--json")
        verified = read_document(document)
        self.watch.know(verified)
        put_unix_ns = await self._put(document, next(iter(self.urls)))
        await self._settled(verified)
        return Change(
            wish=wish,
            verified=verified,
            difference=json.loads(compared),
            put_unix_ns=put_unix_ns,
            settled_unix_ns=time.time_ns(),
        )

    async def put_first(self, document: Path, verified: VerifiedPlan) -> None:
        """Put the first plan at every node: without one, they do not know of each other."""
        await asyncio.gather(*(self._put(document, node) for node in self.urls))
        await self._settled(verified)

    async def _holdfast(self, into: Path, *arguments: str) -> str:
        self.watch.say(f"holdfast {arguments[0]}")
        done = await asyncio.to_thread(run, *arguments, niceness=_NICENESS)
        await asyncio.to_thread(into.write_text, done.text, encoding="utf-8")
        if done.code != 0:
            raise DemoFailed(f"`{_command(arguments)}` ended with exit code {done.code}; {into} has what it said.")
        return done.text

    async def _put(self, document: Path, node: NodeId) -> int:
        self.watch.say(f"PUT /plan at {node}")
        content = await asyncio.to_thread(document.read_bytes)
        put_unix_ns = time.time_ns()
        async with httpx.AsyncClient(timeout=60) as client:
            reply = await client.put(f"{self.urls[node]}/plan", content=content)
        if not reply.is_success:
            raise DemoFailed(f"{node} refuses {document} ({reply.status_code}): {reply.text}")
        return put_unix_ns

    async def _settled(self, verified: VerifiedPlan) -> None:
        """Wait until every node has done its part of a plan.  Raises DemoFailed when that takes too long."""
        self.watch.say("carried out by the nodes")
        until_s = time.monotonic() + _SETTLED_S
        while not self.watch.is_settled(verified):
            if time.monotonic() > until_s:
                raise DemoFailed(f"After {_SETTLED_S} s the plan is not carried out: {self.watch.phases()}.")
            await asyncio.sleep(_POLL_S)
        self.watch.say("")


def _command(arguments: Sequence[str]) -> str:
    return f"holdfast {' '.join(arguments)}"
