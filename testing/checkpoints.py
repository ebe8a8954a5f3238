"""Makes checkpoints for tests: a ResNet-18 and a ViT-B/16 with weights from a seed, saved by transformers."""

from pathlib import Path
from typing import Any

from PIL import Image

from testing.photographs import crops

PHOTOGRAPHS = 7
TRAINING_CROPS = 210
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def save_resnet18(
    folder: Path, seed: int = 18, logit_spread: float = 1.0, trained_logit: float = 0.0, width: int = 64
) -> None:
    """Save a checkpoint with the configuration of microsoft/resnet-18.

    Args:
        folder: where the files are written.
        seed: of the weights.
        logit_spread: the standard deviation of the logits between images, if the last layer is not trained.
        trained_logit: the logit of the right label after the last layer was trained to recognise the photograph that a
            crop is from; 0: it is not trained.
        width: the number of channels of the first layer. A narrow model is prepared much faster.
    """
    import torch
    from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    config = ResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[width, 2 * width, 4 * width, 8 * width],
        embedding_size=width,
        layer_type="basic",
        downsample_in_first_stage=False,
        num_labels=1000,
    )
    classifier = ResNetForImageClassification(config).eval()
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875, image_mean=MEAN, image_std=STD)
    if trained_logit:
        _train_last_layer(
            classifier, processor(list(crops(TRAINING_CROPS)), return_tensors="pt")["pixel_values"], trained_logit
        )
    else:
        _spread_logits(classifier, processor(list(crops(20)), return_tensors="pt")["pixel_values"], logit_spread)
    classifier.save_pretrained(folder)
    processor.save_pretrained(folder)


def save_vit(folder: Path, seed: int = 16) -> None:
    """Save a ViT-B/16 with the shape of google/vit-base-patch16-224 and weights from a seed."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    torch.manual_seed(seed)
    ViTForImageClassification(ViTConfig(num_labels=1000)).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)


def _spread_logits(classifier: Any, planes: Any, logit_spread: float) -> None:
    """Scale the last layer so that logits differ between images: a random network answers nearly the same for all."""
    import torch

    with torch.no_grad():
        features = classifier.resnet(planes).pooler_output.flatten(1)
        last = classifier.classifier[-1]
        last.weight.mul_(logit_spread / (last(features) - last(features).mean(0)).std())
        last.bias.copy_(-(features.mean(0) @ last.weight.T))


def _train_last_layer(classifier: Any, planes: Any, logit: float) -> None:
    """Train the last layer by ridge regression to recognise the photograph that a crop is from.

    `logit` is the target for the right label. Among 1000 labels, a logit of 10 has a probability of about 0.95, one of
    25 nearly 1.
    """
    import torch

    with torch.no_grad():
        features = torch.cat([classifier.resnet(part).pooler_output.flatten(1) for part in planes.split(10)])
        mean, spread = features.mean(0), features.std(0) + 1e-6
        known = torch.nn.functional.one_hot(torch.arange(TRAINING_CROPS) % PHOTOGRAPHS, 1000).float() * logit
        seen = torch.cat([(features - mean) / spread, torch.ones(TRAINING_CROPS, 1)], 1)
        solved = torch.linalg.solve(seen.T @ seen + 5.0 * torch.eye(seen.shape[1]), seen.T @ known)
        last = classifier.classifier[-1]
        last.weight.copy_((solved[:-1] / spread[:, None]).T)
        last.bias.copy_(solved[-1] - last.weight @ mean)


def reference_probabilities(folder: Path, images: list[Image.Image]) -> list[dict[str, float]]:
    """Return what transformers computes in float32: for each image, the probability of each label."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(folder)
    classifier = AutoModelForImageClassification.from_pretrained(folder).eval()
    probabilities = []
    with torch.inference_mode():
        for image in images:
            shares = classifier(**processor(image, return_tensors="pt")).logits.softmax(-1)[0]
            probabilities.append(
                {classifier.config.id2label[number]: float(share) for number, share in enumerate(shares)}
            )
    return probabilities
