"""The BentoML service of the gateway, with the project's routes, OpenAPI document and time limit."""

import bentoml

from api import documents
from api.body_limits import BodyLimits
from api.classification_routes import hugging_face_route
from api.openapi import OpenApiDocument
from api.routes import ROUTES, STREAM
from api.streams import StreamOptions, Streams
from runtime import bentoml_app, http_protocol
from web.matching import RouteMatching


class Gateway(bentoml.Service):
    """A BentoML service that serves the project's table of routes and no others.

    Attributes:
        document: the OpenAPI document, in place of BentoML's.
        stream_options: what all WebSockets share.
    """

    document: OpenApiDocument
    stream_options: StreamOptions

    def to_asgi(self, is_main: bool = True) -> Streams:
        """Build the ASGI app that a worker serves; called once, before its HTTP server starts."""
        http_protocol.use({STREAM.encode(): self.stream_options.max_message_bytes})
        app = super().to_asgi(is_main)
        # BentoML's own limits answer outside of the usage log, and not with a problem. `BodyLimits` applies the time
        # limit instead, and the limit of the queue replaces the limit of concurrency.
        bentoml_app.hand_time_limit_to(BodyLimits, app)
        bentoml_app.call_endpoints_directly(app, self.apis)
        app.router.routes.insert(0, hugging_face_route(bentoml.get_current_service))
        # Before BentoML's own route, which would build the schema again for each request.
        app.router.routes.insert(0, documents.schema_route(self.schema()))
        return Streams(RouteMatching(app, ROUTES), self.stream_options)

    @property
    def openapi_spec(self) -> OpenApiDocument:
        """The OpenAPI document, for `bentoml build`."""
        return self.document
