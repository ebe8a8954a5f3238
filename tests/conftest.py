"""What the tests share: one prepared stand-in, one running server, and a user of its own for each test."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from ssl import SSLContext
from typing import Any

import httpx
import httpx2
import pytest
from filelock import FileLock
from httpx._config import DEFAULT_TIMEOUT_CONFIG

from runtime.garbage_collection import collect_rarely, freeze_gc
from testing.servers import Server, run_prepare, running
from testing.store_servers import Postgres, RedisServer
from testing.waiting import PATIENCE_S

collect_rarely()

# httpx gives up after 5 s unless it is told otherwise: a machine that runs other tests at once may need longer.
for _part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _part, PATIENCE_S)

# A thread of torch that waits for the others keeps its core busy. With a thread for each core in every process of the
# tests, torch took up to 19 times the processor time.
os.environ["OMP_NUM_THREADS"] = "1"


# A script that runs the tests in the background has them ignore Ctrl-C, and so would all programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _made_once(create: Callable[..., SSLContext]) -> Callable[..., SSLContext]:
    """Keep the TLS context of each set of authorities: to read those of the machine takes a client 30 ms."""

    @cache
    def created(_authorities: tuple[str | None, ...], **options: Any) -> SSLContext:
        return create(**options)

    return lambda **options: created((os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")), **options)


# Tests make a client for most requests, though hardly any server has TLS.
for _library in (httpx, httpx2):
    vars(_library._transports.default)["create_ssl_context"] = _made_once(_library.create_ssl_context)

_numbers = itertools.count(1)

# Fixtures that start other processes, and parameters of tests that run once for each database.
_SERVER_FIXTURES = {"server", "model_store", "postgres", "redis"}
_SERVER_PARAMETERS = {"postgresql", "postgres", "redis"}

# The files that take longest begin first, so that none of them is left when the other processes have ended.
# Of the first six, only one waits for the prepared stand-in.
_LONGEST = ["hostile_images", "families", "model_sources", "quantize", "move", "killed_meter", "plain_bentoml"]
_LONGEST += ["outages", "bad_checkpoints", "install", "nginx", "history", "unread_bodies", "store_faults"]
_LONGEST += ["hostile_uploads", "served_choices", "make_serve", "webhooks", "docs", "openapi", "billing"]
_LONGEST += ["client_login", "client_server", "isolation", "standin", "point_in_time", "reconcile_sent", "ending"]
_LONGEST += ["fidelity"]
_PLACES = {f"test_{name}.py": place for place, name in enumerate(_LONGEST)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-servers",
        action="store_true",
        help="leave out tests that need a server, a model or a database server, or that measure time",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--no-servers"):
        left_out = [item for item in items if _needs_server(item) or item.get_closest_marker("alone")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: _PLACES.get(item.path.name, len(_PLACES)))


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of all garbage collections: it stays, and there is much of it."""
    freeze_gc()


def _needs_server(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    named = {value for value in parameters if isinstance(value, str)}
    return bool(_SERVER_FIXTURES & set(item.fixturenames) or _SERVER_PARAMETERS & named)


@pytest.fixture(scope="session")
def model_store(run_folder: Path) -> Path:
    """A model store with the stand-in in it, and beside it what was said when that was prepared.

    `make test` names a folder for it, which both its runs of pytest use.
    """
    folder = Path(os.environ.get("PREPARED_FOR_TESTS") or run_folder)
    store = folder / "prepared" / "models"
    with FileLock(folder / "prepared.lock"):
        if not any(store.glob("*/*-*")):
            done = run_prepare(store, CLASSIFIER_OFFLINE_MODEL="only", CLASSIFIER_TUNE="auto")
            assert done.returncode == 0, done.stderr
            (store.parent / "said").write_text(done.stderr)
    return store


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a run of the tests share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real PostgreSQL server."""
    started = Postgres(waits_for_disk=False)
    yield started
    started.close()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis server."""
    started = RedisServer(tmp_path_factory.mktemp("redis"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """A server with the stand-in, on SQLite, as `make serve` starts it."""
    with running(tmp_path_factory.mktemp("server") / "it", model_store) as server:
        yield server


@pytest.fixture
def strained(server: Server) -> Iterator[Server]:
    """The same server, for a test that stops it, kills its workers or fills it; then it is made to run again."""
    yield server
    server.ensure_running()


@pytest.fixture
def new_user(server: Server) -> Callable[..., dict[str, Any]]:
    """Makes a user with a key; takes the options of `python -m auth create`."""

    def make(*options: str) -> dict[str, Any]:
        return server.create_key(f"user{next(_numbers)}@example.org", *options)

    return make


@pytest.fixture
def caller(server: Server, new_user: Callable[..., dict[str, Any]]) -> Iterator[httpx.Client]:
    """A caller whose limit is out of the way."""
    with server.client(new_user("--limit", "100000/minute")["key"]) as client:
        yield client
