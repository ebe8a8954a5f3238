"""Computes how long a GPU takes for a batch of n images, for a simulated engine: `start_s + n * image_s`.

The time of an image is from timm's published table of inference speeds on an NVIDIA RTX PRO 6000 Max-Q (224 x 224,
mixed precision, compiled, batches of 2048, torch 2.9.1 with CUDA 13.0): `results/benchmark-infer-amp-nchw-pt291-cu130-
pro6000maxq-dynamo.csv` in github.com/huggingface/pytorch-image-models. That card's peak is below an H100's, for which
no table with these two models was available; the gateways here can keep neither of them busy. The time to start a batch
(its copies and one CUDA graph) is in no such table: half a millisecond is assumed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU that runs a model.

    Attributes:
        start_s: the fixed time of a batch, seconds.
        image_s: the time of each image, seconds.
    """

    start_s: float
    image_s: float

    def batch_s(self, images: int) -> float:
        """Return the time of a batch of this many images, seconds."""
        return self.start_s + images * self.image_s

    def most_per_s(self, batch: int) -> float:
        """Return the images per second in batches of this size, one after the other."""
        return batch / self.batch_s(batch)


INSTANT = Gpu(0.0, 0.0)
_START_S = 0.0005
GPUS = {"ResNet-18": Gpu(_START_S, 1 / 35_768.11), "ViT-B/16": Gpu(_START_S, 1 / 4_741.58)}
