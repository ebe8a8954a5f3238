"""Containers of the project's image, run by podman, for the tests of the image."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from testing.ports import free_port
from testing.servers import PROJECT, READY_WITHIN_S, is_ready
from testing.waiting import wait_until

IMAGE = "localhost/image-classifier:test"
BASE = "localhost/python:3.11-slim"
USER = 10001
# Where Linux tells a container the most memory that it took: control groups of version 2, and of version 1.
PEAK_V2, PEAK_V1 = "/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"
# Kernels of sandboxes lack what podman's own defaults ask for.
RUN = (
    "podman",
    "--runtime",
    "runc",
    "run",
    "--ulimit",
    "nofile=8192:8192",
    "--ulimit",
    "nproc=8192:8192",
    "--no-healthcheck",
)
AS_SHIPPED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges")


def why_not() -> str | None:
    """Why no image can be built and run here; None where one can."""
    if not os.environ.get("CONTAINERS"):
        return "builds an image of 600 MB: run it by `make test-container`"
    missing = [name for name in ("podman", "buildah", "runc", "nginx") if shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else None


def done(*command: str, **options: Any) -> str:
    """What a command prints that has to succeed."""
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout


def build(folder: Path) -> None:
    """The image, from the checkout as it is, with the stand-in in it: `make container`."""
    if subprocess.run(["podman", "image", "exists", BASE], check=False).returncode != 0:
        done("deploy/debian-base.sh")
    # What this machine's pip is told, the builder's is told too: where packages come from.
    mounts = [f"--volume={path}:{path}:ro" for path in ("/etc/pip.conf", "/opt/wheels") if Path(path).exists()]
    settings = {
        "BASE": BASE,
        "BUILD_ARGS": " ".join(mounts),
        "BENTOML_HOME": str(folder),
        "CLASSIFIER_OFFLINE_MODEL": "only",
    }
    print(done("make", "container", f"IMAGE={IMAGE}", env={**os.environ, **settings})[-500:])


class Container:
    """One container, on the host's network unless it has none.

    Args:
        folder: where its database lies, as `/data`.
        settings: its environment.
        options: of `podman run`.
    """

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        os.chown(data, USER, USER)
        self.settings = {"BENTOML_HOST": "127.0.0.1", "BENTOML_PORT": str(self.port), **settings}
        self.options = (*AS_SHIPPED, "--volume", f"{data}:/data", *options)
        self.id = ""

    def start(self) -> None:
        """Run it; not yet ready when this returns."""
        network = () if "--network" in self.options else ("--network", "host")
        given = [f"--env={name}={value}" for name, value in self.settings.items()]
        self.id = done(*RUN, "--detach", *network, *self.options, *given, IMAGE).strip()

    def exec(self, *command: str, **options: Any) -> str:
        """What a command prints in the container."""
        return done("podman", "--runtime", "runc", "exec", "-i", self.id, *command, **options)

    def new_key(self, *options: str) -> dict[str, Any]:
        """`python -m auth create` in the container."""
        made = json.loads(self.exec("python", "-m", "auth", "create", "--email", "it@example.org", "--json", *options))
        assert isinstance(made, dict)
        return made

    def wait_until_ready(self) -> None:
        wait_until(lambda: is_ready(self.url), lambda: f"the container is ready\n{self.log()[-3000:]}", READY_WITHIN_S)

    def state(self) -> dict[str, Any]:
        """What podman says of its state."""
        [told] = json.loads(done("podman", "inspect", self.id))
        return dict(told["State"])

    def processes(self) -> dict[int, str]:
        """The processes in it, as this machine numbers them, with their command lines."""
        lines = done("podman", "top", self.id, "hpid", "args").splitlines()[1:]
        return {int(number): command for number, _, command in (line.partition(" ") for line in map(str.strip, lines))}

    def servers(self) -> set[int]:
        """The processes that answer callers, and the one that started them."""
        words = ("bentoml serve", "runtime.worker")
        return {number for number, command in self.processes().items() if any(word in command for word in words)}

    def most_memory(self) -> int:
        """The most bytes that its processes, all together, have held."""
        return int(self.exec("sh", "-c", f"cat {PEAK_V2} 2> /dev/null || cat {PEAK_V1}"))

    def restart(self) -> None:
        """Stop it as an operator would, start it again, and wait until it is ready."""
        self.stop()
        done("podman", "--runtime", "runc", "start", self.id)
        self.wait_until_ready()

    def stop(self) -> None:
        done("podman", "--runtime", "runc", "stop", "--time", "35", self.id)
        assert self.state()["ExitCode"] == 0, self.log()[-2000:]

    def log(self) -> str:
        ended = subprocess.run(["podman", "logs", self.id], capture_output=True, text=True, check=False)
        return ended.stdout + ended.stderr

    def remove(self) -> None:
        if self.id:
            subprocess.run(["podman", "rm", "--force", "--time", "2", self.id], capture_output=True, check=False)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
