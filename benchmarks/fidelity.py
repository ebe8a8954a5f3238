"""Compares the answers of the measured server with those of transformers for the same photographs."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.compared_servers import ComparedServer, v1_requests
from testing.checkpoints import reference_probabilities
from testing.photographs import crops, encoded

PHOTOGRAPHS = 20
# Answers have 4 decimals.
ROUNDING = 5e-5


@dataclass(frozen=True)
class Fidelity:
    """The result of the comparison.

    Attributes:
        same_top: the share of photographs with the same first label, 0 to 1.
        off: the largest difference of a confidence.
        allowed: the largest allowed difference in this precision.
    """

    same_top: float
    off: float
    allowed: float


def fidelity(server: ComparedServer, checkpoint: Path, precision: str) -> Fidelity:
    """Classify photographs with the server, and with transformers in torch in float32."""
    images = list(crops(PHOTOGRAPHS))
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    same, off = 0, 0.0
    reference = reference_probabilities(checkpoint, images)
    for request, shares in zip(v1_requests([encoded(image) for image in images]), reference, strict=True):
        answer = httpx.post(server.url + request.path, content=request.body, headers=headers, timeout=60)
        predictions = answer.json()["predictions"]
        same += predictions[0]["label"] == max(shares, key=shares.__getitem__)
        off = max(off, *(abs(found["confidence"] - shares[found["label"]]) for found in predictions))
    return Fidelity(same / len(images), off, (1e-4 if precision == "f32" else 0.05) + ROUNDING)
