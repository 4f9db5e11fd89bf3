"""The routes of OpenAI's API."""

from litestar import Controller, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.types import ASGIApp

from executor.api import errors, replies
from executor.api.bodies import BODY_BYTES_MAX, ChatBody, CompletionBody
from executor.api.desk import GivenDesk
from executor.api.forms import ChatForm, CompletionForm
from executor.api.order import find_llm, order_chat, order_completion
from executor.api.serving import ServedLlm
from executor.api.streaming import GenerationReply
from executor.api.strict import StrictChat, StrictCompletion

_ERRORS = {
    status: ResponseSpec(errors.ErrorReply, description=description)
    for status, description in (
        (errors.BAD_REQUEST, "The request is wrong; the sentence says where."),
        (errors.NOT_FOUND, "The LLM is not served here."),
        (errors.TOO_LARGE, f"The body has more than {BODY_BYTES_MAX} bytes."),
        (errors.WRONG_MEDIA, "The body is not application/json."),
        (errors.UNAVAILABLE, "Nothing can serve this now; try again after Retry-After seconds."),
    )
}


class OpenAiRoutes(Controller):
    """Completions, chats and the LLMs that can be named."""

    path = "/v1"
    tags = ("OpenAI",)

    @post(
        "/completions",
        status_code=200,
        dto=StrictCompletion,
        return_dto=None,
        request_max_body_size=BODY_BYTES_MAX,
        responses={200: ResponseSpec(replies.Completion, description="Or server-sent events of it."), **_ERRORS},
    )
    async def completions(self, data: JSONBody[CompletionBody], desk: GivenDesk) -> ASGIApp:
        """Continue one or more prompts."""
        order = await order_completion(desk.serving, desk.tokenizers, data)
        return GenerationReply(serving=desk.serving, meter=desk.meter, order=order, form=CompletionForm())

    @post(
        "/chat/completions",
        status_code=200,
        dto=StrictChat,
        return_dto=None,
        request_max_body_size=BODY_BYTES_MAX,
        responses={200: ResponseSpec(replies.ChatCompletion, description="Or server-sent events."), **_ERRORS},
    )
    async def chat_completions(self, data: JSONBody[ChatBody], desk: GivenDesk) -> ASGIApp:
        """Answer a conversation."""
        order = await order_chat(desk.serving, desk.tokenizers, data)
        return GenerationReply(serving=desk.serving, meter=desk.meter, order=order, form=ChatForm())

    @get("/models")
    async def list_llms(self, desk: GivenDesk) -> replies.LlmListReply:
        """List the LLMs that can be named."""
        return replies.LlmListReply(data=[_described(llm) for llm in desk.serving.llms()])

    # A path, because ids such as "org/name" hold slashes.
    @get("/models/{name:path}", responses=_ERRORS)
    async def show_llm(self, name: FromPath[str], desk: GivenDesk) -> replies.LlmReply:
        """Show one LLM."""
        return _described(find_llm(desk.serving, name.removeprefix("/")))


def _described(llm: ServedLlm) -> replies.LlmReply:
    return replies.LlmReply(id=llm.id, created=llm.created_s, max_model_len=llm.context_tokens)
