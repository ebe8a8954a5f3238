"""The metrics of a worker whose disk is full: nothing ends, and no count is lost once there is room again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from testing.servers import PROJECT

# A disk that is full can't be had without a file system of its own. To a process whose files must not be larger, the
# system says the same in the same places.
PROGRAM = """
import resource, signal
from runtime import metrics_files
metrics_files.use()
from prometheus_client import Counter
counter = Counter("apples", "Apples.", ["kind"], registry=None)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

{body}
"""
FULL_FROM_THE_START = """
limit(0)
counter.labels("red").inc(3)
counter.labels("green").inc()
{then}
"""
FULL_LATER = """
counter.labels("red").inc()
limit(0)
for number in range(2000):
    counter.labels(f"{number:040}").inc()
counter.labels("red").inc(2)
{then}
"""
ROOM_AGAIN = """
limit(resource.RLIM_INFINITY)
counter.labels("other").inc()
"""


def run(folder: Path, body: str, then: str = "") -> tuple[dict[str, float], str]:
    """Run a worker's metrics; return what another worker sees of the counter, and what was logged."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{body}", body.replace("{then}", then))],
        cwd=PROJECT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return {sample.labels["kind"]: sample.value for sample in samples}, done.stderr


def test_a_worker_goes_on_while_the_disk_is_full(tmp_path: Path) -> None:
    seen, said = run(tmp_path, FULL_FROM_THE_START)
    assert seen == {}
    assert said.count("New metrics can't be written") == 1
    seen, _ = run(tmp_path, FULL_LATER)
    assert seen["red"] == 3, "what has its place in the file is still counted there"
    assert 0 < len(seen) < 2000


@pytest.mark.parametrize("body", [FULL_FROM_THE_START, FULL_LATER], ids=["from the start", "later"])
def test_what_was_counted_meanwhile_is_written_as_soon_as_there_is_room(tmp_path: Path, body: str) -> None:
    seen, _ = run(tmp_path, body, ROOM_AGAIN)
    assert (seen["red"], seen["other"]) == (3, 1)
    assert len(seen) == (2002 if body is FULL_LATER else 3)


def test_a_file_has_its_blocks_on_the_disk_before_it_is_written_to(tmp_path: Path) -> None:
    run(tmp_path, 'counter.labels("red").inc()')
    [file] = tmp_path.iterdir()
    assert file.stat().st_blocks * 512 >= file.stat().st_size
