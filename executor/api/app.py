"""The application: routes, errors, metrics and their limits."""

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from executor.api import errors
from executor.api.bodies import BODY_BYTES_MAX
from executor.api.desk import Desk
from executor.api.metrics import Meter
from executor.api.node_routes import NodeRoutes
from executor.api.openai_routes import OpenAiRoutes
from executor.api.order import Tokenizers
from executor.api.serving import Serving


def make_app(serving: Serving) -> Litestar:
    """Make the HTTP face of a daemon.  Its metrics are added to `serving.registry`, so one face per registry."""
    meter = Meter(serving)
    desk = Desk(serving=serving, meter=meter, tokenizers=Tokenizers())
    return Litestar(
        route_handlers=[OpenAiRoutes, NodeRoutes],
        dependencies={"desk": Provide(lambda: desk, sync_to_thread=False, use_cache=True)},
        exception_handlers={
            errors.ApiError: errors.answer_api_error,
            HTTPException: errors.answer_http_error,
            Exception: errors.answer_bug,
        },
        before_send=[meter.before_send],
        request_max_body_size=BODY_BYTES_MAX,
        # The document itself, at /schema too: the pages that show one load scripts from elsewhere.
        openapi_config=OpenAPIConfig(
            title="Holdfast",
            version="1",
            path="/schema",
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        ),
        logging_config=None,
    )
