"""Webhooks when a quota is reached: delivered once, whoever is killed or away, and what an operator sees of them."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from auth.quota_webhooks import send_due
from auth.webhook_delivery import Endpoint
from storage.quotas import Quota
from storage.reservations import QuotaRequest
from storage.store import Store
from storage.usage import UsageRow
from testing.callers import BODY, Bursts, Key, run_callers
from testing.ports import free_port
from testing.servers import PROJECT, Server, inherited
from testing.waiting import avoid_the_months_end, wait_until
from tests.auth_commands import told
from tests.proxies import copied_with_certificate
from tests.raw_sql import RawSql
from tests.test_quotas import LIMITS
from tests.webhook_receiver import SECRET, Received, Receiver, receiving

TWO_WORKERS = "services.ImageClassifier.workers=2"


@pytest.fixture(autouse=True)
def in_one_month() -> None:
    avoid_the_months_end(180)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def server_of(tmp_path: Path, model_store: Path, receiver: Receiver, **settings: str) -> Server:
    told = {"CLASSIFIER_WEBHOOK_URL": receiver.url, "CLASSIFIER_WEBHOOK_SECRET": SECRET}
    return Server(tmp_path / "it", model_store, **told, **settings)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_owner_is_told_once_by_two_workers_although_the_receiver_was_down(
    request: pytest.FixtureRequest, tmp_path: Path, model_store: Path, receiver: Receiver, kind: str
) -> None:
    settings = {"BENTOML_CONFIG_OPTIONS": TWO_WORKERS}
    if kind == "postgresql":
        settings["CLASSIFIER_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    server = server_of(tmp_path, model_store, receiver, **settings)
    receiver.answers = [(503, {}), (500, {})]
    server.start()
    try:
        key = Key.of(server.create_key("a@example.org", "--limit", "1000000/day", "--quota", "40/month"))
        # All at the same moment, again and again: once is more than the quota. On a busy machine the second worker may
        # still be getting ready, and answer the first of them with 503.
        events = run_callers([server.url], [key], 64, 3, pause_s=Bursts(every_s=0.25))
        assert sum(event.status == 200 for event in events) == 40
        receiver.wait_for(lambda it: len(it.received) == 4)
        # Each was sent twice, since the first time was refused, with the same identifier and the same body.
        assert len({(one.identifier, one.body) for one in receiver.received}) == 2
        assert receiver.percents == [80, 100]
        wait_until(lambda: server.auth("webhooks").stdout == "All messages are delivered.\n", "all is delivered")
        time.sleep(2)
        assert (len(receiver.received), receiver.forged) == (4, 0)
    finally:
        server.end()
    log = server.log.read_text()
    assert log.count("was not delivered: the receiver answered") == 2
    assert [secret for secret in ("sesame", SECRET, "Traceback") if secret in log] == []


def test_a_server_that_is_killed_before_it_notes_the_delivery_sends_it_again(
    tmp_path: Path, model_store: Path, receiver: Receiver
) -> None:
    server, is_killed = server_of(tmp_path, model_store, receiver), threading.Event()

    def kill(_message: Received) -> None:
        server.kill()
        is_killed.set()

    receiver.before_answer = kill
    server.start()
    key = server.create_key("a@example.org", "--quota", "5/month", "--limit", "100/minute")["key"]
    with server.client(key) as client:
        for _ in range(4):
            assert client.post("/v1/classify", json=BODY).status_code == 200
    assert is_killed.wait(60)
    receiver.before_answer = None
    with RawSql(server.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        # As if the minute had passed for which the killed worker has the message.
        raw.change("UPDATE outbox SET due_us = due_us - 60000000")
    server.start()
    try:
        receiver.wait_for(lambda it: len(it.received) == 2)
        first, second = receiver.received
        assert (first.identifier, first.body) == (second.identifier, second.body)
    finally:
        server.end()


def test_a_receiver_that_hangs_holds_up_neither_a_classification_nor_a_stop(
    tmp_path: Path, model_store: Path, receiver: Receiver
) -> None:
    is_over = threading.Event()

    def hang(_message: Received) -> None:
        is_over.wait(100)

    receiver.before_answer = hang
    server = server_of(tmp_path, model_store, receiver)
    server.start()
    try:
        key = server.create_key("a@example.org", "--quota", "10/month", "--limit", "100/minute")["key"]
        with server.client(key) as client:
            for number in range(10):
                if number == 8:
                    receiver.wait_for(lambda it: it.percents == [80])
                assert client.post("/v1/classify", json=BODY).status_code == 200
        assert server.stop() == 0
        with RawSql(server.environment["CLASSIFIER_DATABASE_URL"]) as raw:
            waiting = raw.rows("SELECT delivered_us FROM outbox WHERE due_us IS NOT NULL")
        assert waiting == [(None,), (None,)]
    finally:
        is_over.set()
        server.end()
    assert "Traceback" not in server.log.read_text()


def test_an_operator_sees_what_failed_and_sends_it_again(tmp_path: Path, receiver: Receiver) -> None:
    server = server_of(tmp_path, tmp_path, receiver)
    made = server.create_key("a@example.org", "--quota", "5/month")
    assert told(server, "webhooks") == {"messages": []}
    store = Store(server.environment["CLASSIFIER_DATABASE_URL"], tells_owner=True)

    async def fail() -> None:
        at_us, quotas = store.now_us(), (Quota(5, "month"),)
        asked = QuotaRequest(made["user_id"], quotas, "req_1", 4, at_us, tells_owner=True)
        await store.hit(made["user_id"], LIMITS, 4, quota=asked)
        row = UsageRow("req_1", made["user_id"], made["key_id"], "/v2/classify", "POST", 200, 5.0, at_us, 4, 4)
        await store.record(row._replace(takes_quota=True))
        await send_due(store, Endpoint(receiver.url, (SECRET,)))

    receiver.answers = [(410, {}), (410, {})]
    asyncio.run(fail())
    [failed] = told(server, "webhooks")["messages"]
    assert failed | {"user_id": made["user_id"], "quota": "5/month", "percent": 80, "state": "failed"} == failed
    assert (failed["tries"], failed["next_try_at"], failed["failure"]) == (1, None, "the receiver answered 410")
    assert "80 % of 5/month" in server.auth("webhooks").stdout
    assert told(server, "webhooks", "--retry") == {"retried": 1}
    assert told(server, "webhooks")["messages"][0]["state"] == "waiting"
    asyncio.run(send_due(store, Endpoint(receiver.url, (SECRET,))))
    assert told(server, "webhooks", "--retry") == {"retried": 1}
    asyncio.run(send_due(store, Endpoint(receiver.url, (SECRET,))))
    assert told(server, "webhooks") == {"messages": []}
    assert [one.identifier for one in receiver.received] == [failed["id"]] * 3
    asyncio.run(store.close())


def test_what_failed_of_an_erased_user_is_forgotten(tmp_path: Path, receiver: Receiver) -> None:
    server = server_of(tmp_path, tmp_path, receiver)
    made = server.create_key("a@example.org", "--quota", "5/month")
    told(server, "erase", "a@example.org", "--yes")
    with RawSql(server.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        values = f"'quota.reached', 'quota_1', '{made['user_id']}', 0, 4, '{{}}', 0, 10, NULL"
        raw.change(
            f"INSERT INTO outbox (kind, identifier, user_id, period_s, value, payload, created_us, tries, due_us) "
            f"VALUES ({values})"
        )
    told(server, "create", "--email", "b@example.org")
    told(server, "erase", "b@example.org", "--yes")
    assert told(server, "webhooks") == {"messages": []}
    assert told(server, "webhooks", "--retry") == {"retried": 0}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_a_receiver_whose_certificate_is_not_trusted_gets_nothing(tmp_path: Path, receiver: Receiver) -> None:
    folder = copied_with_certificate(tmp_path / "nginx") / "tls"
    with receiving(certificate=folder) as secure:
        server = server_of(tmp_path, tmp_path, secure)
        server.create_key("a@example.org")
        refused = server.auth("webhooks", "test")
        assert refused.stderr == (
            "ERROR: The test message was not delivered: the receiver's certificate is not trusted.\n"
        )
        assert secure.received == []
        with mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(folder / "certificate.pem")}):
            assert told(server, "webhooks", "test")["delivered"] is True
        assert [one.message["type"] for one in secure.received] == ["test"]


def test_an_operator_sends_a_test_message(tmp_path: Path, receiver: Receiver) -> None:
    server = server_of(tmp_path, tmp_path, receiver)
    server.create_key("a@example.org")
    receiver.answers = [(204, {}), (302, {"location": "/elsewhere"})]
    assert told(server, "webhooks", "test")["delivered"] is True
    refused = server.auth("webhooks", "test")
    assert (refused.returncode, receiver.others) == (1, [])
    assert refused.stderr.startswith("ERROR: The test message was not delivered: the receiver answered 302, ")
    assert [one.message["type"] for one in receiver.received] == ["test", "test"]
    assert server.auth("webhooks", "test", "--retry").returncode == 2
    del server.environment["CLASSIFIER_WEBHOOK_URL"]
    assert "set CLASSIFIER_WEBHOOK" not in (refused := server.auth("webhooks", "test")).stdout
    assert (refused.returncode, "CLASSIFIER_WEBHOOK_URL is not set" in refused.stderr) == (1, True)


def test_the_program_of_the_page_receives_a_message(tmp_path: Path, receiver: Receiver) -> None:
    page = (PROJECT / "docs" / "charging.md").read_text("utf-8")
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    port = free_port()
    shown = subprocess.Popen(
        [sys.executable, "-c", program.replace("8000", str(port))],
        env=inherited() | {"WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        receiver.port = port
        server = server_of(tmp_path, tmp_path, receiver)
        server.create_key("a@example.org")
        give_up = time.monotonic() + 60
        while (sent := server.auth("webhooks", "test")).returncode != 0:
            assert time.monotonic() < give_up, sent.stderr
            time.sleep(0.1)
        assert shown.stdout is not None
        assert shown.stdout.readline().startswith("test {")
        server.environment["CLASSIFIER_WEBHOOK_SECRET"] = (
            "whsec_" + "bm90IHRoZSBzZWNyZXQgb2YgdGhlIHJlY2VpdmVyIGF0IGFsbA=="
        )
        assert "the receiver answered 400" in server.auth("webhooks", "test").stderr
    finally:
        shown.kill()
        shown.communicate()
