"""A tiny checkpoint of every family that transformers classifies images with: seeded weights, its own processor."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from testing.photographs import crops

LABELS = 7
SEED = 14
# Pictures on which the last layer is made to look at what differs.
_TAUGHT = 8


@dataclass(frozen=True)
class Family:
    """A family, and how a tiny member of it is made.

    Attributes:
        config: what its configuration says beside the defaults.
        processor: the name of its image processor, without a backend's ending.
        settings: what that says beside its defaults.
        refused: what a refusal names; empty where it is served.
        architecture: which of the family's classes, where it has several.
    """

    config: dict[str, Any]
    processor: str
    settings: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    architecture: int = 0


_TRANSFORMER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 99,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TWO_TOWERS = {"vision_config": _TRANSFORMER, "text_config": _TEXT}
_STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]}
_WINDOWS = {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
_PYRAMID = {"image_size": 64, **_STAGES, "num_attention_heads": [1, 1, 2, 2]}
_PERCEIVER = {
    "image_size": 32,
    "num_latents": 4,
    "d_latents": 16,
    "d_model": 16,
    "num_blocks": 1,
    "num_self_attends_per_block": 1,
    "num_self_attention_heads": 2,
    "num_cross_attention_heads": 1,
}


def _square(edge: int) -> dict[str, Any]:
    return {"size": {"height": edge, "width": edge}}


def _cropped(shortest: int, edge: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": shortest}, "crop_size": {"height": edge, "width": edge}}


_PERCEIVED = {**_square(32), "crop_size": {"height": 40, "width": 40}}

FAMILIES = {
    "beit": Family(_TRANSFORMER, "Beit", _square(32)),
    "bit": Family({"embedding_size": 16, "hidden_sizes": [16, 32, 32, 32], "depths": [1] * 4, "num_groups": 8}, "Bit"),
    "clip": Family(_TWO_TOWERS, "CLIP", _cropped(32, 32)),
    "convnext": Family(_STAGES, "ConvNext", {"size": {"shortest_edge": 64}}),
    "convnextv2": Family(_STAGES, "ConvNext", {"size": {"shortest_edge": 384}, "crop_pct": None}),
    "cvt": Family(
        {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
        "ConvNext",
        {"size": {"shortest_edge": 64}},
    ),
    "data2vec-vision": Family(_TRANSFORMER, "Beit", {**_square(32), "do_center_crop": False}),
    "deit": Family(_TRANSFORMER, "DeiT", {**_square(36), "crop_size": {"height": 32, "width": 32}}),
    "deit (with teacher)": Family(_TRANSFORMER, "DeiT", {**_square(37), "crop_size": _square(32)["size"]}, "", 1),
    "dinat": Family({}, "ViT", refused="natten"),
    "dinov2": Family(_TRANSFORMER, "Bit", _cropped(36, 32)),
    "dinov2_with_registers": Family(_TRANSFORMER, "Bit", _cropped(36, 32)),
    "donut-swin": Family(_WINDOWS, "ViT", _square(64)),
    "efficientnet": Family(
        {
            "in_channels": [32, 8, 8],
            "out_channels": [8, 8, 16],
            "kernel_sizes": [3, 3, 5],
            "strides": [1, 2, 2],
            "num_block_repeats": [1, 1, 1],
            "expand_ratios": [1, 2, 2],
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "hidden_dim": 1280,
        },
        "EfficientNet",
        _square(64),
    ),
    "focalnet": Family(
        {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3]},
        "Bit",
        _cropped(36, 32),
    ),
    "hgnet_v2": Family(
        {
            "embedding_size": 8,
            **_STAGES,
            "stem_channels": [3, 8, 8],
            "stage_in_channels": [8, 8, 8, 16],
            "stage_mid_channels": [8, 8, 8, 8],
            "stage_out_channels": [8, 8, 16, 16],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [1, 1, 1, 1],
        },
        "ConvNext",
        {"size": {"shortest_edge": 64}, "crop_pct": 0.965},
    ),
    "hiera": Family(
        {"image_size": [64, 64], "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "masked_unit_size": [8, 8]},
        "Bit",
        _cropped(73, 64),
    ),
    "ijepa": Family(_TRANSFORMER, "ViT", _square(32)),
    "imagegpt": Family(
        {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 9, "n_positions": 64},
        "ImageGPT",
        {"clusters": [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], **_square(8)},
        "imagegpt",
    ),
    "levit": Family(
        {"image_size": 64, "hidden_sizes": [16, 32, 32], "num_attention_heads": [2] * 3, "depths": [1] * 3},
        "Levit",
        _cropped(64, 64),
    ),
    "levit (with teacher)": Family(
        {"image_size": 64, "hidden_sizes": [16, 32, 32], "num_attention_heads": [2] * 3, "depths": [1] * 3},
        "Levit",
        _cropped(64, 64),
        "",
        1,
    ),
    "metaclip_2": Family(_TWO_TOWERS, "CLIP", _cropped(32, 32)),
    "mobilenet_v1": Family({"depth_multiplier": 0.25}, "MobileNetV1", _cropped(72, 64)),
    "mobilenet_v2": Family({"depth_multiplier": 0.25}, "MobileNetV2", _cropped(72, 64)),
    "mobilevit": Family(
        {
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
            "initializer_range": 0.3,
        },
        "MobileViT",
        _cropped(72, 64),
    ),
    # The processor's defaults crop more than there is, and fill up with black.
    "mobilevitv2": Family(
        {"image_size": 64, "width_multiplier": 0.25, "initializer_range": 0.3}, "MobileViT", _cropped(56, 64)
    ),
    "perceiver": Family(_PERCEIVER, "Perceiver", _PERCEIVED),
    "perceiver (fourier)": Family(_PERCEIVER, "Perceiver", _PERCEIVED, "", 1),
    "perceiver (convolutions)": Family(_PERCEIVER, "Perceiver", _PERCEIVED, "", 2),
    "poolformer": Family(_STAGES, "PoolFormer", _cropped(64, 64)),
    "pp_lcnet": Family({"scale": 0.25}, "ViT", refused="torchvision"),
    "pvt": Family(_PYRAMID, "Pvt", _square(64)),
    "pvt_v2": Family(_PYRAMID, "Pvt", _square(64)),
    "regnet": Family({"embedding_size": 8, **_STAGES, "groups_width": 8}, "ConvNext", {"size": {"shortest_edge": 64}}),
    "resnet": Family({"embedding_size": 8, **_STAGES}, "ConvNext", {"size": {"shortest_edge": 64}}),
    "segformer": Family({**_STAGES, "num_attention_heads": [1, 1, 2, 2]}, "Segformer", _square(64)),
    "shieldgemma2": Family({}, "Gemma3", refused="language model"),
    "siglip": Family(_TWO_TOWERS, "Siglip", _square(32)),
    "siglip2": Family(
        {
            "vision_config": {**_TRANSFORMER, "num_patches": 16},
            "text_config": _TEXT,
        },
        "Siglip2",
        {"patch_size": 8, "max_num_patches": 16},
        "NaFlex",
    ),
    "swiftformer": Family({"image_size": 64, "depths": [1] * 4, "embed_dims": [8, 8, 16, 16]}, "ViT", _square(64)),
    "swin": Family(_WINDOWS, "ViT", _square(64)),
    "swinv2": Family(_WINDOWS, "ViT", _square(64)),
    "textnet": Family(
        {"hidden_sizes": [8, 8, 16, 16, 32], "stem_out_channels": 8, "image_size": [64, 64]},
        "TextNet",
        {**_cropped(70, 64), "do_center_crop": True},
    ),
    "timm_wrapper": Family({}, "", refused="timm"),
    "vit": Family(_TRANSFORMER, "ViT", _square(32)),
    "vit_msn": Family(_TRANSFORMER, "ViT", _square(32)),
}


def model_type(name: str) -> str:
    return name.partition(" ")[0]


def save_family(name: str, folder: Path, change: Callable[[Any], None] | None = None, **config: Any) -> None:
    """Save a tiny checkpoint of the family, whose answers differ from picture to picture.

    Args:
        name: a key of `FAMILIES`.
        folder: where to.
        change: done to the model before it is saved.
        config: what its configuration says beside the family's.
    """
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = FAMILIES[name]
    torch.manual_seed(SEED)
    labels = {"id2label": {number: f"label {number}" for number in range(LABELS)}, "num_labels": LABELS}
    made = CONFIG_MAPPING[model_type(name)](**{**family.config, **labels, **config})
    processor = getattr(transformers, f"{family.processor}ImageProcessorPil")(**family.settings)
    model = getattr(transformers, _architecture(name))(made).eval()
    if not family.refused:
        _tell_pictures_apart(model, processor, list(crops(_TAUGHT)))
    if change is not None:
        change(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def pipeline_answers(folder: Path, pictures: list[Image.Image]) -> list[dict[str, float]]:
    """What transformers' own pipeline answers, in float32: for each picture, the score of each label."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
    classify = pipeline("image-classification", model=model, image_processor=AutoImageProcessor.from_pretrained(folder))
    return [{entry["label"]: entry["score"] for entry in classify(picture, top_k=10**6)} for picture in pictures]


def _architecture(name: str) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    classes = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[model_type(name)]
    return str(classes if isinstance(classes, str) else classes[FAMILIES[name].architecture])


def _tell_pictures_apart(model: Any, processor: Any, pictures: list[Image.Image]) -> None:
    """Scale the last layers until the labels' logits are spread by about 2: a random network says the same of all."""
    import torch

    with torch.no_grad():
        planes = processor(pictures, return_tensors="pt")["pixel_values"]
        logits = model(pixel_values=planes).logits
        gain = 2.0 / float(logits.std(0).mean())
        for module in model.modules():
            if getattr(module, "out_features", None) == logits.shape[1]:
                module.weight.mul_(gain)
                if module.bias is not None:
                    # What all pictures have in common is taken off.
                    module.bias.mul_(gain).sub_(logits.mean(0) * gain)
