"""A ResNet-18 made on the spot: microsoft/resnet-18's configuration, seeded weights, saved by transformers."""

from pathlib import Path

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def save_resnet18(folder: Path, seed: int = 18) -> None:
    import torch
    from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    config = ResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        embedding_size=64,
        layer_type="basic",
        downsample_in_first_stage=False,
        num_labels=1000,
    )
    classifier = ResNetForImageClassification(config).eval()
    # Weights as they come from the generator say next to nothing of an image: these tell images apart by far.
    with torch.no_grad():
        classifier.classifier[-1].weight.mul_(40)
    classifier.save_pretrained(folder)
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875, image_mean=MEAN, image_std=STD)
    processor.save_pretrained(folder)


def reference_probabilities(folder: Path, images: list) -> list[dict[str, float]]:  # type: ignore[type-arg]
    """What transformers itself says in float32: for each image, the probability of each label."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(folder)
    classifier = AutoModelForImageClassification.from_pretrained(folder).eval()
    told = []
    with torch.inference_mode():
        for image in images:
            shares = classifier(**processor(image, return_tensors="pt")).logits.softmax(-1)[0]
            told.append({classifier.config.id2label[number]: float(share) for number, share in enumerate(shares)})
    return told
