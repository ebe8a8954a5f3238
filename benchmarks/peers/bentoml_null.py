"""A BentoML service that only classifies, with the null model: `bentoml serve benchmarks.peers.bentoml_null:Bare`.

It has no middleware, no mounted application and no runner, so what it costs more than Starlette is BentoML's own cost.
"""

import os
from typing import Any

import bentoml
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers import null_route


class Unread(bentoml.IODescriptor):
    """A BentoML input that passes the request itself to the endpoint."""

    __root_input__ = True

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> Any:  # noqa: ARG003 - BentoML names it
        return request


class Answer(bentoml.IODescriptor):
    """A BentoML output for an answer that the endpoint makes itself."""


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]))
class Bare:
    """Classifies with a model that does nothing."""

    def __init__(self) -> None:
        self.classifier = null_route.NullClassifier()

    @bentoml.api(route="/v1/classify", input_spec=Unread, output_spec=Answer)
    async def classify(self, request: Request) -> Response:
        return await self.classifier.classify(request)

    @bentoml.api(route="/v2/classify", input_spec=Unread, output_spec=Answer)
    async def classify_v2(self, request: Request) -> Response:
        return await self.classifier.classify(request)

    @bentoml.api(route="/nothing", input_spec=Unread, output_spec=Answer)
    async def nothing(self, request: Request) -> Response:
        return await null_route.nothing(request)
