"""Webhooks to the owner when a user reaches 80 and 100 % of a quota: what is told, and when."""

from functools import partial

import pytest

from storage import plan_changes, users
from storage.plans import Plan
from storage.quotas import Quota
from storage.reservations import KEPT_S, QuotaRequest
from testing.clock import Clock
from testing.in_process import InProcessGateway
from tests.fast.conftest import Start
from tests.fast.telling import clock, deliver, receiver, telling
from tests.fast.test_quotas import BAD, BATCH, IMAGE, classify, with_quota
from tests.webhook_receiver import SECRET, Receiver

__all__ = ["clock", "receiver", "telling"]

pytestmark = pytest.mark.anyio


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
