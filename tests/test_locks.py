"""The locks: what is installed is what was locked, file by file, on every platform."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from testing.servers import PROJECT
from tests.package_index import Index, make_wheel, served

REQUIREMENTS = PROJECT / "requirements"
LOCKS = sorted(path.name for path in REQUIREMENTS.glob("*.lock"))
ENTRY = re.compile(r"([a-z0-9.-]+)==([^\s+;\\]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n    # via .+\n")


def locked(name: str) -> dict[str, tuple[str, set[str]]]:
    """Of each package its version and the hashes of its files."""
    found = ENTRY.findall((REQUIREMENTS / name).read_text())
    return {package: (version, set(re.findall(r"\w{64}", hashes))) for package, version, hashes in found}


def is_built_for_a_platform(package: str) -> bool:
    try:
        wheel = metadata.distribution(package).read_text("WHEEL") or ""
    except metadata.PackageNotFoundError:
        return False
    return "Root-Is-Purelib: false" in wheel


def is_installed(package: str) -> bool:
    """False for one that only another Python or system needs."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_nothing_but_releases_and_the_hashes_of_their_files(name: str) -> None:
    assert ENTRY.sub("", (REQUIREMENTS / name).read_text()) == ""
    assert locked(name)


def test_what_is_installed_together_has_one_version() -> None:
    for path in REQUIREMENTS.glob("*.in"):
        own = locked(f"{path.stem}.lock") if path.stem != "torch" else {}
        for other in re.findall(r"^-c (\S+)$", path.read_text(), re.MULTILINE):
            theirs = locked(other)
            differing = {package for package in own.keys() & theirs.keys() if own[package] != theirs[package]}
            assert differing == set(), f"{path.name} and {other}"


def test_the_files_of_every_platform_and_python_are_allowed() -> None:
    built = {
        package: hashes for package, (_, hashes) in locked("serve.lock").items() if is_built_for_a_platform(package)
    }
    assert {"numpy", "openvino", "pillow"} <= built.keys()
    assert {package: len(hashes) for package, hashes in built.items() if len(hashes) < 5} == {}


def test_what_is_locked_installs_on_the_oldest_supported_python() -> None:
    """Debian 12 has Python 3.11.2, and pip-compile chooses for the newer one that it runs on."""
    packages = [
        package for name in ("pip", "serve", "prepare", "quantize", "test") for package in locked(f"{name}.lock")
    ]
    installed = [package for package in packages if is_installed(package)]
    assert len(installed) > 200
    # A package need not say which Pythons it runs on.
    pythons = {package: metadata.metadata(package).get_all("Requires-Python") or [""] for package in installed}
    refused = {package: text for package, [text] in pythons.items() if "3.11.0" not in SpecifierSet(text)}
    assert refused == {}


def test_torch_is_locked_without_cuda_and_with_it() -> None:
    [pinned] = re.findall(r"^torch==(\S+)$", (REQUIREMENTS / "torch.in").read_text(), re.MULTILINE)
    without, with_cuda = locked("torch-cpu.lock"), locked("torch-cuda.lock")
    assert without.keys() == {"torch"}
    assert without["torch"][0] == with_cuda["torch"][0] == pinned
    # pip takes what it has a hash of: were those of Linux' CUDA builds among them, it would never look for others.
    assert without["torch"][1] - with_cuda["torch"][1]
    assert with_cuda["torch"][1] - without["torch"][1]
    cuda = {package for package in with_cuda if package.startswith(("cuda-", "nvidia-", "triton"))}
    assert len(cuda) > 10
    for name in set(LOCKS) - {"torch-cuda.lock"}:
        assert cuda & locked(name).keys() == set(), name


def test_every_installation_asks_for_hashes() -> None:
    text = (PROJECT / "deploy" / "Containerfile").read_text()
    text += (PROJECT / "requirements" / "install.py").read_text()
    installing = [line for line in text.splitlines() if re.search(r"pip\W.*\binstall\W", line)]
    assert len(installing) == 3
    assert [line for line in installing if "--require-hashes" not in line] == []
    assert "pip install" not in (PROJECT / "Makefile").read_text()


class TinyIndex(Index):
    """Has two builds of one release, of which one is for this machine, and an older release."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "tiny")
        self.wheel = make_wheel(self.files, "tiny", "1.0", "HONEST = True\n")
        for name in ("tiny-1.0-cp39-cp39-win32.whl", "tiny-0.9.tar.gz"):
            (self.files / name).write_bytes(name.encode())
        self.hashes = self.list_files()

    def tamper(self) -> None:
        """Put another file in the wheel's place, and list it: what an index that was broken into would do."""
        with zipfile.ZipFile(self.wheel, "a") as wheel:
            wheel.writestr("more.py", "HONEST = False\n")
        self.list_files()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyIndex]:
    made = TinyIndex(tmp_path / "index")
    with served(made) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        yield made


def test_a_version_that_the_oldest_python_can_not_install_is_not_locked(index: TinyIndex, tmp_path: Path) -> None:
    program = Path(shutil.copy(REQUIREMENTS / "lock.py", tmp_path))
    (tmp_path / "serve.in").write_text("tiny\n")
    index.list_files(">=3.11.1,<4")
    refused = run(str(program), "serve")
    assert refused.returncode == 1
    assert "ERROR: tiny 1.0 needs Python" in refused.stderr
    assert "serve.in" in refused.stderr
    assert not (tmp_path / "serve.lock").exists()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=120)


def test_a_file_that_is_not_the_one_that_was_locked_is_refused(index: TinyIndex, tmp_path: Path) -> None:
    program = Path(shutil.copy(REQUIREMENTS / "lock.py", tmp_path))
    (tmp_path / "serve.in").write_text("tiny\n")
    written = run(str(program), "serve")
    assert written.returncode == 0, written.stderr
    lock = (tmp_path / "serve.lock").read_text()
    assert lock.startswith("tiny==1.0 \\\n")
    assert set(re.findall(r"sha256:(\w+)", lock)) == {
        digest for name, digest in index.hashes.items() if name.startswith("tiny-1.0")
    }

    def install(folder: str) -> subprocess.CompletedProcess[str]:
        options = ("--require-hashes", "--no-cache-dir", "--no-deps", "--target", str(tmp_path / folder))
        return run("-m", "pip", "install", *options, "-r", str(tmp_path / "serve.lock"))

    honest = install("honest")
    assert honest.returncode == 0, honest.stderr
    index.tamper()
    refused = install("tampered")
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "tampered" / "more.py").exists()
