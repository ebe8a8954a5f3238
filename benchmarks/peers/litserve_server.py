"""LitServe with this project's engine and decoder: `python -m benchmarks.peers.litserve_server PORT`."""

import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import engine


class Classify(litserve.LitAPI):
    """Takes an image in base64, and answers with the five best labels."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe names it
        self.model = engine.load()

    def decode_request(self, request: dict[str, str]) -> NDArray[np.uint8]:
        return self.model.decode(request["image"])

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.stack(inputs)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.model.predict(images if images.ndim == 4 else images[np.newaxis])

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        return {"predictions": self.model.top(output.reshape(-1))}


if __name__ == "__main__":
    api = Classify(max_batch_size=16, batch_timeout=0.002, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
