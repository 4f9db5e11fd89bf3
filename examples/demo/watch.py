"""What is seen while the demo runs: a bar per node on a terminal, a line now and then elsewhere."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.demo.load import Load
from examples.demo.statuses import Statuses
from specs.cluster import NodeId

_POLL_S = 0.25
_LINE_S = 1.0  # between lines where there is no terminal


class Watch:
    """Asks every node how it is until all have what they are to get, and shows it."""

    def __init__(self, console: Console, urls: Mapping[NodeId, str], load: Load) -> None:
        self._console = console
        self._load = load
        self._statuses = Statuses(urls)
        self._began_s = time.monotonic()
        self._line_s = 0.0
        self.loaded = asyncio.Event()  # every node has carried out its part of the plan

    async def run(self) -> None:
        """Show the state again and again until cancelled."""
        live = Live(console=self._console, auto_refresh=False)
        with live if self._console.is_terminal else contextlib.nullcontext():
            async with httpx.AsyncClient(timeout=60) as client:
                while True:
                    await self._statuses.ask(client)
                    if self._statuses.are_complete:
                        self.loaded.set()
                    if self._console.is_terminal:
                        live.update(self._picture(), refresh=True)
                    else:
                        self._print_line()
                    await asyncio.sleep(_POLL_S)

    def lacking(self) -> str:
        """Say in one line what each node has not got."""
        parts = []
        for node, status in self._statuses.of.items():
            blobs = status.get("blobs", {"held": 0, "wanted": 0})
            parts.append(f"{node} {status.get('phase', 'without a plan')}: {blobs['held']} of {blobs['wanted']} blobs")
        return "; ".join(parts)

    def _counts(self) -> str:
        answers = self._load.answers
        running = sum(answer.is_running for answer in answers)
        failed = sum(answer.error is not None for answer in answers)
        answered = len(answers) - running - failed
        text = f"{self._load.tokens:,} tokens served, {answered} of {len(answers)} requests answered"
        return f"{text}, {failed} failed" if failed else text

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for heading in ("node", "blobs", "", "state", "running", "waiting"):
            table.add_column(heading, justify="right" if heading.endswith("ing") else "left")
        for node, status in self._statuses.of.items():
            blobs, requests = status.get("blobs"), status.get("requests")
            if not blobs or not requests:
                table.add_row(node, "", "", "adopting the plan", "", "")
                continue
            bar = ProgressBar(total=max(blobs["wanted"], 1), completed=blobs["held"], width=32)
            counts = (str(requests["running"]), str(requests["waiting"]))
            table.add_row(node, bar, f"{blobs['held']:>3} of {blobs['wanted']}", status["phase"], *counts)
        elapsed = Text(f"{time.monotonic() - self._began_s:5.1f} s  {self._counts()}", style="bold")
        return Group(table, Text(f"open: {', '.join(self._statuses.open) or 'no pipeline yet'}"), elapsed)

    def _print_line(self) -> None:
        now_s = time.monotonic()
        if now_s - self._line_s < _LINE_S:
            return
        self._line_s = now_s
        held = "  ".join(
            f"{node} {status['blobs']['held']}/{status['blobs']['wanted']}" if "blobs" in status else f"{node} -"
            for node, status in self._statuses.of.items()
        )
        pipelines = f"{len(self._statuses.open)} pipelines open"
        self._console.print(f"  {now_s - self._began_s:5.1f} s  {held}  {pipelines}, {self._counts()}", soft_wrap=True)
