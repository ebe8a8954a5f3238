"""Shells complete the operator's commands: real ones, with the script that `completion` prints."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from testing.servers import PROJECT

COMMAND = (sys.executable, "-m", "auth", "completion")
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("a shell's")
    (made / "backup-of-monday.db").write_text("")
    return made


@pytest.fixture(scope="module")
def bash(folder: Path) -> Iterator["Bash"]:
    started = Bash(folder)
    yield started
    started.close()


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "CLASSIFIER_DATA_DIR": str(folder / "data")}


@cache
def script(shell: str, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [*COMMAND, shell, *options], cwd=PROJECT, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "data").exists(), "no database is needed for it"
    return done.stdout


class Bash:
    """A bash on a terminal that was set up as docs/operations.md says, in a folder that is not the checkout."""

    def __init__(self, folder: Path) -> None:
        page = (PROJECT / "docs" / "operations.md").read_text("utf-8")
        [setting_up] = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
        subprocess.run(["bash", "-euc", setting_up], cwd=PROJECT, env=environment(folder), check=True)
        assert not (folder / "data").exists(), "no database is needed for it"
        with (folder / ".bashrc").open("a") as start:
            start.write("bind 'set enable-bracketed-paste off'\nPS1=\n")
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--noprofile", "-i"], {**environment(folder), "TERM": "dumb"})

    def completed(self, line: str) -> str:
        """Type the line and a Tab, and return the line that there is then."""
        # Ctrl+A goes to the start of the line, so that bash prints the line instead of running it.
        os.write(self._terminal, f"{line}\t\x01echo '<' \x05 '>'\n".encode())
        seen = ""
        while "\n<" not in seen or ">\r\n" not in seen.rsplit("\n<", 1)[1]:
            ready, _, _ = select.select([self._terminal], [], [], PATIENCE_S)
            assert ready, seen
            seen += os.read(self._terminal, 65536).decode()
        return seen.rsplit("\n<", 1)[1].split(">\r\n")[0].strip()

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._process, 0)


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("classifier-auth rec", "reconcile"),
        ("classifier-auth plan una", "plan unassign"),
        ("classifier-auth create --exp", "create --expires-in"),
        ("classifier-auth create --email ada@example.org --scope adm", "create --email ada@example.org --scope admin"),
        ("classifier-auth usage ada@example.org --bucket mi", "usage ada@example.org --bucket minute"),
        ("classifier-auth restore back", "restore backup-of-monday.db"),
        ("classifier-auth completion fi", "completion fish"),
        ("classifier-auth nothing-of-ours", "nothing-of-ours"),
    ],
)
def test_bash_completes_commands_options_and_values(bash: Bash, typed: str, becomes: str) -> None:
    assert bash.completed(typed) == f"classifier-auth {becomes}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_that_is_completed_runs_in_any_folder(folder: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    text = script(shell, folder) + "\nclassifier-auth create --email 'ada@example.org' --json\n"
    start = "autoload -U compinit && compinit -u\n" if shell == "zsh" else ""
    (folder / f"it.{shell}").write_text(start + text)
    done = subprocess.run(
        [shell, f"it.{shell}"], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scopes"] == ["classify", "usage"]
    assert (folder / "data" / "classifier.db").exists()
    shutil.rmtree(folder / "data")


def test_fish_completes_with_what_each_command_does(folder: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    (folder / "it.fish").write_text(script("fish", folder))
    ask = "source it.fish; complete -C 'classifier-auth rec'; complete -C 'classifier-auth create --scope adm'"
    done = subprocess.run(
        ["fish", "-c", ask], cwd=folder, env=environment(folder), capture_output=True, text=True, check=True
    )
    command, scope = done.stdout.splitlines()
    assert command.startswith("reconcile\tCheck that the usage log")
    assert scope.startswith("admin\t")


def test_zsh_takes_the_script(folder: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (folder / "it.zsh").write_text(script("zsh", folder))
    ask = 'autoload -U compinit && compinit -u; eval "$(cat it.zsh)"; print ${_comps[classifier-auth]}'
    done = subprocess.run(["zsh", "-fc", ask], cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "_shtab_classifier_auth")


def test_the_script_as_json_and_an_unknown_shell(folder: Path) -> None:
    assert json.loads(script("bash", folder, "--json"))["script"].startswith("classifier-auth() {")
    done = subprocess.run([*COMMAND, "csh"], cwd=PROJECT, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 2
    assert "choose from" in done.stderr


def test_the_clients_command_completes_too(folder: Path) -> None:
    def classify(*arguments: str, **more: str) -> str:
        variables = {**environment(folder), "PYTHONPATH": str(PROJECT / "client" / "src"), **more}
        # It asks which shell has started it.
        command = ["bash", "-c", f'{sys.executable} -m classify_command "$@"; exit $?', "bash", *arguments]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout

    assert "_CLASSIFY_COMPLETE=complete_bash" in classify("--show-completion")
    asked = {"_CLASSIFY_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert classify(COMP_WORDS="classify wa", **asked).split() == ["watch"]
    assert classify(COMP_WORDS="classify images --top", **asked | {"COMP_CWORD": "2"}).split() == ["--top-k"]
