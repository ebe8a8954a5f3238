"""Runs the commands of an operator, with the settings and the database of one server."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from auth.cli import answer
from auth.cli.main import main


class Operator:
    """Whoever has the environment of a server, which need not run.

    Attributes:
        project: the folder in which commands run.
        environment: the environment variables of the server.
    """

    project: Path
    environment: dict[str, str]

    @property
    def has_workers(self) -> bool:
        """Whether workers of the server may know its keys."""
        return True

    def make_tables(self) -> None:
        """Create the tables where it is known that there are none. Every command does so too, but takes longer."""

    def auth(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m auth …` with the server's database in this process: a new one would need a second to start.

        Without workers, no command waits until they have forgotten what they knew of a key.
        Not safe in several threads at once: it changes the environment and the output of this process.
        """
        ours = {name: value for name, value in self.environment.items() if name.startswith("CLASSIFIER_")}
        stdout, stderr = io.StringIO(), io.StringIO()
        try:
            with (
                contextlib.ExitStack() as without_workers,
                mock.patch.dict(os.environ, ours),
                contextlib.redirect_stdout(stdout),
                contextlib.redirect_stderr(stderr),
            ):
                if not self.has_workers:
                    without_workers.enter_context(mock.patch.object(answer, "KEY_MEMORY_S", 0.0))
                status = main(list(arguments))
        except SystemExit as end:
            # argparse ends so when the arguments are wrong.
            status = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())

    def auth_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Do the same as `auth`, in a process of its own."""
        command = [sys.executable, "-m", "auth", *arguments]
        return subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )

    def python(self, program: str) -> str:
        """Run a Python program in the server's environment, and return what it prints."""
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create_key(self, email: str, *options: str) -> dict[str, Any]:
        """Create a key, and return the JSON of `python -m auth create --json`."""
        self.make_tables()
        done = self.auth("create", "--email", email, "--json", *options)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))
