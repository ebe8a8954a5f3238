"""The commands with which an owner bills: `export` and `reconcile`, on a log that the gateway wrote."""

import asyncio
import csv
import io
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from auth.cli import export
from storage.database import Database
from storage.store import Store
from storage.usage import UsageRow
from storage.usage_export import ExportedRow
from testing.servers import PROJECT, Server
from testing.store_servers import Postgres
from testing.waiting import PATIENCE_S, wait_until
from tests.raw_sql import RawSql

DAY_US = 86_400_000_000
FIRST_US = 1_793_491_200_000_000  # 2026-11-01T00:00:00Z
FIELDS = [
    "time",
    "request_id",
    "user_id",
    "key_id",
    "endpoint",
    "method",
    "status",
    "response_ms",
    "images",
    "billable",
    "model",
    "revision",
    "plan",
]


@pytest.fixture(params=["sqlite", "postgresql"])
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    """The command line with a database of its own."""
    settings = {}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        settings = {"CLASSIFIER_DATABASE_URL": postgres.new_database()}
    return Server(tmp_path / "it", tmp_path, **settings)


@pytest.fixture
def key(operator: Server) -> dict[str, Any]:
    return operator.create_key("ada@example.org")


@pytest.fixture
def logged(operator: Server, key: dict[str, Any]) -> list[UsageRow]:
    """40 requests of two days, every fourth one an error; the other ones answered three images."""
    rows = [
        UsageRow(
            request_id=f"req_{number}",
            user_id=key["user_id"],
            key_id=key["key_id"],
            endpoint="/v2/classify/batch",
            method="POST",
            status=200 if number % 4 else 422,
            response_ms=12.5,
            at_us=FIRST_US + number * DAY_US // 20 + 1,
            images=3,
            billable=3 if number % 4 else 0,
            model="microsoft/resnet-18" if number % 4 else "",
            plan="pro",
        )
        for number in range(40)
    ]

    async def log() -> None:
        store = Store(operator.environment["CLASSIFIER_DATABASE_URL"])
        assert await asyncio.gather(*map(store.record, rows)) == [None] * len(rows)
        await store.close()

    asyncio.run(log())
    return rows


