"""Writes the locks: `make lock`. pip-compile chooses the versions; a lock has the hash of every file of a release.

    lock.py [NAME ...]              keep the locked versions, and read their hashes again
    lock.py --upgrade [NAME ...]    take the newest versions that the .in files allow

pip-compile can hash files too. But it downloads every file if the index has no JSON API, and it knows only one build of
torch. The CPU builds of torch get a lock of their own, torch-cpu.lock. pip-compile also chooses for the Python that it
runs on alone: a version that an older supported Python can't install is refused here.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote

from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

HERE = Path(__file__).parent
# Each lock may use the versions of those before it.
NAMES = ("pip", "serve", "prepare", "torch-cuda", "quantize", "test", "audit", "bench-litserve", "bench-mlserver")
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
OPTIONS = (
    "--quiet --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links --annotation-style=line"
)
# Without the local part of a version, such as "+cpu" of torch, which other indexes do not have.
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s+;\\]+)\S*[ \\]*(# via .*)?$", re.MULTILINE)
ANCHOR = re.compile(r"<a\s[^>]*>")
LINKED = re.compile(r'href="[^"#]*?([^/"#]+)#sha256=([0-9a-f]{64})"')
PYTHONS = re.compile(r'data-requires-python="([^"]*)"')
# The first release that `requirements/new_venv.sh` takes; Debian 12 has 3.11.2.
OLDEST_PYTHON = "3.11.0"


@dataclass(frozen=True)
class File:
    """A file of a release, and the versions of Python that can install it."""

    name: str
    sha256: str
    pythons: SpecifierSet


@dataclass(frozen=True)
class Pin:
    """A package with its version, and the packages that require it (pip-compile's comment "# via ...")."""

    name: str
    version: str
    reason: str

    def with_hashes(self, hashes: Iterable[str]) -> str:
        """Return the lines of the package in a lock."""
        lines = [f"{self.name}=={self.version}", *(f"--hash=sha256:{one}" for one in sorted(set(hashes)))]
        assert len(lines) > 1, f"{self.name} {self.version}: no index lists a file of this release"
        return " \\\n    ".join(lines) + f"\n    {self.reason}\n"


def main() -> None:
    """Write the named locks, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--upgrade", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    names = given.names or NAMES
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for path in HERE.glob("*.in"):
            (folder / path.name).write_text(path.read_text())
        for path in HERE.glob("*.lock"):
            (folder / path.name).write_text("".join(f"{one.name}=={one.version}\n" for one in pins(path.read_text())))
        chosen = {name: choose(folder, name, given.upgrade) for name in names}
    for name, pinned in chosen.items():
        own = [one for one in pinned if (name, one.name) != ("prepare", "torch")]
        with ThreadPoolExecutor(8) as pool:
            files = list(pool.map(lambda one: release_files(INDEX, one.name, one.version), own))
        lines = []
        for one, found in zip(own, files, strict=True):
            if found and not any(file.pythons.contains(OLDEST_PYTHON) for file in found):
                sys.exit(
                    f"ERROR: {one.name} {one.version} needs Python {found[0].pythons}, and Python {OLDEST_PYTHON} is "
                    f"supported: allow only an older {one.name} in {name}.in."
                )
            lines.append(one.with_hashes(file.sha256 for file in found))
        (HERE / f"{name}.lock").write_text("".join(lines))
        for torch in set(pinned) - set(own):
            (HERE / "torch-cpu.lock").write_text(torch.with_hashes(torch_cpu_hashes(torch)))


def pins(text: str) -> list[Pin]:
    """Read the packages of a lock, or of pip-compile's output."""
    return sorted((Pin(*found) for found in PINNED.findall(text)), key=lambda one: one.name)


def choose(folder: Path, name: str, upgrade: bool) -> list[Pin]:
    """Let pip-compile choose the versions of a lock, and write them to `folder`.

    Args:
        folder: contains the .in files, and the locks without hashes.
        name: of the lock.
        upgrade: whether to take the newest allowed versions, instead of keeping the locked ones.
    """
    lock = folder / f"{name}.lock"
    environment = dict(os.environ)
    if name == "torch-cuda":
        # Only builds from the index: ignore folders of wheels on this machine that pip is configured with.
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    # With fast-deps pip reads what a package requires from a small part of its wheel: NVIDIA's wheels are 3 GB.
    command = [sys.executable, "-m", "piptools", "compile", *OPTIONS.split(), "--pip-args=--use-feature=fast-deps"]
    command += [*["--upgrade"] * upgrade, f"--output-file={lock.name}", f"{name}.in"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    found = pins(lock.read_text())
    lock.write_text("".join(f"{one.name}=={one.version}\n" for one in found))
    return found


@cache
def release_files(index: str, name: str, version: str) -> list[File]:
    """Return the files of a release, as an index lists them (PEP 503)."""
    request = urllib.request.Request(
        f"{index}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+html, text/html"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        anchors = ANCHOR.findall(answer.read().decode())
    files = []
    for anchor in anchors:
        linked, pythons = LINKED.search(anchor), PYTHONS.search(anchor)
        if linked is not None and belongs_to_release(file := unquote(linked[1]), version):
            files.append(File(file, linked[2], SpecifierSet(unescape(pythons[1]) if pythons else "")))
    return files


def belongs_to_release(file: str, version: str) -> bool:
    """Tell whether a file belongs to a release, whatever its build."""
    try:
        found = parse_wheel_filename(file)[1] if file.endswith(".whl") else parse_sdist_filename(file)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False
    return found.public == Version(version).public


def torch_cpu_hashes(torch: Pin) -> set[str]:
    """Return the hashes of torch's builds without CUDA.

    These are the files of PyTorch's own index, those of PyPI for other systems than Linux, and the wheels that pip
    finds on this machine. If PyTorch's index can't be reached, the lock keeps the hashes that it has of this release.
    """
    found = {file.sha256 for file in release_files(INDEX, torch.name, torch.version) if "linux" not in file.name}
    try:
        found |= {file.sha256 for file in release_files(TORCH_INDEX, torch.name, torch.version)}
    except urllib.error.URLError as error:
        lock = HERE / "torch-cpu.lock"
        known = lock.read_text() if lock.exists() else ""
        if f"torch=={torch.version} " in known:
            found |= set(re.findall(r"sha256:(\w+)", known))
        print(f"{TORCH_INDEX} can't be reached ({error.reason}): torch-cpu.lock keeps its hashes.", file=sys.stderr)
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    for folder in re.findall(r"find-links='([^']+)'", configured.stdout):
        for wheel in Path(folder).glob(f"torch-{torch.version}*.whl"):
            found.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    return found


if __name__ == "__main__":
    main()
