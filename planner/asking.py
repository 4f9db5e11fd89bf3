"""Asking the daemons of a running cluster for its state, and giving them plans, over HTTP.

`GET /state` gives a `specs.state.RunningNode`; `GET /plan` the plan that the node has adopted with its problem, the
document that `PUT /plan` took.
"""

import http.client
import json
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import attrs

from planner.errors import BadState
from specs import codec
from specs.codec import DOCUMENT_BYTES_MAX
from specs.errors import InvalidProblem, MalformedDocument
from specs.plan import Plan
from specs.problem import Problem
from specs.protocols.plan_switch_nouns import PlanName
from specs.state import RunningCluster, RunningNode

_AT_ONCE = 32

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class Answers:
    """What a cluster said."""

    state: RunningCluster
    urls: tuple[str, ...]  # of the nodes of the state, in its order
    failed: tuple[tuple[str, str], ...]  # a URL that gave no state, and why not


@attrs.frozen(kw_only=True)
class Document:
    """A plan with its problem, as daemons take them."""

    problem: Problem
    plan: Plan


def ask(urls: Sequence[str], within_s: float) -> Answers:
    """Ask every URL, many at once, and put the answers together.

    Raises BadState where nobody answers, or where those who do have adopted different plans: their state is then on its
    way from one to the other.
    """
    said = many(urls, lambda url: _node(url, within_s))
    failed = tuple((url, each) for url, each in zip(urls, said, strict=True) if isinstance(each, str))
    nodes = [(url, each) for url, each in zip(urls, said, strict=True) if isinstance(each, RunningNode)]
    if not nodes:
        raise BadState("nobody answered: " + "; ".join(f"{url}: {why}" for url, why in failed))
    plans: dict[PlanName, list[str]] = {}
    for _, node in nodes:
        if node.plan is not None:
            plans.setdefault(node.plan, []).append(node.node)
    if len(plans) > 1:
        in_order = sorted(plans, key=lambda plan: (plan.generation, plan.digest))
        who = "; ".join(f"{', '.join(plans[each])}: {_in_words(each)}" for each in in_order)
        raise BadState(f"nodes have adopted different plans; ask again once all have the same one: {who}")
    if not plans:
        raise BadState(f"no node has a plan yet: {', '.join(node.node for _, node in nodes)}")
    document = ask_document([url for url, node in nodes if node.plan is not None], within_s)
    try:
        state = RunningCluster(problem=document.problem, plan=document.plan, nodes=tuple(node for _, node in nodes))
    except MalformedDocument as error:
        raise BadState(f"the answers contradict each other: {error}") from None
    return Answers(state=state, urls=tuple(url for url, _ in nodes), failed=failed)


def _in_words(plan: PlanName) -> str:
    return f"{plan.digest[:12]}, generation {plan.generation}"


def many(urls: Sequence[str], one: Callable[[str], _T]) -> list[_T]:
    """Ask every URL, many at once; nothing waits for the threads when the process ends (Ctrl-C)."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(urls)):
        todo.put(number)
    found: dict[int, _T] = {}

    def work() -> None:
        while True:
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            found[number] = one(urls[number])

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(urls)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [found[number] for number in range(len(urls))]


def _node(url: str, within_s: float) -> RunningNode | str:
    """Give what a node says, or why there is nothing."""
    body = get(url, "state", within_s)
    if isinstance(body, str):
        return body
    try:
        return codec.decode(RunningNode, body)
    except MalformedDocument as error:
        return f"its answer is no state: {error}"


def ask_document(urls: Sequence[str], within_s: float) -> Document:
    """Ask one node after another for the plan that all have adopted.  Raises BadState."""
    failed = []
    for url in urls:
        body = get(url, "plan", within_s)
        if isinstance(body, str):
            failed.append(f"{url}: {body}")
            continue
        try:
            return codec.decode(Document, body)
        except (MalformedDocument, InvalidProblem) as error:
            failed.append(f"{url}: {error}")
    raise BadState("no node gave its plan: " + "; ".join(failed))


def get(url: str, what: str, within_s: float) -> bytes | str:
    """Get a document, or say why there is none."""
    return _request(url, "GET", what, None, within_s)


def put(url: str, document: bytes, within_s: float) -> str | None:
    """Put a plan with its problem at a daemon; say why it does not take it, None when it does."""
    said = _request(url, "PUT", "plan", document, within_s)
    return said if isinstance(said, str) else None


def _request(url: str, method: str, what: str, body: bytes | None, within_s: float) -> bytes | str:
    if urlsplit(url).scheme not in {"http", "https"}:
        return "not a URL that begins with http:// or https://"
    request = urllib.request.Request(f"{url.rstrip('/')}/{what}", data=body, method=method)  # noqa: S310 - see above
    try:
        with urllib.request.urlopen(request, timeout=within_s) as reply:  # noqa: S310 - see above
            answer: bytes = reply.read(DOCUMENT_BYTES_MAX + 1)
            return answer
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} to {method} /{what}{_message(error)}"
    except urllib.error.URLError as error:
        return f"no answer: {error.reason}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"no answer: {error}"


def _message(error: urllib.error.HTTPError) -> str:
    """Find what a daemon says of a request that it refuses."""
    try:
        return f": {json.loads(error.read())['error']['message']}"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""
