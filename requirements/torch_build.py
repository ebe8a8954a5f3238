"""Chooses the build of torch to install, and where pip finds it. Needs the standard library only: it runs before pip.

With an NVIDIA GPU, or TORCH=cuda, it is the CUDA build. Without one it is the CPU build: from the package index that
TORCH_INDEX names, else from a folder of wheels that pip is configured with (find-links), else from PyTorch's own index
if that answers within seconds. The last resort is what PyPI has for Linux: the CUDA build, which also runs on a CPU.
"""

import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PYTORCH_INDEX = "https://download.pytorch.org/whl/cpu"
INDEX_ANSWERS_WITHIN_S = 3.0


@dataclass(frozen=True)
class Build:
    """A build of torch.

    Attributes:
        lock: name of the lock that has its hashes, without ".lock".
        options: further options for `pip install`.
        shown: what it is and how much must be downloaded, for the person who waits.
        download_mb: megabytes to download, about.
        disk_mb: megabytes on the disk, about.
    """

    lock: str
    options: tuple[str, ...]
    shown: str
    download_mb: int
    disk_mb: int


def cuda_build(reason: str) -> Build:
    """Return the CUDA build that PyPI has, with NVIDIA's packages."""
    return Build("torch-cuda", (), f"torch for CUDA from PyPI, {reason}", 3000, 5000)


def cpu_build(source: str, *options: str, download_mb: int = 190) -> Build:
    """Return the CPU build; what it requires is locked in prepare.lock, so that pip need not look for it."""
    return Build("torch-cpu", ("--no-deps", *options), f"torch for CPUs from {source}", download_mb, 750)


def choose_build(environment: Mapping[str, str], is_at_hand: Callable[[Build], bool]) -> Build:
    """Choose the build of torch for this machine.

    Args:
        environment: TORCH (`cpu` or `cuda`) chooses the build; TORCH_INDEX is the address of a package index (PEP 503)
            that has the CPU build.
        is_at_hand: tells whether pip finds that build without an index.

    Raises:
        SystemExit: TORCH is neither, or the index that TORCH_INDEX names does not answer; one line says so.
    """
    if wants_cuda(environment):
        return cuda_build("for the NVIDIA GPU of this machine")
    index = environment.get("TORCH_INDEX", "").rstrip("/")
    if index:
        if not has_torch(index):
            sys.exit(f"ERROR: TORCH_INDEX={index} lists no torch, or does not answer.")
        return cpu_build(index, "--index-url", index)
    if sys.platform != "linux":
        return cpu_build("PyPI")
    local = cpu_build("a folder of wheels on this machine", "--no-index", download_mb=0)
    if is_at_hand(local):
        return local
    if has_torch(PYTORCH_INDEX):
        return cpu_build(PYTORCH_INDEX, "--index-url", PYTORCH_INDEX)
    return cuda_build("since PyTorch's index does not answer (TORCH_INDEX=URL names another one)")


def wants_cuda(environment: Mapping[str, str]) -> bool:
    """Tell whether torch must compute on CUDA: what TORCH says, else whether there is an NVIDIA GPU.

    Raises:
        SystemExit: TORCH is neither `cpu` nor `cuda`.
    """
    wanted = environment.get("TORCH", "")
    if wanted not in ("", "cpu", "cuda"):
        sys.exit(f"ERROR: TORCH must be cpu or cuda, not {wanted!r}.")
    return wanted == "cuda" or (not wanted and has_gpu())


def has_gpu() -> bool:
    """Tell whether NVIDIA's driver answers."""
    try:
        return subprocess.run(["nvidia-smi"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def has_torch(index: str) -> bool:
    """Tell whether a package index answers within seconds that it has torch."""
    try:
        # pip's own variable, for networks whose proxy has a certificate of its own.
        trusted = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
        with urllib.request.urlopen(f"{index}/torch/", timeout=INDEX_ANSWERS_WITHIN_S, context=trusted) as answer:
            return bool(answer.read(1))
    except (OSError, ValueError):
        return False
