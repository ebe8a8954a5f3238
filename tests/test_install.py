"""What `make install` and the first preparation install: which Python, which build of torch, into which environment."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from requirements import torch_build
from testing.ports import free_port
from testing.servers import PROJECT, inherited
from tests.package_index import Index, make_wheel, served, sha256

# A program in the place of a Python, which tells what it was asked to do.
PYTHON_THAT_FITS = '#!/bin/sh\ncase $1 in -m) echo "made by $0" ;; esac\n'
PYTHON_310 = '#!/bin/sh\ncase $2 in *platform*) echo "Python 3.10.12" ;; *) exit 1 ;; esac\n'


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def new_venv(path: Path, *named: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROJECT / "requirements" / "new_venv.sh"), "made", *named]
    environment = {"PATH": f"{path}:/usr/bin:/bin"} if not named else dict(os.environ)
    return subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (("python3.13", "python3.12", "python3.11", "python3"), "python3.11"),
        (("python3.13", "python3.12"), "python3.12"),
        (("python3.13",), "python3.13"),
    ],
)
def test_the_first_python_that_fits_is_taken(tmp_path: Path, there: tuple[str, ...], taken: str) -> None:
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        program(tmp_path / "bin" / name, PYTHON_THAT_FITS if name in there else PYTHON_310)
    done = new_venv(tmp_path / "bin")
    assert done.stdout.strip().endswith(f"bin/{taken}"), done.stderr


def test_a_wrong_python_gets_one_line_that_says_how_to_get_a_right_one(tmp_path: Path) -> None:
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        program(tmp_path / "bin" / name, PYTHON_310)
    for done in (new_venv(tmp_path / "bin"), new_venv(tmp_path / "bin", str(tmp_path / "bin" / "python3"))):
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith("ERROR: Python 3.11, 3.12 or 3.13 ")
        assert "Python 3.10.12" in line
        for word in ("apt install", "dnf install", "brew install", "PYTHON="):
            assert word in line
    assert "is no Python" in new_venv(tmp_path / "bin", "/no/such/python").stderr


class Installer:
    """The project's installer, with a lock of a tiny package that is called torch."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index
        self.wheel = make_wheel(index.files, "torch", "1.0", "BUILD = 'cpu'\n")
        index.list_files()
        requirements = folder / "requirements"
        requirements.mkdir()
        for name in ("__init__.py", "install.py", "torch_build.py"):
            shutil.copy(PROJECT / "requirements" / name, requirements)
        (requirements / "torch-cpu.lock").write_text(f"torch==1.0 --hash=sha256:{sha256(self.wheel)}\n")
        (requirements / "torch-cuda.lock").write_text("torch==1.0 --hash=sha256:" + "0" * 64 + "\n")

    def run(self, *arguments: str, on_top: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        # No other index than the one that a test names can be reached.
        nowhere = f"http://127.0.0.1:{free_port()}/simple"
        pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": nowhere, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
        environment = {**inherited(), **pip, "PIP_FIND_LINKS": "", "TORCH": "cpu", **variables}
        # On top of this environment, which takes a second less than one with a pip of its own.
        command = [sys.executable, "-m", "requirements.install", *["--on-top"] * on_top, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=400
        )

    def lock_a_pip_that_tells(self) -> Path:
        """Lock a pip that does nothing but write down what it is asked for, in the file that this returns."""
        asked = self.folder / "asked.txt"
        code = f"import sys\nwith open({str(asked)!r}, 'a') as asked:\n    print(*sys.argv[1:], file=asked)\n"
        wheel = make_wheel(self.index.files, "pip", "99.0", code)
        (self.folder / "requirements" / "pip.lock").write_text(f"pip==99.0 --hash=sha256:{sha256(wheel)}\n")
        return asked

    def build_in(self, environment: str) -> str:
        command = [str(self.folder / environment / "bin" / "python"), "-c", "import torch; print(torch.BUILD)"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    return Installer(tmp_path, Index(tmp_path / "index", "torch"))


@pytest.fixture
def address(installer: Installer) -> Iterator[str]:
    with served(installer.index) as address:
        yield address


def test_the_build_for_cpus_comes_from_the_index_that_is_named(installer: Installer, address: str) -> None:
    done = installer.run("made", "torch", TORCH_INDEX=address + "/")
    assert done.returncode == 0, done.stderr
    assert installer.build_in("made") == "cpu"
    first, last = done.stderr.splitlines()
    assert f"1 of 1: torch for CPUs from {address}, into made: about 190 MB to download" in first
    assert "1 of 1: done in" in last
    assert "MB downloaded; made takes" in last

    again = installer.run("made", "torch", TORCH_INDEX=address)
    assert (again.returncode, again.stderr) == (0, "")


def test_the_locked_pip_installs_the_other_locks(installer: Installer) -> None:
    asked, wheels = installer.lock_a_pip_that_tells(), str(installer.index.files)
    for lock in ("none", "one", "two"):
        (installer.folder / "requirements" / f"{lock}.lock").write_text("")
    assert installer.run("made", "none", PIP_FIND_LINKS=wheels).returncode == 0
    assert not asked.exists(), "an environment on top of another one uses that one's pip"

    for lock in ("one", "two"):
        done = installer.run("made", lock, on_top=False, PIP_FIND_LINKS=wheels)
        assert done.returncode == 0, done.stderr
    first, second = asked.read_text().splitlines()
    assert "--require-hashes" in first
    assert first.endswith("one.lock")
    assert second.endswith("two.lock"), "and pip.lock is not installed again"


def test_where_the_locked_pip_can_not_be_had_the_one_that_is_there_goes_on(installer: Installer) -> None:
    installer.lock_a_pip_that_tells()
    (installer.index.files / "pip-99.0-py3-none-any.whl").write_text("another one")
    (installer.folder / "requirements" / "one.lock").write_text("")
    assert installer.run("made", "one").returncode == 0
    done = installer.run("made", "torch", on_top=False, PIP_FIND_LINKS=str(installer.index.files))
    assert done.returncode == 0, done.stderr
    assert installer.build_in("made") == "cpu"


def test_a_build_that_is_not_the_locked_one_is_refused(installer: Installer, address: str) -> None:
    make_wheel(installer.index.files, "torch", "1.0", "BUILD = 'another'\n")
    installer.index.list_files()
    done = installer.run("made", "torch", TORCH_INDEX=address)
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "ERROR: torch-cpu.lock could not be installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_index_that_does_not_answer_is_told_in_one_line() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/simple"
    with pytest.raises(SystemExit, match=f"^ERROR: TORCH_INDEX={nowhere} lists no torch, or does not answer.$"):
        torch_build.choose_build({"TORCH": "cpu", "TORCH_INDEX": nowhere}, lambda _: False)


def test_a_wheel_at_hand_needs_no_index(installer: Installer) -> None:
    done = installer.run("made", "torch", PIP_FIND_LINKS=str(installer.index.files))
    assert done.returncode == 0, done.stderr
    assert "torch for CPUs from a folder of wheels on this machine" in done.stderr
    assert installer.build_in("made") == "cpu"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI's build is the one for CPUs")
def test_pytorchs_index_is_taken_where_it_answers_else_the_size_of_pypis_build_is_told(
    installer: Installer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_build, "PYTORCH_INDEX", address)
    build = torch_build.choose_build({"TORCH": "cpu"}, lambda _: False)
    assert (build.lock, build.options) == ("torch-cpu", ("--no-deps", "--index-url", address))

    monkeypatch.setattr(torch_build, "PYTORCH_INDEX", f"http://127.0.0.1:{free_port()}/simple")
    build = torch_build.choose_build({"TORCH": "cpu"}, lambda _: False)
    assert build.lock == "torch-cuda"
    assert build.download_mb == 3000
    assert "TORCH_INDEX=URL" in build.shown


@pytest.mark.parametrize(("status", "lock"), [(0, "torch-cuda"), (9, "torch-cpu")], ids=["answers", "fails"])
def test_a_gpu_that_answers_gets_the_build_for_cuda(
    status: int, lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "nvidia-smi", f"#!/bin/sh\nexit {status}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert torch_build.choose_build({}, lambda _: True).lock == lock
    assert torch_build.choose_build({"TORCH": "cpu"}, lambda _: True).lock == "torch-cpu"
    assert torch_build.choose_build({"TORCH": "cuda"}, lambda _: True).lock == "torch-cuda"
    with pytest.raises(SystemExit, match="TORCH must be cpu or cuda, not 'rocm'"):
        torch_build.choose_build({"TORCH": "rocm"}, lambda _: True)


def light_project(folder: Path) -> dict[str, str]:
    """Copy what `bentoml serve` needs; returns an environment in which this Python seems to have no torch."""
    for name in ("configs", "model", "requirements", "runtime", "storage"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        f"if sys.prefix == {sys.prefix!r}:\n"
        "    found = importlib.util.find_spec\n"
        "    importlib.util.find_spec = lambda name, *more: None if name == 'torch' else found(name, *more)\n"
    )
    return {
        **inherited(),
        "PYTHONPATH": str(hidden),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "CLASSIFIER_OFFLINE_MODEL": "only",
        "CLASSIFIER_TUNE": "off",
        "TORCH": "cpu",
    }


def prepare(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model.prepare"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_model_is_prepared_in_an_environment_of_its_own(tmp_path: Path) -> None:
    environment = light_project(tmp_path)
    (tmp_path / "bentoml").mkdir()
    done = prepare(tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "1 of 2: prepare.lock" in done.stderr
    assert "2 of 2: torch for CPUs" in done.stderr
    assert "'make clean-prepare' deletes" in done.stderr
    assert any((tmp_path / "bentoml" / "models").glob("*/*"))
    # What lies below it is not copied.
    assert list((tmp_path / ".venv-prepare").glob("lib/*/site-packages/numpy")) == []

    # A prepared model needs none of it.
    shutil.rmtree(tmp_path / ".venv-prepare")
    again = prepare(tmp_path, environment)
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / ".venv-prepare").exists()


def test_where_nothing_can_be_installed_one_sentence_says_where_to_prepare(tmp_path: Path) -> None:
    environment = light_project(tmp_path)
    (tmp_path / "bentoml").mkdir()
    (tmp_path / "requirements" / "install.py").unlink()
    done = prepare(tmp_path, environment)
    assert done.returncode == 1
    assert "prepare it in a checkout with 'make model'" in done.stderr
    assert "Traceback" not in done.stderr
