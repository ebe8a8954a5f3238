"""Checkpoints that something is wrong with: each is a good one, spoilt in one way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Spoil = Callable[[Path], object]
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 46807446\n"


def edit(folder: Path, file: str, **values: Any) -> None:
    """Set values of a JSON file."""
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def config(**values: Any) -> Spoil:
    return lambda folder: edit(folder, "config.json", **values)


def processor(**values: Any) -> Spoil:
    return lambda folder: edit(folder, "preprocessor_config.json", **values)


def write(file: str, text: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).write_text(text)

    return spoil


def weights(change: Callable[[dict[str, Any]], None]) -> Spoil:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        values = load_file(folder / "model.safetensors")
        change(values)
        save_file(values, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def cut(file: str, share: float) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: int(len(data) * share)])

    return spoil


def _without(file: str) -> Spoil:
    return lambda folder: (folder / file).unlink()


def _only_a_pickle(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _sharded(folder: Path, keep: int) -> None:
    """In three shards, of which so many are there."""
    from safetensors.torch import load_file, save_file

    values = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(values)
    where: dict[str, str] = {}
    for number in range(3):
        file = f"model-{number + 1:05}-of-00003.safetensors"
        part = {name: values[name] for name in names[number::3]}
        where |= dict.fromkeys(part, file)
        if number < keep:
            save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _only_the_backbone(values: dict[str, Any]) -> None:
    values.pop("classifier.weight")
    values.pop("classifier.bias")


def _one_value_is(value: float) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values["classifier.weight"][0, 0] = value

    return change


def _half(kind: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        import torch

        values |= {name: value.to(getattr(torch, kind)) for name, value in values.items()}

    return change


def _into_processor_config(folder: Path) -> None:
    nested = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": nested}))


def _folder_for_a_file(file: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return spoil


def _labels(*keys: Any) -> dict[str, str]:
    return {str(key): f"label {key}" for key in keys}


def _first_plane(values: dict[str, Any]) -> None:
    name = next(name for name in values if name.endswith("patch_embeddings.projection.weight"))
    values[name] = values[name][:, :1].contiguous()


def _one_plane(folder: Path) -> None:
    edit(folder, "config.json", num_channels=1)
    weights(_first_plane)(folder)


def _of_timm(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    (folder / "config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')


_CODE = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnModel"}

# What is wrong, how it is made (of a tiny ViT of 7 labels), and the words of the line that tells of it.
BAD: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "lfs-weights": (write("model.safetensors", LFS_POINTER), ("model.safetensors", "git lfs pull")),
    "lfs-config": (write("config.json", LFS_POINTER), ("config.json", "git lfs pull")),
    "cut-weights": (cut("model.safetensors", 0.6), ("model.safetensors", "cut off")),
    "cut-header": (cut("model.safetensors", 0.01), ("model.safetensors", "cut off")),
    "empty-weights": (write("model.safetensors", ""), ("model.safetensors", "empty")),
    "weights-of-nothing": (weights(lambda values: values.clear()), ("model.safetensors", "no weights")),
    "text-for-weights": (write("model.safetensors", "not found"), ("model.safetensors", "safetensors")),
    "folder-for-weights": (_folder_for_a_file("model.safetensors"), ("model.safetensors",)),
    "folder-for-config": (_folder_for_a_file("config.json"), ("config.json",)),
    "only-a-pickle": (_only_a_pickle, ("model.safetensors", "pytorch_model.bin", "save_pretrained")),
    "missing-shard": (lambda folder: _sharded(folder, 2), ("index.json", "00003-of-00003", "missing")),
    "index-without-map": (
        lambda folder: (_without("model.safetensors")(folder), write("model.safetensors.index.json", "{}")(folder)),
        ("index.json", "weight_map"),
    ),
    "nan": (weights(_one_value_is(float("nan"))), ("model.safetensors", "NaN")),
    "infinity": (weights(_one_value_is(float("inf"))), ("model.safetensors", "infinity")),
    "no-head": (weights(lambda values: values.pop("classifier.weight")), ("model.safetensors", "missing")),
    "backbone": (weights(_only_the_backbone), ("model.safetensors", "fine-tuned")),
    "one-based-labels": (config(id2label=_labels(*range(1, 8))), ("config.json", "id2label", " 0;")),
    "gapped-labels": (config(id2label=_labels(0, 1, 2, 4, 5, 7, 8)), ("config.json", "id2label", "3, 6;")),
    "words-for-numbers": (config(id2label={"cat": 0, "dog": 1}), ("config.json", "id2label", "numbers")),
    "listed-labels": (config(id2label=["a", "b", "c", "d", "e", "f", "g"]), ("config.json", "id2label")),
    "no-labels": (config(id2label=None), ("config.json", "labels")),
    "empty-labels": (config(id2label={}), ("config.json", "id2label")),
    "null-label": (config(id2label={**_labels(*range(6)), "6": None}), ("config.json", "id2label", "6")),
    "half-a-character": (config(id2label={**_labels(*range(6)), "6": "\ud83d"}), ("config.json", "id2label", "6")),
    "fewer-labels": (config(id2label=_labels(0, 1, 2)), ("config.json", "id2label", "7")),
    "more-labels": (config(id2label=_labels(*range(9))), ("config.json", "id2label", "9")),
    "regression": (config(problem_type="regression"), ("config.json", "regression")),
    "no-json": (write("config.json", "{'model_type': 'vit'}"), ("config.json", "JSON")),
    "no-json-processor": (write("preprocessor_config.json", "<html>"), ("preprocessor_config.json", "JSON")),
    "a-list-for-config": (write("config.json", "[]"), ("config.json", "object")),
    "a-list-for-processor": (write("preprocessor_config.json", "[1]"), ("preprocessor_config.json", "object")),
    "utf-16": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{"), ("config.json", "JSON")),
    "no-model-type": (config(model_type=None), ("config.json", "model_type")),
    "numeric-model-type": (config(model_type=7), ("config.json", "model_type")),
    "unknown-model-type": (config(model_type="vitt"), ("config.json", "vitt")),
    "a-language-model": (config(model_type="bert"), ("config.json", "bert", "image classifier")),
    "unknown-processor": (processor(image_processor_type="MyProcessor"), ("preprocessor_config.json",)),
    "grey-mean": (processor(image_mean=[0.5], image_std=[0.5]), ("preprocessor_config.json", "image_mean")),
    "two-means": (processor(image_mean=[0.5, 0.5]), ("preprocessor_config.json", "image_mean")),
    "zero-deviation": (processor(image_std=[0.5, 0.0, 0.5]), ("preprocessor_config.json", "image_std")),
    "nan-mean": (processor(image_mean=[float("nan")] * 3), ("preprocessor_config.json", "image_mean")),
    "one-channel": (_one_plane, ("config.json",)),
    "no-resize": (processor(do_resize=False), ("preprocessor_config.json", "resize")),
    "size-that-the-model-refuses": (processor(size={"height": 48, "width": 48}), ("48 x 48",)),
    "size-beyond-reason": (processor(size={"height": 10**9, "width": 10**9}), ("preprocessor_config.json", "size")),
    "negative-size": (processor(size={"height": -32, "width": 32}), ("preprocessor_config.json", "size")),
    "unknown-size": (processor(size={"longest_edge": 32}), ("preprocessor_config.json", "size")),
    "no-crop": (processor(image_processor_type="CLIPImageProcessor", do_center_crop=False, size=32), ("crop",)),
    "no-resample": (processor(resample=None), ("preprocessor_config.json", "resample")),
    "resample-99": (processor(resample=99), ("preprocessor_config.json", "resample")),
    "own-code": (config(auto_map=_CODE), ("config.json", "auto_map", "never run")),
    "own-processor": (
        processor(auto_map={"AutoImageProcessor": "own.OwnProcessor"}),
        ("preprocessor_config.json", "auto_map"),
    ),
    "timm": (_of_timm, ("config.json", "timm")),
}


# What looks odd and is served; the labels that it is served with.
ODD: dict[str, tuple[Spoil, list[str]]] = {
    "half": (weights(_half("float16")), [f"label {number}" for number in range(7)]),
    "brain-half": (weights(_half("bfloat16")), [f"label {number}" for number in range(7)]),
    "shards": (lambda folder: _sharded(folder, 3), [f"label {number}" for number in range(7)]),
    "processor-config-alone": (_into_processor_config, [f"label {number}" for number in range(7)]),
    "numeric-labels": (
        config(id2label={str(number): number * 10 for number in range(7)}),
        [str(number * 10) for number in range(7)],
    ),
    "other-order": (config(id2label=_labels(*range(6, -1, -1))), [f"label {number}" for number in range(7)]),
    "unknown-problem": (config(problem_type="guessing"), [f"label {number}" for number in range(7)]),
    "one-mean-for-all": (processor(image_mean=0.5, image_std=0.25), [f"label {number}" for number in range(7)]),
    "no-processor-type": (processor(image_processor_type=None), [f"label {number}" for number in range(7)]),
    "feature-extractor": (
        processor(image_processor_type=None, feature_extractor_type="ViTFeatureExtractor", size=32),
        [f"label {number}" for number in range(7)],
    ),
    "fast": (processor(image_processor_type="ViTImageProcessorFast"), [f"label {number}" for number in range(7)]),
    "default-labels": (config(id2label={str(n): f"LABEL_{n}" for n in range(7)}), [f"LABEL_{n}" for n in range(7)]),
}
