"""Finds out what this machine can compute on. Imports torch only where there is an NVIDIA GPU."""

from importlib.util import find_spec
from pathlib import Path

from configs.settings import Settings

_GPUS = Path("/proc/driver/nvidia/gpus")


def chosen_engine(settings: Settings) -> str:
    """Return `openvino` or `torch`: what the settings name, otherwise torch where CUDA is available."""
    if settings.engine != "auto":
        return settings.engine
    return "torch" if has_cuda() else "openvino"


def computes_on_gpu(settings: Settings) -> bool:
    """Tell whether the chosen engine computes on an NVIDIA GPU."""
    return chosen_engine(settings) == "torch" and has_cuda()


def has_cuda() -> bool:
    """Tell whether there is an NVIDIA GPU that the installed torch can use."""
    if not Path("/dev/nvidiactl").exists() or find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs, from their driver."""
    names = []
    for path in sorted(_GPUS.glob("*/information")):
        lines = path.read_text("utf-8", "replace").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return names
