"""The image, built and run for real: what is in it, how it behaves alone, and two of it behind nginx.

`make test-container` runs it: it takes root, podman, buildah, runc and nginx, and some minutes.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from testing.callers import BODY, run_callers
from testing.history import check
from testing.photographs import COFFEE, as_base64
from testing.waiting import PATIENCE_S, wait_until
from tests import containers
from tests.containers import IMAGE, RUN, Container, done
from tests.containers_behind_nginx import STAND_IN, UNLIMITED, Behind, assert_nothing_is_lost, behind, run_for
from tests.corpus.file import CorpusFile
from tests.hostile_files import HOSTILE

__all__ = ["behind"]

pytestmark = pytest.mark.skipif(containers.why_not() is not None, reason=str(containers.why_not()))

MOST_BYTES = 750_000_000
RESPAWNED_WITHIN_S = 45.0
# What has no place in an image that serves: compilers, what installs packages for us, tests, secrets.
UNWANTED = """
import glob, importlib.util, os, shutil
found = [name for name in ("torch", "transformers", "pytest", "locust") if importlib.util.find_spec(name)]
found += [name for name in ("gcc", "cc", "make", "git", "curl") if shutil.which(name)]
for pattern in ("/var/lib/apt/lists/*_Packages*", "/var/cache/apt/archives/*.deb", "/root/.cache/*"):
    found += glob.glob(pattern)
for root in ("/bento", "/opt/venv"):
    files = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    found += [path for path in files if os.access(path, os.W_OK)][:3]
    if root == "/bento":
        secret = (".env", ".db", ".pem", ".key", ".pyc")
        found += [path for path in files if path.endswith(secret) or "/tests/" in path]
print("\\n".join(found))
"""
CLASSIFY = """
import json, os, sys, urllib.request
url = "http://127.0.0.1:%s/v2/classify" % os.environ["BENTOML_PORT"]
request = urllib.request.Request(url, sys.stdin.buffer.read())
request.add_header("Authorization", "Bearer " + sys.argv[1])
request.add_header("Content-Type", "image/png")
print(urllib.request.urlopen(request).read().decode())
"""


@pytest.fixture(scope="module", autouse=True)
def image(tmp_path_factory: pytest.TempPathFactory) -> None:
    containers.build(tmp_path_factory.mktemp("home"))


def test_the_image_is_lean_and_holds_nothing_that_it_should_not() -> None:
    [told] = json.loads(done("podman", "image", "inspect", IMAGE))
    assert told["Size"] < MOST_BYTES, told["Size"]
    assert told["Config"]["User"] == "10001:10001"
    assert done(*RUN, "--rm", "--network", "none", "--entrypoint", "python", IMAGE, "-c", UNWANTED).strip() == ""
    history = done("podman", "history", "--no-trunc", IMAGE) + json.dumps(told["Config"])
    assert "imc_" not in history
    sizes = done(*RUN, "--rm", "--network", "none", "--entrypoint", "sh", IMAGE, "-c", "du -sm /opt/venv /bento /usr")
    print(f"\n{told['Size'] / 1e6:.0f} MB; MB of its parts:\n{sizes}")


def test_what_stands_in_is_refused_unless_it_was_asked_for(tmp_path: Path) -> None:
    refused = Container(tmp_path, "--network", "none")
    refused.start()
    try:
        done("podman", "wait", refused.id)
        assert refused.state()["ExitCode"] == 1
        assert "CLASSIFIER_OFFLINE_MODEL=only" in refused.log()
        assert "Traceback" not in refused.log()
    finally:
        refused.remove()


def test_alone_without_a_network_or_a_writable_root_it_classifies(tmp_path: Path) -> None:
    container = Container(tmp_path, "--network", "none", **STAND_IN)
    began = time.monotonic()
    container.start()
    ready = "import urllib.request as r, os; r.urlopen('http://127.0.0.1:%s/readyz' % os.environ['BENTOML_PORT'])"
    looking = ["podman", "--runtime", "runc", "exec", container.id, "python", "-c", ready]
    try:
        while subprocess.run(looking, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < began + 180, container.log()
        print(f"\nready {time.monotonic() - began:.1f} s after podman run, as seen by a look a process each")
        key = container.new_key()["key"]
        with COFFEE.open("rb") as photo:
            answer = json.loads(container.exec("python", "-c", CLASSIFY, key, stdin=photo))
        assert answer["predictions"][0]["label"] == "espresso"
        lines = [json.loads(line) for line in container.log().splitlines()]
        assert {line.get("status") for line in lines if line.get("path") == "/v2/classify"} == {200}
        container.stop()
    finally:
        container.remove()


def test_it_is_ready_soon_and_whatever_dies_in_it_comes_back(tmp_path: Path) -> None:
    container = Container(tmp_path, "--restart", "on-failure", CLASSIFIER_RUNNER="service", **STAND_IN)
    try:
        began = time.monotonic()
        container.start()
        container.wait_until_ready()
        took_s = time.monotonic() - began
        print(f"\nready {took_s:.1f} s after podman run")
        key = container.new_key(*UNLIMITED)["key"]
        for victim in ("ImageClassifier", "ResNetRunner", "bentoml serve"):
            [number] = [number for number, command in container.processes().items() if victim in command]
            os.kill(number, signal.SIGKILL)
            back_s = wait_for_an_answer(container, key)
            print(f"{victim} killed: answers again after {back_s:.1f} s")
            assert back_s < RESPAWNED_WITHIN_S
    finally:
        container.remove()


def test_32_hostile_images_at_once_do_not_end_a_container_of_1_gib(tmp_path: Path) -> None:
    """Every file of the table of hostile images, 32 at a time, while another user's photographs are answered."""
    container = Container(tmp_path, "--memory", "1g", "--memory-swap", "1g", **STAND_IN)
    try:
        container.start()
        container.wait_until_ready()
        hostile = container.new_key(*UNLIMITED)["key"]
        servers = container.servers()

        def send(file: CorpusFile) -> int:
            headers = {"Authorization": f"Bearer {hostile}", "Content-Type": "application/octet-stream"}
            body = file.make()
            return httpx.post(
                f"{container.url}/v2/classify", content=body, headers=headers, timeout=PATIENCE_S
            ).status_code

        with ThreadPoolExecutor(32) as pool:
            statuses = Counter(pool.map(send, HOSTILE))
        print(f"\nanswers: {dict(statuses)}; most memory: {container.most_memory() / 2**20:.0f} of 1024 MiB")
        assert set(statuses) <= {200, 400, 413, 422, 503, 504}
        state = container.state()
        assert (state["Running"], state["OOMKilled"]) == (True, False)
        assert container.servers() == servers, "no process of the server was killed"
        assert wait_for_an_answer(container, container.new_key(*UNLIMITED)["key"]) < 30
    finally:
        container.remove()


