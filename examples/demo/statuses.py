"""What `GET /status` of every node says, asked for again and again."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from specs.cluster import NodeId

Status = Mapping[str, Any]  # the document of GET /status


class Statuses:
    """The last answer of every node."""

    def __init__(self, urls: Mapping[NodeId, str]) -> None:
        self._urls = urls
        self.of: dict[NodeId, Status] = {node: {} for node in urls}

    async def ask(self, client: httpx.AsyncClient) -> None:
        """Ask every node once.  Raises httpx.HTTPError when one does not answer."""
        await asyncio.gather(*(self._ask(client, node) for node in self._urls))

    async def _ask(self, client: httpx.AsyncClient, node: NodeId) -> None:
        self.of[node] = (await client.get(f"{self._urls[node]}/status")).raise_for_status().json()

    @property
    def are_complete(self) -> bool:
        """Whether every node has carried out its part of the plan."""
        return all(status.get("phase") == "complete" for status in self.of.values())

    @property
    def open(self) -> list[str]:
        """The pipelines that are open, as far as any node knows."""
        return sorted({name for status in self.of.values() for name in status.get("pipelines", {}).get("open", ())})

    def requests(self) -> str:
        """Say in one line which node has how many requests, and where."""
        return "; ".join(f"{node} {dict(status.get('requests', {}))}" for node, status in self.of.items())
