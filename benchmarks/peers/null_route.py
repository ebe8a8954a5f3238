"""The endpoint of the null servers on Starlette and on BentoML: it only classifies, without keys, limits or log.

Both use the same functions to read, decode and answer, so that only the framework differs.
"""

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pybase64
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.peers import engine
from model.images.decode import Decoded

JSON = "application/json"
# As long as an answer of v1: it replaces the answer that a removed layer would have made.
CONSTANT_ANSWER = json.dumps(
    {"predictions": [{"label": "tabby, tabby cat", "confidence": 0.001}] * 5, "model": "null"}
).encode()


class NullClassifier:
    """Decodes in one thread for each core, as this project's server does, and classifies with the null model."""

    def __init__(self) -> None:
        self._model = engine.load()
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "decode")

    async def classify(self, request: Request) -> Response:
        """Answer JSON as v1 does, and an image file as v2 does."""
        body = await request.body()
        if request.headers.get("content-type") == JSON:
            text = json.loads(body)["image"]
            _, row = await self._decode_and_predict(lambda: pybase64.b64decode(text, validate=True))
            return JSONResponse({"predictions": self._model.top(row), "model": self._model.name})
        decoded, row = await self._decode_and_predict(lambda: body)
        return JSONResponse(self._v2(decoded, row))

    async def _decode_and_predict(self, source: Callable[[], bytes]) -> tuple[Decoded, NDArray[np.float32]]:
        loop = asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self._threads, lambda: self._model.decode_file(source()))
        return decoded, self._model.predict(decoded.pixels[np.newaxis])[0]

    def _v2(self, decoded: Decoded, row: NDArray[np.float32]) -> dict[str, Any]:
        served = {"name": self._model.name, "revision": self._model.revision, "engine": "null", "precision": "f32"}
        predictions = [{**found, "class_id": number} for number, found in enumerate(self._model.top(row))]
        image = {"width": decoded.width, "height": decoded.height, "format": decoded.format}
        return {"id": "req_0", "model": served, "predictions": predictions, "image": image}


async def nothing(request: Request) -> Response:
    """Read the body, and return a constant answer."""
    await request.body()
    return Response(CONSTANT_ANSWER, media_type=JSON)
