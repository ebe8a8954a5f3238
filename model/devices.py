"""What there is to compute on, told without importing torch where there is no GPU."""

from importlib.util import find_spec
from pathlib import Path

from configs.settings import Settings

_GPUS = Path("/proc/driver/nvidia/gpus")


def chosen_engine(settings: Settings) -> str:
    """`openvino` or `torch`: what the settings ask for, or the machine suggests."""
    if settings.engine != "auto":
        return settings.engine
    return "torch" if has_cuda() else "openvino"


def has_cuda() -> bool:
    """Whether there is an NVIDIA GPU and a torch to use it."""
    if not Path("/dev/nvidiactl").exists() or find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def gpus() -> list[str]:
    """The names of NVIDIA's GPUs, as their driver tells them."""
    told = []
    for path in sorted(_GPUS.glob("*/information")):
        lines = path.read_text("utf-8", "replace").splitlines()
        told += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return told