def exported(operator: Server, *options: str) -> str:
    done = operator.auth("export", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_row_is_exported_once(operator: Server, logged: list[UsageRow]) -> None:
    head, *rows = csv.reader(io.StringIO(exported(operator)))
    assert head == FIELDS
    assert [row[1] for row in rows] == [row.request_id for row in logged]
    first = dict(zip(head, rows[1], strict=True))
    assert (first["time"], first["status"], first["billable"]) == ("2026-11-01T01:12:00.000001Z", "200", "3")
    assert (first["model"], first["plan"]) == ("microsoft/resnet-18", "pro")
    lines = [json.loads(line) for line in exported(operator, "--format", "jsonl").splitlines()]
    assert [list(line) for line in lines] == [FIELDS] * 40
    assert sum(line["billable"] for line in lines) == sum(row.billable for row in logged) == 90


def test_each_format_writes_the_time_of_a_row_to_the_microsecond() -> None:
    times = [0, 1, 59_999_999, 3_599_999_999, 3_600_000_000, 951_868_799_999_999, 1_798_761_599_000_001]
    rows = [ExportedRow(at_us, "r", "u", "k", "/", "POST", 200, 1.5, 1, 1, 'a"\n', "", "") for at_us in times]
    for format_ in export.WRITERS:
        file = io.StringIO()
        export.writer(format_, file)(rows)
        if format_ == "csv":
            written = [row["time"] for row in csv.DictReader(io.StringIO(file.getvalue()))]
        else:
            written = [json.loads(line)["time"] for line in file.getvalue().splitlines()]
        assert all(time.endswith("Z") for time in written)
        read = [datetime.fromisoformat(time) - datetime(1970, 1, 1, tzinfo=UTC) for time in written]
        assert [since // timedelta(microseconds=1) for since in read] == times


def test_a_day_and_a_user_can_be_chosen(operator: Server, logged: list[UsageRow]) -> None:
    second = ("--from", "2026-11-02", "--to", "2026-11-03", "--format", "jsonl")
    lines = [json.loads(line) for line in exported(operator, *second).splitlines()]
    assert [line["request_id"] for line in lines] == [row.request_id for row in logged[20:]]
    operator.create_key("bob@example.org")
    assert exported(operator, "--user", "bob@example.org", "--format", "jsonl") == ""
    assert exported(operator, "--user", "ADA@example.org") == exported(operator)


def test_what_a_month_or_a_day_costs_is_told_apart_from_what_all_cost(
    operator: Server, logged: list[UsageRow], key: dict[str, Any]
) -> None:
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        raw.change("UPDATE usage_rollup SET cost_nanos = billable * 1500000")
        raw.change("UPDATE users SET currency = 'EUR'")
    second = ("usage", "ada@example.org", "--from", "2026-11-02", "--to", "2026-11-03")
    told = json.loads(operator.auth(*second, "--json").stdout)
    assert told["billed"] == {"billable_images": 90, "cost": {"amount": "0.135", "currency": "EUR"}}
    assert told["span"] == {"billable_images": 45, "cost": {"amount": "0.0675", "currency": "EUR"}}
    assert (told["from"], told["to"]) == ("2026-11-02T00:00:00+00:00", "2026-11-03T00:00:00+00:00")
    assert "2026-11-03T00:00:00+00:00: 45 images, for 0.0675 EUR." in operator.auth(*second).stdout
    of_all = operator.auth("usage", "ada@example.org").stdout
    assert ("90 images, for 0.135 EUR." in of_all, " to now" in of_all) == (True, False)


def test_an_event_is_that_of_cloudevents(operator: Server, logged: list[UsageRow], key: dict[str, Any]) -> None:
    event = json.loads(exported(operator, "--format", "cloudevents").splitlines()[1])
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": "req_1",
        "source": "/image-classifier",
        "type": "image-classifier.request.v1",
        "subject": key["user_id"],
        "time": "2026-11-01T01:12:00.000001Z",
        "datacontenttype": "application/json",
    }
    assert (data["billable"], data["endpoint"]) == (3, "/v2/classify/batch")


def test_rows_go_to_a_new_file(operator: Server, logged: list[UsageRow], tmp_path: Path) -> None:
    file = tmp_path / "november.csv"
    done = operator.auth("export", "--output", str(file), "--json")
    assert json.loads(done.stdout)["rows"] == len(logged)
    assert file.read_text() == exported(operator)
    again = operator.auth("export", "--output", str(file))
    assert (again.returncode, "exists" in again.stderr) == (1, True)
    assert operator.auth("export", "--output", "-").stdout == exported(operator)
    assert not Path("-").exists()
    for standard_output in ((), ("--output", "-")):
        assert operator.auth("export", "--json", *standard_output).returncode == 2
    assert operator.auth("export", "--user", "nobody@example.org").returncode == 1


def test_a_file_that_can_not_be_finished_is_not_left(postgres: Postgres, tmp_path: Path) -> None:
    """PostgreSQL, since the files of SQLite would fall under the same limit of the system."""
    operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_DATABASE_URL=postgres.new_database())
    operator.create_key("ada@example.org")
    file = tmp_path / "november.csv"
    command = f"ulimit -f 0; {sys.executable} -m auth export --output {file}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=PROJECT, env=operator.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "ERROR: The rows can't be written: File too large.\n")
    assert not file.exists()


