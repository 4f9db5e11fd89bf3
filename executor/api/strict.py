"""Litestar reads bodies with `read_body`, and describes them from their class."""

from collections.abc import Generator
from typing import Any, ClassVar

from litestar.dto import AbstractDTO, DTOConfig, DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from executor.api.bodies import ChatBody, CompletionBody, read_body
from executor.api.errors import WRONG_MEDIA, ApiError


class _StrictBody(AbstractDTO[Any]):
    """Reads a body with `read_body`; none of the framework's own transfer objects is made."""

    kind: ClassVar[type]
    config = DTOConfig()

    def decode_bytes(self, value: bytes) -> Any:
        """Read the body.  Raises ApiError."""
        media_type = self.asgi_connection.headers.get("content-type", "application/json").partition(";")[0].strip()
        if media_type.lower() != "application/json":
            raise ApiError(
                message=f"the body is {media_type!r:.80}; application/json is wanted",
                status=WRONG_MEDIA,
                code="unsupported_media_type",
            )
        return read_body(self.kind, value)

    @classmethod
    def create_for_field_definition(cls, *arguments: Any, **named: Any) -> None:
        """Make no backend: `decode_bytes` needs none."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """Describe the class itself."""
        del handler_id
        schema: Reference | Schema = schema_creator.for_field_definition(field_definition)
        return schema

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Give none: there is no backend."""
        del model_type
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Tell that there is none: there is no backend."""
        del field_definition
        return False


class StrictCompletion(_StrictBody):
    """Reads the body of a completion."""

    kind = CompletionBody


class StrictChat(_StrictBody):
    """Reads the body of a chat."""

    kind = ChatBody
