"""MLServer, on the same engine and decoder: the runtime that `mlserver start` loads."""

import json

import numpy as np
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers import engine


class Classify(MLModel):
    """base64 in, five labels out; MLServer puts requests together (adaptive batching)."""

    async def load(self) -> bool:
        self.model = engine.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        rows = self.model.predict(np.stack([self.model.decode(text) for text in texts]))
        answers = [json.dumps(self.model.top(row)) for row in rows]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("predictions", answers)])
