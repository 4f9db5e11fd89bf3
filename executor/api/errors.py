"""Errors in OpenAI's form: {"error": {"message", "type", "param", "code"}}.  Nothing else leaves this node."""

import logging
from collections.abc import Mapping
from typing import Any

import attrs
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

_LOG = logging.getLogger(__name__)
RETRY_AFTER_S = 1  # while an LLM arrives, a second is long; clients back off by themselves
BAD_REQUEST, NOT_FOUND, NOT_ALLOWED, CONFLICT, TOO_LARGE, WRONG_MEDIA = 400, 404, 405, 409, 413, 415
UNPROCESSABLE, SERVER_ERROR, UNAVAILABLE = 422, 500, 503


@attrs.frozen
class ErrorDetail:
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


@attrs.frozen
class ErrorReply:
    """The body of every answer that is not a success."""

    error: ErrorDetail


@attrs.frozen(kw_only=True)
class ApiError(Exception):
    """A request that gets an error: one sentence, the parameter at fault, OpenAI's code where there is one."""

    message: str
    status: int = BAD_REQUEST
    param: str | None = None
    code: str | None = None

    @property
    def reply(self) -> ErrorReply:
        """The body."""
        kind = "server_error" if self.status >= SERVER_ERROR else "invalid_request_error"
        return ErrorReply(ErrorDetail(self.message, kind, self.param, self.code))

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the status."""
        return {"retry-after": str(RETRY_AFTER_S)} if self.status == UNAVAILABLE else {}


def invalid(param: str | None, message: str, code: str | None = None) -> ApiError:
    """Make the error of a parameter that is wrong."""
    return ApiError(message=message, param=param, code=code)


def unavailable(message: str) -> ApiError:
    """Make the error of a node that may serve this soon, but not now."""
    return ApiError(message=message, status=UNAVAILABLE, code="unavailable")


def _answer(error: ApiError, headers: Mapping[str, str] | None = None) -> Response[ErrorReply]:
    return Response(error.reply, status_code=error.status, headers=dict(error.headers) | dict(headers or {}))


def answer_api_error(_request: Request[Any, Any, Any], error: ApiError) -> Response[ErrorReply]:
    """Answer an error of ours."""
    return _answer(error)


_SENTENCES = {
    NOT_FOUND: "There is nothing at {method} {path}; GET /schema lists what there is.",
    NOT_ALLOWED: "{path} does not take {method}.",
    TOO_LARGE: "The body of {method} {path} may have {limit} bytes at most.",
}


def answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorReply]:
    """Answer what the framework refused: paths, methods, sizes, query parameters."""
    if error.status_code >= SERVER_ERROR:
        return answer_bug(request, error)
    wording = _SENTENCES.get(error.status_code)
    path, method = f"{request.scope['path']:.200}", f"{request.scope['method']:.20}"
    limit = _body_bytes_max(request) if error.status_code == TOO_LARGE else None
    sentence = wording.format(method=method, path=path, limit=limit) if wording else _sentence(error)
    code = {NOT_FOUND: "not_found", NOT_ALLOWED: "method_not_allowed", TOO_LARGE: "too_large"}.get(error.status_code)
    return _answer(ApiError(message=sentence, status=error.status_code, code=code), error.headers)


def _body_bytes_max(request: Request[Any, Any, Any]) -> int | None:
    handler = request.route_handler
    return handler.resolve_request_max_body_size() if isinstance(handler, HTTPRouteHandler) else None


def _sentence(error: HTTPException) -> str:
    """Give the framework's sentence, with the first of its details."""
    extra = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):
        if extra[0].get("key") == "data":  # the framework's name of a body; ours are read by `read_body` if there
            return "the body is empty; a JSON object is wanted"
        return f"{extra[0].get('key', 'request')}: {extra[0].get('message', error.detail)}"
    return error.detail


def answer_bug(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorReply]:
    """Answer a bug of ours: the traceback goes to the log, not to the client."""
    _LOG.error("bug at %s %s", request.scope["method"], request.scope["path"], exc_info=error)
    return _answer(ApiError(message="This node failed on the request; its log says why.", status=SERVER_ERROR))