def test_a_reader_that_has_enough_is_no_traceback(operator: Server, logged: list[UsageRow]) -> None:
    command = f"{sys.executable} -m auth export --format jsonl | true"
    done = subprocess.run(
        ["sh", "-c", command], cwd=PROJECT, env=operator.environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_log_that_the_service_wrote_agrees(operator: Server, logged: list[UsageRow]) -> None:
    done = operator.auth("reconcile", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"agrees": True, "users": 1})
    assert operator.auth("reconcile").stdout.startswith(
        "The usage log, its roll-up and the count for quotas agree, for 1 user."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "DELETE FROM usage_rollup WHERE width_s = -86400",
            "on 2026-11-01: 45 billable images in the roll-up of days, 0 in the count for quotas",
        ),
        (
            "UPDATE usage_rollup SET images = images + 1 WHERE width_s = 86400 AND status = 422",
            "on 2026-11-01: 60 images in the usage log, 61 in the roll-up of days",
        ),
        (
            "UPDATE usage_rollup SET requests = 7 WHERE width_s = 0 AND status = 422",
            "in all: 40 requests in the roll-up",
        ),
        ("DELETE FROM usage_rollup WHERE width_s = 86400 AND start_s > 1793491200", "on 2026-11-02: 20 requests"),
        (
            "UPDATE usage_rollup SET billable = billable + 1 WHERE width_s = 3600 AND start_s = 1793494800",
            "on 2026-11-01: 45 billable images in the roll-up of days, 46 in the roll-up of hours",
        ),
        (
            "DELETE FROM usage_rollup WHERE width_s = 60 AND status = 422",
            "on 2026-11-01: 20 requests in the roll-up of days, 15 in the roll-up of minutes",
        ),
        (
            "UPDATE usage_rollup SET cost_nanos = 1500000 WHERE width_s = 86400 AND status = 422",
            "on 2026-11-01: costs of 0.0015 in the roll-up of days, 0.00 in the roll-up of hours",
        ),
        (
            "UPDATE usage_rollup SET cost_nanos = 1 WHERE width_s = 0 AND status = 422",
            "in all: costs of 0.00 in the roll-up of days, 0.000000001 in the roll-up of all time",
        ),
        (
            "UPDATE usage_rollup SET admitted = 0 WHERE width_s = 0 AND status = 422",
            "in all: 40 admitted requests in the roll-up of days, 30 in the roll-up of all time",
        ),
    ],
    ids=["quotas", "images", "total", "a day", "hours", "minutes", "costs of a day", "costs in all", "admitted"],
)
def test_the_first_difference_is_named(
    operator: Server, logged: list[UsageRow], key: dict[str, Any], change: str, said: str
) -> None:
    database = Database(operator.environment["CLASSIFIER_DATABASE_URL"])
    database.change(lambda connection: connection.execute(text(change)))
    database.close()
    done = operator.auth("reconcile")
    assert done.returncode == 1
    assert f"User {key['user_id']} {said}" in done.stderr


def test_a_pruned_log_still_agrees(operator: Server, logged: list[UsageRow]) -> None:
    assert operator.auth("prune", "--older-than", "1s", "--yes").returncode == 0
    assert operator.auth("reconcile").returncode == 0


def test_what_was_not_pruned_is_compared_whatever_the_oldest_row_says(
    operator: Server, logged: list[UsageRow], key: dict[str, Any]
) -> None:
    """It is from a time in which the clock was ahead."""
    assert operator.auth("prune", "--older-than", "10000d", "--yes").returncode == 0
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        raw.change(
            "INSERT INTO usage_log"
            " (id, request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)"
            f" VALUES (-1, 'req', '{key['user_id']}', '{key['key_id']}', '/', 'GET', 200, 1, 4102444800000000, 0)"
        )
        raw.change("UPDATE usage_rollup SET images = 0 WHERE width_s = 86400")
    done = operator.auth("reconcile")
    assert (done.returncode, "on 2026-11-02: 60 images" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_export_that_is_ended_leaves_no_half_file(tmp_path: Path, number: signal.Signals) -> None:
    operator = Server(tmp_path / "it", tmp_path)
    made = operator.create_key("ada@example.org")
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        raw.change(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
            " INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)"
            f" SELECT 'req_' || i, '{made['user_id']}', '{made['key_id']}', '/v1/classify', 'POST', 200, 9.0, i, 1"
            " FROM n"
        )
    file = tmp_path / "all.csv"
    command = [sys.executable, "-m", "auth", "export", "--output", str(file)]
    with subprocess.Popen(command, cwd=PROJECT, env=operator.environment, stderr=subprocess.PIPE) as export:
        wait_until(lambda: any(path.stat().st_size > 0 for path in tmp_path.glob("*all.csv*")), "it writes")
        export.send_signal(number)
        _, said = export.communicate(timeout=PATIENCE_S)
    assert (export.returncode, said) == (-number if number == signal.SIGKILL else 128 + number, b"")
    # What is killed can remove nothing; it leaves a hidden file.
    assert number == signal.SIGKILL or not [*tmp_path.glob("*all.csv*")]
    assert not file.exists()