def wait_for_an_answer(container: Container, key: str) -> float:
    """Seconds until it classifies again."""
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {key}"}

    def is_answered() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.post(f"{container.url}/v1/classify", json=BODY, headers=headers).status_code == 200
        return False

    wait_until(is_answered, lambda: f"an answer\n{container.log()[-3000:]}", looks_every_s=0.1)
    return time.monotonic() - began


def test_limits_are_exact_over_two_replicas_behind_nginx(behind: Behind) -> None:
    key = behind.new_key("limited@example.org", "--limit", "20/day")
    events = run_callers([behind.nginx.url], [key], 16, 3.0)
    assert sum(event.status == 200 for event in events) == 20
    assert {event.status for event in events} == {200, 429}
    assert check(events, [(20, 86_400.0)], behind.usage_log(), behind.hits()) == []
    answer = httpx.post(f"{behind.nginx.url}/v1/classify", headers={"Authorization": f"Bearer {key.key}"}, json=BODY)
    assert answer.headers["ratelimit-policy"] == '"default";q=20;w=86400'
    assert httpx.get(f"{behind.nginx.url}/metrics").json()["status"] == 404


def test_a_rolling_restart_under_load_fails_no_request(behind: Behind) -> None:
    key = behind.new_key("rolling@example.org", *UNLIMITED)

    def roll() -> None:
        time.sleep(2)
        for container in behind.containers:
            container.restart()
            time.sleep(3)

    events = run_for(behind, key, roll)
    assert {event.status for event in events} == {200}
    assert_nothing_is_lost(events, behind)
    print(f"\n{len(events)} requests, all 200, while both replicas were restarted")


def test_what_was_under_way_in_a_replica_that_is_killed_is_not_tried_on_the_other(behind: Behind) -> None:
    key = behind.new_key("killed@example.org", *UNLIMITED)

    def kill() -> None:
        time.sleep(2)
        done("podman", "kill", "--signal", "KILL", behind.containers[0].id)
        time.sleep(4)

    events = run_for(behind, key, kill)
    assert {event.status for event in events} <= {200, 503}
    failed = sum(event.status == 503 for event in events)
    assert 1 <= failed <= 8, "those under way, and no other"
    assert_nothing_is_lost(events, behind)
    # One hit at most for each, so none was tried twice; and rows for those alone that were answered.
    assert behind.hits()[key.user] <= len(events)
    assert sum(row.user == key.user for row in behind.usage_log()) == len(events) - failed
    print(f"\n{len(events)} requests, {failed} of them 503, while one of two replicas was killed")


def test_a_photograph_is_answered_through_nginx(behind: Behind) -> None:
    key = behind.new_key("photo@example.org")
    headers = {"Authorization": f"Bearer {key.key}", "X-Request-ID": "photo-1"}
    body = {"image": as_base64(COFFEE.read_bytes())}
    answer = httpx.post(f"{behind.nginx.url}/v1/classify", headers=headers, json=body)
    assert answer.json()["predictions"][0]["label"] == "espresso"
    assert answer.headers["x-request-id"] == "photo-1"
