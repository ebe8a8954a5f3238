"""Webhooks that are not delivered at once: how often they are tried, and which faults end that."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from auth.quota_webhooks import RETRIED_AFTER_S, keep_sending, send_due
from auth.webhook_delivery import Endpoint
from storage.quota_messages import AT_ONCE
from testing.clock import Clock
from testing.in_process import InProcessGateway
from tests.fast.telling import ATTEMPTS, clock, deliver, reach, receiver, telling
from tests.fast.test_quotas import BATCH, IMAGE, with_quota
from tests.webhook_receiver import SECRET, Receiver, receiving

__all__ = ["clock", "receiver", "telling"]

pytestmark = pytest.mark.anyio


async def test_a_message_is_sent_again_after_5_s_5_min_and_so_on_until_it_is_given_up(
    telling: InProcessGateway, receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "bentoml.classifier")
    await reach(telling)
    receiver.answers = [(status, {}) for status in (500, 404, 503, 400, 401, 429, 500, 500, 500, 500)]
    await deliver(telling, receiver)
    for number, seconds in enumerate(RETRIED_AFTER_S, 1):
        clock.advance(seconds=seconds - 1)
        await deliver(telling, receiver)
        assert len(receiver.received) == number
        clock.advance(seconds=1 + seconds // 10 + 1)
        await deliver(telling, receiver)
        assert len(receiver.received) == number + 1
    clock.advance(seconds=365 * 86_400)
    await deliver(telling, receiver)
    assert len(receiver.received) == ATTEMPTS == 10
    assert len({(one.identifier, one.body) for one in receiver.received}) == 1
    assert receiver.forged == 0
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == ATTEMPTS
    assert "the receiver answered 500; it is sent again in 5 s." in lines[0]
    assert "it is not sent again, unless by `python -m auth webhooks --retry`." in lines[-1]
    assert [secret for secret in ("sesame", SECRET, "127.0.0.1") if secret in caplog.text] == []


async def test_a_receiver_that_is_down_gets_the_message_when_it_is_back(
    telling: InProcessGateway, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await reach(telling, 100)
    with receiving() as gone:
        pass
    await deliver(telling, gone)
    assert caplog.text.count("the receiver could not be reached") == 2
    clock.advance(seconds=6)
    with receiving(gone.port) as back:
        await deliver(telling, back)
        assert back.percents == [80, 100]
        clock.advance(seconds=365 * 86_400)
        await deliver(telling, back)
        assert len(back.received) == 2


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_receiver_may_ask_to_wait_longer(
    telling: InProcessGateway, receiver: Receiver, clock: Clock, form: str
) -> None:
    await reach(telling)
    # An hour, and a little for the time that the test takes.
    date = format_datetime(datetime.fromtimestamp(datetime.now(UTC).timestamp() + 3660, UTC), usegmt=True)
    receiver.answers = [(503, {"retry-after": "3660" if form == "seconds" else date}), (503, {"retry-after": "soon"})]
    await deliver(telling, receiver)
    clock.advance(seconds=3600)
    await deliver(telling, receiver)
    assert len(receiver.received) == 1
    clock.advance(seconds=500)
    await deliver(telling, receiver)
    clock.advance(seconds=331)
    await deliver(telling, receiver)
    assert len(receiver.received) == 3


async def test_a_receiver_that_is_gone_gets_nothing_more(
    telling: InProcessGateway, receiver: Receiver, clock: Clock
) -> None:
    await reach(telling)
    receiver.answers = [(410, {"retry-after": "1"})]
    await deliver(telling, receiver)
    clock.advance(seconds=365 * 86_400)
    await deliver(telling, receiver)
    assert len(receiver.received) == 1
    [row] = telling.outbox()
    assert (row["due_us"], row["failure"]) == (None, "the receiver answered 410")


async def test_a_redirect_is_a_failure_and_not_followed(telling: InProcessGateway, receiver: Receiver) -> None:
    await reach(telling)
    receiver.answers = [(307, {"location": "/elsewhere"})]
    await deliver(telling, receiver)
    assert (len(receiver.received), receiver.others) == (1, [])
    assert "redirects are not followed" in telling.outbox()[0]["failure"]


async def test_a_receiver_that_answers_byte_by_byte_is_left(telling: InProcessGateway, clock: Clock) -> None:
    await reach(telling)
    over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 ")
        try:
            while not over.is_set():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            over.set()
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    try:
        endpoint = Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", (SECRET,), 0.5)
        await send_due(telling.store, endpoint)
        assert telling.outbox()[0]["failure"] == "the receiver did not answer within 0.5 s"
        await asyncio.wait_for(over.wait(), 60)
    finally:
        server.close()


async def test_each_secret_signs_while_a_receiver_changes_from_one_to_the_other(
    telling: InProcessGateway, receiver: Receiver
) -> None:
    await reach(telling)
    receiver.secret = "whsec_" + "cmVjZWl2ZXJzIG5ldyBzZWNyZXQsIGxvbmcgZW5vdWdo"
    await send_due(telling.store, Endpoint(receiver.url, (SECRET, receiver.secret)))
    assert (receiver.percents, receiver.forged) == ([80], 0)


async def test_the_worker_goes_on_after_an_outage_and_sends_more_than_it_claims_at_once(
    telling: InProcessGateway, receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait_for(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.02)

    sending = asyncio.create_task(keep_sending(telling.store, Endpoint(receiver.url, (SECRET,))))
    with telling.without_table("outbox"):
        await asyncio.sleep(0)
        clock.advance(seconds=2)
        await wait_for(lambda: "The database is away" in caplog.text)
    users = 2 * AT_ONCE + 1
    for number in range(users):
        key = with_quota(telling, "5/month", email=f"user{number}@example.org")
        await telling.request("POST", BATCH, key, json={"images": [IMAGE] * 4})
    clock.advance(seconds=2)
    await wait_for(lambda: all(row["delivered_us"] for row in telling.outbox()))
    assert len({one.message["data"]["user_id"] for one in receiver.received}) == users
    assert len(receiver.received) == len(telling.outbox()) == users
    sending.cancel()


async def test_a_message_names_no_person(telling: InProcessGateway) -> None:
    await reach(telling)
    assert "@" not in json.dumps(telling.outbox())
