"""Webhooks to the owner when a user reaches 80 and 100 % of a quota: what is told, when, and how often it is tried."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial

import pytest

from auth.quota_webhooks import RETRIED_AFTER_S, keep_sending, send_due
from auth.webhook_delivery import Endpoint
from storage import plan_changes, users
from storage.plans import Plan
from storage.quota_messages import AT_ONCE
from storage.quotas import Quota
from storage.reservations import KEPT_S, QuotaRequest
from testing.clock import Clock
from testing.in_process import InProcessGateway
from tests.fast.conftest import Start
from tests.fast.test_quotas import BAD, BATCH, IMAGE, classify, with_quota
from tests.webhook_receiver import SECRET, Receiver, receiving

pytestmark = pytest.mark.anyio

ATTEMPTS = len(RETRIED_AFTER_S) + 1


@pytest.fixture
def clock() -> Clock:
    return Clock(int(datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp()) * 1_000_000)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def telling(start: Start, receiver: Receiver) -> InProcessGateway:
    """A gateway whose owner wants to be told."""
    return await start(webhook_url=receiver.url, webhook_secret=SECRET)


async def deliver(gateway: InProcessGateway, receiver: Receiver, timeout_s: float = 60) -> None:
    await send_due(gateway.store, Endpoint(receiver.url, (SECRET,), timeout_s))


async def test_the_owner_is_told_at_80_and_at_100_percent(telling: InProcessGateway, receiver: Receiver) -> None:
    key = with_quota(telling, "10/month")
    plan = Plan("pro", (), (), (), telling.clock.now_us)
    telling.store.database.change(partial(plan_changes.create, plan=plan, actor="me"))
    telling.store.database.change(
        partial(plan_changes.assign, user=key.user_id, name="pro", actor="me", drops_own=False)
    )
    for number in range(1, 11):
        assert (await classify(telling, key)).status_code == 200
        await deliver(telling, receiver)
        assert receiver.percents == ([] if number < 8 else [80] if number < 10 else [80, 100])
    assert (await classify(telling, key)).status_code == 429
    await deliver(telling, receiver)
    assert [one.message for one in receiver.received] == [
        {
            "type": "quota.reached",
            "timestamp": "2026-11-15T12:00:00+00:00",
            "data": {
                "user_id": key.user_id,
                "plan": "pro",
                "quota": "10/month",
                "percent": percent,
                "used": used,
                "limit": 10,
                "period_start": "2026-11-01T00:00:00+00:00",
                "period_end": "2026-12-01T00:00:00+00:00",
            },
        }
        for percent, used in ((80, 8), (100, 10))
    ]
    assert receiver.forged == 0


async def test_what_is_not_answered_is_not_told(telling: InProcessGateway, receiver: Receiver) -> None:
    """A batch of bad images reserves the quota up to its mark, and gives it back."""
    key = with_quota(telling, "10/month")
    for images in ([IMAGE] * 7, [BAD["image"]] * 3):
        await telling.request("POST", BATCH, key, json={"images": images})
    assert len(telling.outbox()) == 2
    await deliver(telling, receiver)
    assert (receiver.received, telling.outbox()) == ([], [])
    await classify(telling, key)
    await deliver(telling, receiver)
    assert receiver.percents == [80]


async def test_the_owner_is_told_although_a_request_before_it_died(
    telling: InProcessGateway, receiver: Receiver, clock: Clock
) -> None:
    key = with_quota(telling, "10/day")
    quotas = (Quota.parse("10/day"),)
    died = QuotaRequest(key.user_id, quotas, "req_died", 8, clock.now_us, tells_owner=True)
    assert (await telling.store.hit(key.user_id, (), 8, quota=died)).admitted
    for seconds in (0, 2, KEPT_S - 3):
        clock.advance(seconds=seconds)
        await deliver(telling, receiver)
        # It may be alive.
        assert (receiver.received, len(telling.outbox())) == ([], 1)
    clock.advance(seconds=5)
    await deliver(telling, receiver)
    assert (receiver.received, telling.outbox()) == ([], [])
    await telling.request("POST", BATCH, key, json={"images": [IMAGE] * 8})
    await deliver(telling, receiver)
    assert receiver.percents == [80]


async def test_each_quota_and_each_period_has_messages_of_its_own(
    telling: InProcessGateway, receiver: Receiver, clock: Clock
) -> None:
    key = with_quota(telling, "5/month", "4/day")
    for _ in range(4):
        await classify(telling, key)
    await deliver(telling, receiver)
    told = [(one.message["data"]["quota"], one.message["data"]["percent"]) for one in receiver.received]
    assert sorted(told) == [("4/day", 80), ("4/day", 100), ("5/month", 80)]
    clock.advance(seconds=31 * 86_400)
    for _ in range(4):
        await classify(telling, key)
    await deliver(telling, receiver)
    assert len(receiver.received) == len({one.identifier for one in receiver.received}) == 6


async def test_a_larger_quota_is_told_again_at_its_own_mark(start: Start, receiver: Receiver) -> None:
    async def with_quota_of(images: int) -> InProcessGateway:
        # A worker that does not know the key as it was before.
        gateway = await start(webhook_url=receiver.url, webhook_secret=SECRET)
        wanted = (Quota(images, "month"),)
        gateway.store.database.change(partial(users.set_quotas, name="caller@example.org", quotas=wanted))
        return gateway

    gateway = await start()
    key = gateway.new_key()
    gateway = await with_quota_of(5)
    await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * 5})
    await deliver(gateway, receiver)
    assert receiver.percents == [80, 100]
    gateway = await with_quota_of(10)
    await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * 2})
    await deliver(gateway, receiver)
    assert len(receiver.received) == 2
    await classify(gateway, key)
    await deliver(gateway, receiver)
    told = receiver.received[2].message["data"]
    assert (told["quota"], told["percent"], told["used"]) == ("10/month", 80, 8)
    # What is passed by making the quota smaller is not told: no request did it.
    gateway = await with_quota_of(4)
    assert (await classify(gateway, key)).status_code == 429
    await deliver(gateway, receiver)
    assert len(receiver.received) == 3


async def test_without_a_url_nothing_is_written(gateway: InProcessGateway) -> None:
    key = with_quota(gateway, "2/month")
    for _ in range(2):
        await classify(gateway, key)
    assert gateway.outbox() == []


async def test_far_from_a_mark_no_statement_is_added(telling: InProcessGateway) -> None:
    """Seen by SQLite itself: neither admission nor usage row touches the outbox."""
    key = with_quota(telling, "10/month")
    with telling.without_table("outbox"):
        for _ in range(7):
            assert (await classify(telling, key)).status_code == 200
        assert (await classify(telling, key)).status_code == 503
    for _ in range(3):
        assert (await classify(telling, key)).status_code == 200
    with telling.without_table("outbox"):
        assert (await classify(telling, key)).status_code == 429


async def reach(gateway: InProcessGateway, percent: int = 80) -> None:
    """Have a user reach a mark."""
    key = with_quota(gateway, "5/month")
    await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * (5 * percent // 100)})


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
    await wait_for(lambda: all(row["delivered_us"] for row in telling.outbox()))
    assert len({one.message["data"]["user_id"] for one in receiver.received}) == users
    assert len(receiver.received) == len(telling.outbox()) == users
    sending.cancel()


async def test_a_message_names_no_person(telling: InProcessGateway) -> None:
    await reach(telling)
    assert "@" not in json.dumps(telling.outbox())
