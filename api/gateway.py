"""The BentoML service of the gateway, with the project's routes, OpenAPI document and time limit."""

import bentoml

from api import documents
from api.body_limits import BodyLimits
from api.openapi import Document
from api.routes import ROUTES
from runtime import bentoml_app, http_protocol
from web.matching import Matching


class Gateway(bentoml.Service):
    """A BentoML service that serves the project's table of routes and no others.

    Attributes:
        document: the OpenAPI document, in place of BentoML's.
    """

    document: Document

    def to_asgi(self, is_main: bool = True) -> Matching:
        """Build the ASGI app that a worker serves; called once, before its HTTP server starts."""
        http_protocol.use()
        app = super().to_asgi(is_main)
        # BentoML's limits answer outside of the usage log, and not with a problem. `BodyLimits` takes over the time
        # limit; the bound on the queue stands in for the limit of concurrency.
        bentoml_app.hand_time_limit_to(BodyLimits, app)
        bentoml_app.call_endpoints_directly(app, self.apis)
        # Put first, or BentoML would work it out for every stranger who asks.
        app.router.routes.insert(0, documents.schema(self.schema()))
        return Matching(app, ROUTES)

    @property
    def openapi_spec(self) -> Document:
        """The OpenAPI document, for `bentoml build`."""
        return self.document
