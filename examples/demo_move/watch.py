"""What is seen while the demo runs: a live table on a terminal, a line now and then elsewhere."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo.load import Load
from examples.demo.statuses import Status, Statuses
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.plan import Pipeline, PipelineId, Switch
from specs.units import NANOS_PER_SECOND

_POLL_S = 0.4
_LINE_S = 2.0  # between lines where there is no terminal
_RATE_NS = 2 * NANOS_PER_SECOND  # tokens per second are counted over so long


class Watch:
    """Asks every node how it is, and shows it with what the clients see."""

    def __init__(self, console: Console, urls: Mapping[NodeId, str], load: Load, names: Sequence[str]) -> None:
        self._console = console
        self._load = load
        self._names = names  # of the changes
        self._done = 0
        self._doing = ""
        self._statuses = Statuses(urls)
        self._pipelines: dict[PipelineId, Pipeline] = {}
        self._began_s = time.monotonic()
        self._line_s = 0.0
        self._gaps = _LargestGap()

    # --- told ----------------------------------------------------------------------------------------------------

    def know(self, verified: VerifiedPlan) -> None:
        """Know the pipelines of a plan."""
        self._pipelines |= {pipeline.id: pipeline for pipeline in verified.plan.pipelines}

    def say(self, doing: str) -> None:
        """Show what is being done; nothing: all is calm."""
        self._doing = doing

    def count(self, done: int) -> None:
        """So many changes are done."""
        self._done = done

    # --- asked ---------------------------------------------------------------------------------------------------

    def is_settled(self, verified: VerifiedPlan) -> bool:
        """Whether every node has done its part of a plan, and exactly those pipelines are open that it leaves open."""
        plan = verified.plan
        plans = [status.get("plan") for status in self._statuses.of.values()]
        adopted = all(each is not None and each["generation"] == plan.generation for each in plans)
        closed = {step.old for step in plan.steps if isinstance(step, Switch)}
        known = (*(each.pipeline.id for each in verified.problem.running), *(each.id for each in plan.pipelines))
        as_planned = set(self._statuses.open) == set(known) - closed
        going_on = self._being("handing_over") | self._being("draining")
        return adopted and self._statuses.are_complete and as_planned and not going_on

    def phases(self) -> str:
        """Say in one line which node is how far."""
        return "; ".join(f"{node} {_phase(status)}" for node, status in self._statuses.of.items())

    # --- shown ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Show the state again and again until cancelled."""
        live = Live(console=self._console, auto_refresh=False)
        with live if self._console.is_terminal else contextlib.nullcontext():
            async with httpx.AsyncClient(timeout=60) as client:
                while True:
                    await self._statuses.ask(client)
                    self._gaps.look(self._load)
                    if self._console.is_terminal:
                        live.update(self._picture(), refresh=True)
                    else:
                        self._print_line()
                    await asyncio.sleep(_POLL_S)

    def _generation(self) -> str:
        plans = [status.get("plan") for status in self._statuses.of.values()]
        found = sorted({plan["generation"] for plan in plans if plan is not None})
        return " and ".join(str(generation) for generation in found) or "none"

    def _loads(self) -> dict[str, int]:
        loads: dict[str, int] = {}
        for status in self._statuses.of.values():
            loads |= status.get("requests", {}).get("led_here", {})
        return loads

    def _being(self, what: str) -> set[str]:
        return {name for status in self._statuses.of.values() for name in status.get("pipelines", {}).get(what, ())}

    def _state_of(self, pipeline: str) -> str:
        for what, words in (("handing_over", "hands KV over"), ("draining", "drains"), ("proving", "is proved")):
            if pipeline in self._being(what):
                return words
        return "serves"

    def _stages(self, pipeline: str) -> str:
        known = self._pipelines.get(PipelineId(pipeline))
        return "" if known is None else stages_of(known)

    def _rate(self) -> float:
        since = time.time_ns() - _RATE_NS
        recent = [answer for answer in self._load.answers if answer.named_unix_ns and answer.named_unix_ns[-1] >= since]
        tokens = sum(at >= since for answer in recent for at in answer.named_unix_ns)
        return tokens * NANOS_PER_SECOND / _RATE_NS

    def _facts(self) -> str:
        answers = self._load.answers
        running = sum(answer.is_running for answer in answers)
        failed = sum(answer.error is not None for answer in answers)
        text = f"{running} requests run, {len(answers) - running - failed} answered"
        text += f", {failed} failed" if failed else ""
        return f"{text}, {self._rate():.0f} tokens/s, largest gap so far {self._gaps.largest_ns / 1e6:.0f} ms"

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for heading in ("pipeline", "stages (node: units)", "requests", ""):
            table.add_column(heading, justify="right" if heading == "requests" else "left")
        loads = self._loads()
        for name in sorted({*self._statuses.open, *self._being("proving")}):
            table.add_row(name, self._stages(name), str(loads.get(name, 0)), self._state_of(name))
        changes = Text()
        for number, name in enumerate(self._names):
            style = "green" if number < self._done else "bold yellow" if number == self._done else "dim"
            changes.append(f"{number + 1} {name}  ", style=style)
        elapsed = f"{time.monotonic() - self._began_s:5.1f} s"
        title = f"{elapsed}  generation {self._generation()}  {self._doing or 'nothing is changed'}"
        return Group(Text(title, style="bold"), changes, table, Text(self._facts()))

    def _print_line(self) -> None:
        now_s = time.monotonic()
        if now_s - self._line_s < _LINE_S:
            return
        self._line_s = now_s
        open_now = f"{len(self._statuses.open)} pipelines"
        head = f"  {now_s - self._began_s:5.1f} s  generation {self._generation()}, {open_now}"
        self._console.print(f"{head}, {self._facts()}  {self._doing}", soft_wrap=True)


class _LargestGap:
    """The largest time between two tokens of an answer; each token is looked at once."""

    def __init__(self) -> None:
        self.largest_ns = 0
        self._looked: list[int] = []  # tokens of each answer

    def look(self, load: Load) -> None:
        self._looked += [0] * (len(load.answers) - len(self._looked))
        for number, answer in enumerate(load.answers):
            named = answer.named_unix_ns
            for index in range(max(1, self._looked[number]), len(named)):
                self.largest_ns = max(self.largest_ns, named[index] - named[index - 1])
            self._looked[number] = len(named)


def stages_of(pipeline: Pipeline) -> str:
    """Write the stages of a pipeline: node1: 0-8 | node2: 9-17."""
    stages = ((stage.place.partition("/")[0], stage) for stage in pipeline.stages)
    return " | ".join(f"{node}: {stage.first_unit}-{stage.end_unit - 1}" for node, stage in stages)


def _phase(status: Status) -> str:
    declined = [each["reason"] for each in status.get("next", {}).get("declined", ())]
    return f"{status.get('phase', 'without a plan')}{' declined: ' if declined else ''}{', '.join(declined)}"
