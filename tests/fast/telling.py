"""What the tests of webhooks share: a gateway whose owner wants to be told, and a receiver."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from auth.quota_webhooks import RETRIED_AFTER_S, send_due
from auth.webhook_delivery import Endpoint
from testing.clock import Clock
from testing.in_process import InProcessGateway
from tests.fast.conftest import Start
from tests.fast.test_quotas import BATCH, IMAGE, with_quota
from tests.webhook_receiver import SECRET, Receiver, receiving

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


async def reach(gateway: InProcessGateway, percent: int = 80) -> None:
    """Have a user reach a mark."""
    key = with_quota(gateway, "5/month")
    await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * (5 * percent // 100)})
