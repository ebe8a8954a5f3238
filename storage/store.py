"""What the gate asks of storage, in one object: asynchronous, and in the words of its callers."""

import time
from collections.abc import Callable

from sqlalchemy import text

from storage import keys, limits, usage
from storage.database import Database
from storage.keys import KeyRecord
from storage.policy import Decision, Limit
from storage.usage import UsageRow, UsageSummary

# How long a worker may go by what it read of a key: the longest time for which a revoked key still opens anything.
KEY_MEMORY_S = 0.5
MOST_KEYS_REMEMBERED = 10_000


def unix_us() -> int:
    """The time, Unix microseconds."""
    return time.time_ns() // 1000


class Store:
    """Keys, limits and the ledger of one database, for one process.

    Every method raises `StorageUnavailable` where the database does not answer.
    """

    def __init__(self, url: str, clock_us: Callable[[], int] = unix_us) -> None:
        self.database = Database(url)
        self.now_us = clock_us
        self._known: dict[str, tuple[float, KeyRecord]] = {}

    async def find_key(self, key_id: str) -> KeyRecord | None:
        """The key of that public id, as it was at most `KEY_MEMORY_S` ago."""
        read_at = time.monotonic()
        remembered = self._known.get(key_id)
        if remembered is not None and read_at - remembered[0] < KEY_MEMORY_S:
            return remembered[1]
        record = await self.database.read(lambda connection: keys.find(connection, key_id))
        if record is None:
            self._known.pop(key_id, None)
            return None
        if len(self._known) >= MOST_KEYS_REMEMBERED:
            self._known.clear()
        self._known[key_id] = (read_at, record)
        return record

    async def hit(self, user_id: str, of_user: tuple[Limit, ...], cost: int = 1) -> Decision:
        """Admit or refuse `cost` classifications of the user; what is admitted is committed."""
        # The clock is read under the lock, so that the order of the hits is the order of their times.
        return await self.database.write(
            lambda connection: limits.hit(connection, user_id, of_user, self.now_us(), cost)
        )

    async def standing(self, user_id: str, of_user: tuple[Limit, ...]) -> Decision:
        """Where the user stands, at no cost."""
        return await self.database.read(lambda connection: limits.test(connection, user_id, of_user, self.now_us()))

    async def record(self, row: UsageRow) -> None:
        """Add a row to the ledger; it is committed when this returns."""
        await self.database.write(lambda connection: usage.record(connection, row))

    async def usage_summary(self, user_id: str) -> UsageSummary:
        """The user's own admitted classifications, all together."""
        return await self.database.read(lambda connection: usage.summary(connection, user_id))

    async def ping(self) -> None:
        """Return where the database answers."""
        await self.database.read(lambda connection: connection.execute(text("SELECT 1")))

    def close(self) -> None:
        """Commit what waits, and let go of the database."""
        self.database.close()
