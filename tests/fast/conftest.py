"""Fixtures of the fast tests: a clock, an event loop that follows it, and a gateway in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from storage import sqlite
from storage.migrate import migrate
from testing.clock import Clock
from testing.in_process import InProcessGateway, IssuedKey, copied

Start = Callable[..., Awaitable[InProcessGateway]]


@pytest.fixture(scope="module", autouse=True)
def _without_waiting_for_the_disk() -> Iterator[None]:
    """No commit waits until the disk has it: none of these tests takes the machine away."""
    pragmas = [one.replace("synchronous=NORMAL", "synchronous=OFF") for one in sqlite.PRAGMAS]
    with mock.patch.object(sqlite, "PRAGMAS", pragmas):
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def anyio_backend(clock: Clock) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": clock.new_event_loop}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with empty tables, to be copied for each test."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
async def start(
    clock: Clock, empty_database: Path, tmp_path: Path, anyio_backend: tuple[str, dict[str, Any]]
) -> AsyncIterator[Start]:
    """Creates a gateway with the given settings. All gateways of one test share a database, as workers do."""
    database, made = copied(empty_database, tmp_path), []

    async def start(is_warm: bool = True, **settings: Any) -> InProcessGateway:
        gateway = InProcessGateway(database, clock, **settings)
        made.append(gateway)
        if is_warm:
            await gateway.warm_up()
        return gateway

    yield start
    for gateway in made:
        await gateway.close()


@pytest.fixture
async def gateway(start: Start) -> InProcessGateway:
    """A gateway with the default settings."""
    return await start()


@pytest.fixture
def key(gateway: InProcessGateway) -> IssuedKey:
    """A key of a user whose limit no test reaches."""
    return gateway.new_key()
