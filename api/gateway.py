"""The BentoML service of the gateway, with the project's routes, OpenAPI document and time limit.

BentoML's supervisor imports it too, for its name. So what a worker needs is imported, and put together, when the worker
asks for the app.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import bentoml

from configs.settings import Settings

if TYPE_CHECKING:
    from api.assembly import Assembled
    from api.openapi import OpenApiDocument
    from api.streams import Streams

# For a middleware, what takes its place, with its options; None leaves it out.
StandIns = Mapping[type, tuple[type, dict[str, Any]] | None]


class Gateway(bentoml.Service):
    """A BentoML service that serves the project's table of routes and no others.

    Attributes:
        write_metrics: writes the metrics that are still in memory; set by `to_asgi`.
    """

    _settings: Settings
    _stand_ins: StandIns
    _assembled: "Assembled | None"
    _begin_loading: Callable[[], None]
    write_metrics: Callable[[], None]

    def set_up(self, settings: Settings, stand_ins: StandIns, begin_loading: Callable[[], None]) -> None:
        """Set what the app is put together from; called once, before any other method of this class.

        Args:
            settings: all settings.
            stand_ins: for benchmarks.
            begin_loading: begins to load the engine in a thread, if this worker has one.
        """
        self._settings, self._stand_ins, self._assembled = settings, stand_ins, None
        self._begin_loading = begin_loading

    def assembled(self) -> "Assembled":
        """Return what the app is made of. The first call puts it together, and adds it to this service."""
        if self._assembled is None:
            from api import assembly

            self._assembled = assembly.assemble(self._settings)
            self.mount_asgi_app(self._assembled.others, path="/")
            for middleware, options in self._assembled.middlewares:
                placed = self._stand_ins.get(middleware, (middleware, options))
                if placed is not None:
                    self.add_asgi_middleware(placed[0], **placed[1])
        return self._assembled

    def to_asgi(self, is_main: bool = True) -> "Streams":
        """Build the ASGI app that a worker serves; called once, before its HTTP server starts."""
        self._begin_loading()
        from api import documents
        from api.body_limits import BodyLimits
        from api.classification_routes import hugging_face_route
        from api.routes import ROUTES, STREAM
        from api.streams import Streams
        from runtime import access_lines, bentoml_app, deferred_metrics, http_protocol, quick_start
        from web.matching import RouteMatching

        stream_options = self.assembled().stream_options
        http_protocol.use({STREAM.encode(): stream_options.max_message_bytes})
        if not self.dependencies:
            quick_start.leave_out_client()
        app = super().to_asgi(is_main)
        # BentoML's own limits answer outside of the usage log, and not with a problem. `BodyLimits` applies the time
        # limit instead, and the limit of the queue replaces the limit of concurrency.
        bentoml_app.hand_time_limit_to(BodyLimits, app)
        if bentoml_app.leave_out_tracing(app):
            access_lines.use()
        self.write_metrics = deferred_metrics.use(app)
        bentoml_app.call_endpoints_directly(app, self.apis)
        app.router.routes.insert(0, hugging_face_route(bentoml.get_current_service))
        # Before BentoML's own route, which would build the schema again for each request.
        app.router.routes.insert(0, documents.schema_route(self.schema()))
        return Streams(RouteMatching(app, ROUTES), stream_options)

    @property
    def document(self) -> "OpenApiDocument":
        """The OpenAPI document, in place of BentoML's."""
        return self.assembled().document

    @property
    def openapi_spec(self) -> "OpenApiDocument":
        """The OpenAPI document, for `bentoml build`."""
        return self.document
