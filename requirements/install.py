"""Installs locks into a virtual environment, which it makes if there is none, and tells how far it is.

    python -m requirements.install FOLDER LOCK ...      a lock is a file of this folder without ".lock", or "torch"
    python -m requirements.install --on-top FOLDER LOCK ...
                                    the environment has the running Python's packages too, without a copy of them

What is installed already is skipped: installed.json in FOLDER has the digest of each installed lock. "torch" is the
build for this machine (`torch_build.py`). With an NVIDIA GPU, "serve" includes torch and transformers: its engine needs
them.

Needs the standard library only.
"""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from requirements.torch_build import Build, choose_build, wants_cuda

HERE = Path(__file__).resolve().parent
RECORD = "installed.json"
LOOKED_EVERY_S, TOLD_EVERY_S = 0.5, 10.0
# Lines of pip's output that are shown if it fails.
SHOWN_LINES = 12
# What Python must not compile when a request first needs it: for a tenth of a second all other requests would wait.
COMPILED = {"serve": ("mcp", "mcp_types")}
# About how many megabytes pip downloads, on Linux.
DOWNLOADS_MB = {"serve": 140, "prepare": 60, "quantize": 60, "test": 160}


def main() -> None:
    """Install what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--on-top", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("locks", nargs="+", metavar="LOCK")
    given = parser.parse_args()
    environment = Environment(given.folder)
    environment.make(given.on_top)
    names = list(given.locks)
    if "serve" in names and not environment.has("torch") and wants_cuda(os.environ):
        names += ["prepare", "torch"]
    missing = [name for name in dict.fromkeys(names) if not environment.has(name)]
    if missing and not given.on_top:
        environment.renew_pip()
    for number, name in enumerate(missing, start=1):
        environment.install(name, f"{number} of {len(missing)}")


class Environment:
    """A virtual environment, and the record of the locks that were installed in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._record = folder / RECORD

    def make(self, on_top: bool) -> None:
        """Make it unless it is there; make it anew if the environment that it lies on top of has become another one."""
        # Another pip makes no other environment.
        names = sorted(_read(Path(sys.prefix) / RECORD).keys() - {"pip"})
        below = dict.fromkeys(package_folders(), names) if on_top else {}
        known = self.folder / "below.json"
        if self.python.exists() and (not on_top or _read(known) == below):
            return
        # Another environment lends its pip too.
        options = ["--without-pip"] if on_top and find_spec("pip") else []
        subprocess.run([sys.executable, "-m", "venv", "--clear", *options, str(self.folder)], check=True)
        if on_top:
            [packages] = self.folder.glob("lib/python*/site-packages")
            (packages / "below.pth").write_text("\n".join(below))
            known.write_text(json.dumps(below))

    def has(self, name: str) -> bool:
        """Tell whether that lock, as it is now, was installed."""
        record = _read(self._record)
        if name == "torch":
            return any(record.get(build) == digest(build) for build in ("torch-cpu", "torch-cuda"))
        return record.get(name) == digest(name)

    def renew_pip(self) -> None:
        """Install the locked pip, which installs the other locks in half the time that Python 3.11's own takes.

        If it can't be had, the pip that is there goes on.
        """
        if self.has("pip"):
            return
        say("the locked pip first: about 2 MB to download ...")
        if subprocess.run(self._pip("pip", ("--retries=1",)), capture_output=True, check=False).returncode == 0:
            self._note("pip")

    def install(self, name: str, step: str) -> None:
        """Install a lock, and record it.

        Raises:
            SystemExit: pip failed; the last lines that it printed are shown.
        """
        build = choose_build(os.environ, self._is_at_hand) if name == "torch" else None
        lock, options = (build.lock, build.options) if build else (name, ())
        amount = (
            f"about {build.download_mb} MB to download, {build.disk_mb} MB on the disk"
            if build
            else f"{count(lock)} packages, about {DOWNLOADS_MB.get(name, 50)} MB to download"
        )
        say(f"{step}: {build.shown if build else lock + '.lock'}, into {self.folder}: {amount} ...")
        started = time.monotonic()
        downloaded = self._run_pip(lock, options)
        self.compile(COMPILED.get(lock, ()))
        self._note(lock)
        took = time.monotonic() - started
        size = megabytes(self.folder)
        say(f"{step}: done in {took:.0f} s, {downloaded} MB downloaded; {self.folder} takes {size} MB now.")

    def compile(self, packages: Iterable[str]) -> None:
        """Compile the modules of these packages, in this environment."""
        for package in packages:
            for folder in self.folder.glob(f"lib/python*/site-packages/{package}"):
                subprocess.run([str(self.python), "-m", "compileall", "-q", str(folder)], check=False)

    def _note(self, lock: str) -> None:
        self._record.write_text(json.dumps(_read(self._record) | {lock: digest(lock)}, indent=1))

    def _pip(self, lock: str, options: Iterable[str]) -> list[str]:
        # Python compiles a module when it is first imported; to compile all of transformers takes a minute.
        quiet = ("--no-compile", "--quiet", "--progress-bar=off", "--disable-pip-version-check", "--no-input")
        command = [str(self.python), "-m", "pip", "install", *quiet, "--require-hashes"]
        return [*command, *options, "-r", str(HERE / f"{lock}.lock")]

    def _is_at_hand(self, build: Build) -> bool:
        command = [*self._pip(build.lock, build.options), "--dry-run"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _run_pip(self, lock: str, options: Iterable[str]) -> int:
        """Run pip, and return how many MB it downloaded."""
        # pip downloads to a folder beside the packages, since /tmp may be small. Its size tells how far pip is.
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as downloads,
            tempfile.TemporaryFile("w+", errors="replace") as output,
        ):
            environment = {**os.environ, "TMPDIR": downloads}
            with subprocess.Popen(self._pip(lock, options), stdout=output, stderr=output, env=environment) as pip:
                downloaded = self._follow(pip, Path(downloads))
            if pip.returncode != 0:
                output.seek(0)
                print(*output.read().splitlines()[-SHOWN_LINES:], sep="\n", file=sys.stderr)
                sys.exit(f"ERROR: {lock}.lock could not be installed; what pip said stands above.")
        return downloaded

    def _follow(self, pip: subprocess.Popen[bytes], downloads: Path) -> int:
        """Wait for pip, tell every some seconds how far it is, and return how many MB it downloaded."""
        started = told = time.monotonic()
        most = 0
        while pip.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pip.wait(LOOKED_EVERY_S)
            now, downloaded = time.monotonic(), megabytes(downloads)
            most = max(most, downloaded)
            if now - told >= TOLD_EVERY_S:
                told = now
                installed = megabytes(self.folder) - downloaded
                say(f"    {now - started:.0f} s: {most} MB downloaded; {self.folder} takes {installed} MB ...")
        return most


def _read(record: Path) -> dict[str, Any]:
    return dict(json.loads(record.read_text())) if record.exists() else {}


def package_folders() -> list[str]:
    """Return where the running Python has its packages."""
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


def digest(lock: str) -> str:
    """Return the SHA-256 of a lock."""
    return hashlib.sha256((HERE / f"{lock}.lock").read_bytes()).hexdigest()


def count(lock: str) -> int:
    """Return the number of packages in a lock."""
    return (HERE / f"{lock}.lock").read_text().count("==")


def megabytes(folder: Path) -> int:
    """Return how much the files of a folder take, in MB; a file may vanish meanwhile."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return round(total / 1e6)


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"[install] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("ERROR: stopped; the same command goes on where this one ended.")
