"""A store that is away: what the log says, what callers are told, and that `/metrics` goes on answering."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest

from auth.authentication import RECENTLY_VALID_S
from storage.availability import QUIET_S, Availability
from storage.errors import StorageUnavailable
from storage.expiring_cache import ExpiringCache
from storage.faults import FULL, UNREACHABLE
from testing.clock import Clock
from testing.in_process import InProcessGateway, IssuedKey
from testing.waiting import eventually
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

COUNTED = 'classifier_storage_unavailable_total{store="database"}'


@contextmanager
def away(gateway: InProcessGateway, is_silent: bool = False) -> Iterator[list[object]]:
    """Let the database refuse every connection within this block, or never answer; what it is asked is listed."""
    asked: list[object] = []

    async def fail(*question: object) -> NoReturn:
        asked.append(question)
        if is_silent:
            await asyncio.Event().wait()
        raise UNREACHABLE.error()

    with pytest.MonkeyPatch.context() as patch:
        # What was read half a second before counts as too old.
        patch.setattr(gateway.store, "_keys", ExpiringCache(0))
        patch.setattr(gateway.store.database, "read", fail)
        patch.setattr(gateway.store.database, "write", fail)
        yield asked


@pytest.fixture
async def metrics_key(gateway: InProcessGateway) -> IssuedKey:
    """The key of a Prometheus that has just scraped the metrics."""
    key = gateway.new_key(email="prometheus@example.org", scopes=frozenset({"metrics"}))
    assert (await gateway.request("GET", "/metrics", key)).status_code == 200
    return key


def counted(metrics: str) -> float:
    [line] = [line for line in metrics.splitlines() if line.startswith(COUNTED)]
    return float(line.rpartition(" ")[2])


async def test_a_store_that_is_lost_and_back_has_a_log_line_each(
    gateway: InProcessGateway, key: IssuedKey, caplog: pytest.LogCaptureFixture
) -> None:
    with away(gateway):
        for _ in range(20):
            problem = assert_problem(await gateway.request("GET", "/v2/models", key), 503)
            assert problem["detail"] == "The database is away; send the request again shortly."
    for _ in range(20):
        assert (await gateway.request("GET", "/v2/models", key)).status_code == 200
    lines = [message for message in caplog.messages if "The database" in message]
    assert [re.sub(r"\d+ s;", "N s;", line) for line in lines] == [
        "The database is away, so requests are refused: "
        "The database can't be reached; check that it runs, and CLASSIFIER_DATABASE_URL.",
        "The database is back after N s; requests are answered again.",
    ]


@pytest.mark.parametrize("takes_its_place", [None, b"", b"a backup"], ids=["nothing", "a new file", "another file"])
async def test_an_answer_is_not_logged_in_a_file_that_was_removed_or_replaced(
    gateway: InProcessGateway, key: IssuedKey, takes_its_place: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await gateway.request("GET", "/v2/models", key)).status_code == 200
    path, elsewhere = gateway.database, gateway.database.with_name("moved.db")
    path.rename(elsewhere)
    if takes_its_place is not None:
        path.write_bytes(takes_its_place)
    for _ in range(3):
        assert_problem(await gateway.request("GET", "/v2/models", key), 503)
    with pytest.raises(StorageUnavailable, match="removed or replaced"):
        await gateway.store.ping()
    assert [message for message in caplog.messages if "removed or replaced" in message]
    assert (path.read_bytes() if path.exists() else None) == takes_its_place
    elsewhere.rename(path)
    assert (await gateway.request("GET", "/v2/models", key)).status_code == 200
    assert [row["status"] for row in gateway.usage_rows()] == [200, 200]


async def test_metrics_answer_to_a_key_that_was_valid_of_late(
    gateway: InProcessGateway, metrics_key: IssuedKey
) -> None:
    with away(gateway):
        first, second = [await gateway.request("GET", "/metrics", metrics_key) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 200)
    # The alert goes by the increase of this counter: the scrapes raise it, without any other request.
    assert counted(second.text) > counted(first.text)
    # No row could be written for those two.
    assert len(gateway.usage_rows()) == 1


async def test_metrics_do_not_wait_long_for_a_silent_database(
    gateway: InProcessGateway, metrics_key: IssuedKey, clock: Clock
) -> None:
    with away(gateway, is_silent=True) as asked:
        scrape = asyncio.create_task(gateway.request("GET", "/metrics", metrics_key))
        # For the key, and for the usage row.
        for number in range(2):
            await eventually(lambda number=number: len(asked) > number, "the database is asked")  # type: ignore[misc]
            clock.advance(3)
        # Prometheus would not wait much longer.
        assert (await scrape).status_code == 200


async def test_metrics_answer_to_nobody_else_while_the_database_is_away(
    gateway: InProcessGateway, metrics_key: IssuedKey, key: IssuedKey, clock: Clock
) -> None:
    assert (await gateway.request("GET", "/v2/models", key)).status_code == 200
    never_seen = gateway.new_key(email="new@example.org", scopes=frozenset({"metrics"}))
    other_secret = IssuedKey(f"{never_seen.text[:-20]}{'0' * 20}", "", "")
    with away(gateway):
        assert_problem(await gateway.request("GET", "/metrics"), 401)
        assert_problem(await gateway.request("GET", "/metrics", other_secret), 401)
        # A key of another scope, and one that this worker has not seen.
        assert_problem(await gateway.request("GET", "/metrics", key), 503)
        assert_problem(await gateway.request("GET", "/metrics", never_seen), 503)
        # Another route, another method.
        assert_problem(await gateway.request("GET", "/v2/models", metrics_key), 503)
        assert_problem(await gateway.request("POST", "/metrics", metrics_key), 503)
        clock.advance(int(RECENTLY_VALID_S) - 1)
        assert (await gateway.request("GET", "/metrics", metrics_key)).status_code == 200
        clock.advance(1)
        assert_problem(await gateway.request("GET", "/metrics", metrics_key), 503)


async def test_a_key_that_was_seen_revoked_or_has_expired_reads_no_metrics(
    gateway: InProcessGateway, metrics_key: IssuedKey, clock: Clock
) -> None:
    expiring = gateway.new_key(email="expiring@example.org", scopes=frozenset({"metrics"}), expires_in_s=60)
    assert (await gateway.request("GET", "/metrics", expiring)).status_code == 200
    gateway.revoke(metrics_key)
    gateway.store._keys = ExpiringCache(0)
    assert_problem(await gateway.request("GET", "/metrics", metrics_key), 401)
    clock.advance(60)
    with away(gateway):
        for key in (metrics_key, expiring):
            assert_problem(await gateway.request("GET", "/metrics", key), 503)


async def test_metrics_answer_where_only_the_usage_log_can_not_be_written(
    gateway: InProcessGateway, metrics_key: IssuedKey
) -> None:
    with gateway.without_table("usage_log"):
        assert (await gateway.request("GET", "/metrics", metrics_key)).status_code == 200


async def answered() -> None:
    pass


async def failed(error: StorageUnavailable) -> NoReturn:
    raise error


@pytest.fixture
def database(clock: Clock) -> Availability:
    return Availability("database", "The database", lambda: clock.advanced_s)


async def fail(database: Availability, error: StorageUnavailable, is_change: bool = False) -> None:
    with pytest.raises(StorageUnavailable):
        await database.watch(failed(error), is_change)


async def test_a_full_disk_is_over_once_a_change_was_made_and_not_while_reads_go_on(
    database: Availability, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        clock.advance(1)
        await fail(database, FULL.error(), is_change=True)
        await database.watch(answered())
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("The database's disk is full; free some space.")
    await database.watch(answered(), is_change=True)
    assert caplog.messages[1].startswith("The database is back after 4 s")


async def test_a_store_that_comes_and_goes_does_not_fill_the_log(
    database: Availability, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        await fail(database, UNREACHABLE.error())
        await database.watch(answered())
    assert len(caplog.messages) == 2
    # A loss that lasts is reported all the same.
    await fail(database, UNREACHABLE.error())
    clock.advance(int(QUIET_S))
    await fail(database, UNREACHABLE.error())
    assert len(caplog.messages) == 3


async def test_an_answer_to_what_was_asked_before_the_loss_does_not_end_it(
    database: Availability, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    may_answer = asyncio.Event()
    early = asyncio.create_task(database.watch(may_answer.wait()))
    await asyncio.sleep(0)
    clock.advance(1)
    await fail(database, UNREACHABLE.error())
    may_answer.set()
    await early
    assert len(caplog.messages) == 1


async def test_each_of_several_workers_has_its_own_lines(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    workers = [await start(), await start()]
    key = workers[0].new_key()
    for worker in workers:
        with away(worker):
            assert_problem(await worker.request("GET", "/v2/models", key), 503)
    assert sum("The database is away" in message for message in caplog.messages) == 2
