"""What the tests of `/v2/admin` share: an operator, and the answers to its requests."""

from typing import Any

import pytest

from auth.identity import SCOPES
from testing.in_process import InProcessGateway, IssuedKey

READ = "/v2/models"
USERS, KEYS, PLANS = "/v2/admin/users", "/v2/admin/keys", "/v2/admin/plans"


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers remember no key, so that a change is in force at once."""
    monkeypatch.setattr("storage.store.KEY_MEMORY_S", 0.0)


@pytest.fixture
def admin(gateway: InProcessGateway) -> IssuedKey:
    """The one key with every scope."""
    return gateway.new_key(email="admin@example.org", scopes=frozenset(SCOPES))


async def created(gateway: InProcessGateway, admin: IssuedKey, **order: Any) -> IssuedKey:
    answer = await gateway.request("POST", KEYS, admin, json=order)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"{KEYS}/{made['key_id']}"
    return IssuedKey(made["key"], made["key_id"], made["user_id"])


async def works(gateway: InProcessGateway, key: IssuedKey) -> bool:
    return (await gateway.request("GET", READ, key)).status_code == 200


def changes(gateway: InProcessGateway) -> list[tuple[str, str | None]]:
    """What the audit log has: each action, and whom or what it is about."""
    return [(entry["action"], entry["key_id"] or entry["user_id"]) for entry in gateway.audit_log()]
