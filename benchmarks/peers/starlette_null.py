"""A Starlette app that only classifies, under uvicorn, with the null model.

`python -m benchmarks.peers.starlette_null WORKERS PORT`.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.peers.null_route import NullClassifier, nothing


async def ready(_request: Request) -> Response:
    return PlainTextResponse("ready")


def build() -> Starlette:
    """Build the app; every worker does."""
    classifier = NullClassifier()
    return Starlette(
        routes=[
            Route("/v1/classify", classifier.classify, methods=["POST"]),
            Route("/v2/classify", classifier.classify, methods=["POST"]),
            Route("/nothing", nothing, methods=["POST"]),
            Route("/ready", ready),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(
        f"{__spec__.name}:build",
        factory=True,
        host="127.0.0.1",
        workers=int(sys.argv[1]),
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
    )
