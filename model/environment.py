"""Runs the programs that make models in an environment of their own, `.venv-prepare`, if this one lacks their packages.

torch and transformers take a gigabyte, and a prepared model needs neither. So the environment that serves does without
them. The first preparation installs them in `.venv-prepare`, on top of the packages that are there.
"""

import sys
from importlib.util import find_spec

from configs.data_folder import PROJECT
from model.errors import ModelError
from runtime.processes import run_child

_INSTALLER = PROJECT / "requirements" / "install.py"
FOLDER = PROJECT / ".venv-prepare"


def is_complete(*packages: str) -> bool:
    """Tell whether the running Python has those packages."""
    return all(find_spec(package) is not None for package in packages)


def run_in_prepare_environment(module: str, arguments: list[str], *locks: str) -> int:
    """Run a module in `.venv-prepare`, after installing those locks there, and return its exit status.

    Raises:
        ModelError: this is no checkout, such as in a container, or an installation failed.
    """
    if not _INSTALLER.exists():
        raise ModelError(
            "There is no prepared model, and the packages that prepare one (torch, transformers) are not installed "
            "here; prepare it in a checkout with 'make model'."
        )
    installing = [sys.executable, "-m", "requirements.install", "--on-top", str(FOLDER), *locks]
    if run_child(installing, cwd=PROJECT).returncode != 0:
        raise ModelError("The packages that prepare models could not be installed; the lines above say why.")
    python = FOLDER / "bin" / "python"
    return run_child([str(python), "-m", module, *arguments]).returncode
