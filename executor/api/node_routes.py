"""The routes of the node itself: health, metrics, status, plans and the journal."""

from typing import Annotated

from litestar import Controller, Request, Response, get, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter, RawBody
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from executor.api import errors
from executor.api.desk import GivenDesk
from executor.api.errors import ErrorDetail, ErrorReply
from executor.api.replies import AdoptedReply, HealthReply
from executor.api.serving import Adopted, Refusal
from executor.api.streaming import LinesReply
from specs import codec
from specs.codec import DOCUMENT_BYTES_MAX

_REFUSAL_STATUS = {
    Refusal.MALFORMED: errors.BAD_REQUEST,
    Refusal.REJECTED: errors.UNPROCESSABLE,
    Refusal.STALE: errors.CONFLICT,
    Refusal.WRONG_CLUSTER: errors.CONFLICT,
}


class NodeRoutes(Controller):
    """What operators and the planner's tools use."""

    tags = ("Node",)

    @get("/health", responses={errors.UNAVAILABLE: ResponseSpec(HealthReply, description="It cannot; why not.")})
    async def health(self, desk: GivenDesk) -> Response[HealthReply]:
        """Tell whether this node can generate."""
        health = desk.serving.health()
        headers = {} if health.ok else {"retry-after": str(errors.RETRY_AFTER_S)}
        status = 200 if health.ok else errors.UNAVAILABLE
        return Response(HealthReply(ok=health.ok, sentence=health.sentence), status_code=status, headers=headers)

    @get("/metrics", media_type="text/plain")
    async def metrics(self, desk: GivenDesk) -> Response[bytes]:
        """Give the metrics in Prometheus' text form."""
        return Response(generate_latest(desk.serving.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    @get("/status")
    async def status(self, desk: GivenDesk) -> dict[str, object]:
        """Show what this node holds, does and serves."""
        return dict(desk.serving.status())

    @put(
        "/plan",
        request_max_body_size=DOCUMENT_BYTES_MAX,
        responses={
            errors.BAD_REQUEST: ResponseSpec(ErrorReply, description="Not a problem and a plan."),
            errors.CONFLICT: ResponseSpec(ErrorReply, description="A stale generation, or another cluster's plan."),
            errors.UNPROCESSABLE: ResponseSpec(ErrorReply, description="The plan breaks an invariant."),
        },
    )
    async def plan(self, body: RawBody, desk: GivenDesk) -> Response[AdoptedReply] | Response[ErrorReply]:
        """Verify the body, {"problem": ..., "plan": ...}, and accept it: nodes adopt it together."""
        outcome = await desk.serving.adopt(body)
        if isinstance(outcome, Adopted):
            return Response(AdoptedReply(generation=outcome.generation, digest=outcome.digest, phase=outcome.phase))
        detail = ErrorDetail("\n".join(outcome.reasons), "invalid_request_error", None, outcome.kind)
        return Response(ErrorReply(detail), status_code=_REFUSAL_STATUS[outcome.kind])

    @get(
        "/plan",
        media_type="application/json",
        responses={errors.NOT_FOUND: ResponseSpec(ErrorReply, description="There is no plan yet.")},
    )
    async def document(self, desk: GivenDesk) -> Response[bytes] | Response[ErrorReply]:
        """Give the document of the plan that is carried out, as it was put."""
        return _document(desk.serving.document())

    @get("/state", media_type="application/json")
    async def state(self, desk: GivenDesk) -> Response[bytes]:
        """Say what this node holds and leads, in canonical JSON: where the next plan begins."""
        return Response(codec.encode(desk.serving.state()), media_type="application/json")

    @get(
        "/journal",
        responses={200: ResponseSpec(str, media_type="application/x-ndjson", description="Or server-sent events.")},
    )
    async def journal(
        self,
        request: Request[object, object, object],  # type: ignore[type-var]  # no user, no state
        desk: GivenDesk,
        since: Annotated[int, QueryParameter(ge=0, description="The first line wanted, counted from 0.")] = 0,
        follow: Annotated[bool, QueryParameter(description="Wait for new lines.")] = True,
    ) -> ASGIApp:
        """Give the journal's lines; as server-sent events to those who accept them."""
        as_events = "text/event-stream" in request.headers.get("accept", "")
        return LinesReply(lines=desk.serving.journal(since=since, follow=follow), as_events=as_events)


def _document(content: bytes | None) -> Response[bytes] | Response[ErrorReply]:
    if content is None:
        detail = ErrorDetail("this node has no plan yet", "invalid_request_error", None, "no_plan")
        return Response(ErrorReply(detail), status_code=errors.NOT_FOUND)
    return Response(content, media_type="application/json")
