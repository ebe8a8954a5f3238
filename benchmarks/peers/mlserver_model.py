"""The model that `mlserver start` loads, with this project's engine and decoder."""

import json

import numpy as np
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers import engine


class Classify(MLModel):
    """Takes images in base64, and answers with the five best labels; MLServer batches requests (adaptive batching)."""

    async def load(self) -> bool:
        self.model = engine.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        rows = self.model.predict(np.stack([self.model.decode(text) for text in texts]))
        answers = [json.dumps(self.model.top(row)) for row in rows]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("predictions", answers)])
