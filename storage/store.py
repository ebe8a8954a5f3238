"""What the gate asks of storage, in one object: asynchronous, and in the words of its callers."""

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import Counter, Histogram
from sqlalchemy import text

from storage import keys, limits, rollup, usage
from storage.clock import unix_us
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.group_commit import SECONDS
from storage.keys import KEY_MEMORY_S, KeyRecord
from storage.limits import HitRequest
from storage.memory import Memory
from storage.policy import UNITS, Decision, Limit
from storage.rollup import Span, Tally
from storage.shared_reads import SharedReads
from storage.usage import UsageRow

STANDING_MEMORY_S = 1.0
TOLD_EVERY_S = 10.0

logger = logging.getLogger("bentoml.classifier")
# When each fault was last told, on the monotonic clock.
_told_s: dict[str, float] = {}

if TYPE_CHECKING:
    from storage.limits_redis import RedisLimits

T = TypeVar("T")

unavailable_total = Counter(
    "classifier_storage_unavailable", "Requests that were refused because a store did not answer.", ["store"]
)
# From zero on: Prometheus sees no increase in a count whose first value is one.
for _store in ("database", "redis"):
    unavailable_total.labels(_store)
ledger_seconds = Histogram(
    "classifier_ledger_seconds", "From the end of a request to the commit of its row on the ledger.", buckets=SECONDS
)


class Store:
    """Keys, limits and the ledger, for one process.

    Every method raises `StorageUnavailable` where what it needs does not answer.

    Args:
        url: of the database.
        redis_url: where set, limits are counted there.
        clock_us: the time, Unix microseconds.
    """

    def __init__(self, url: str, redis_url: str | None = None, clock_us: Callable[[], int] = unix_us) -> None:
        self.database = Database(url)
        self.now_us = clock_us
        self._redis = _in_redis(redis_url) if redis_url else None
        # Replicas' clocks differ: where they share a server, limits go by its clock.
        self._limit_clock = None if redis_url or self.database.has_server else clock_us
        self._keys: Memory[KeyRecord] = Memory(KEY_MEMORY_S)
        self._key_reads: SharedReads[KeyRecord | None] = SharedReads(KEY_MEMORY_S)
        self._standings: Memory[Decision] = Memory(STANDING_MEMORY_S)

    async def find_key(self, key_id: str) -> KeyRecord | None:
        """The key of that public id, as it was at most `KEY_MEMORY_S` ago."""
        remembered = self._keys.get(key_id)
        if remembered is not None:
            return remembered
        joined = self._key_reads.join(key_id)
        # A key that was not found may have been made since that read began.
        if joined is not None and (record := await _counted("database", joined)) is not None:
            return record
        return await _counted("database", self._key_reads.begin(key_id, self._read_key(key_id)))

    async def _read_key(self, key_id: str) -> KeyRecord | None:
        read_at = time.monotonic()
        record = await self.database.read(lambda connection: keys.find(connection, key_id))
        if record is not None:
            self._keys.put(key_id, record, read_at)
        return record

    async def hit(
        self, user_id: str, of_user: tuple[Limit, ...], cost: int = 1, kept_s: int = UNITS["day"]
    ) -> Decision:
        """Admit or refuse `cost` classifications of the user; what is admitted is committed.

        `kept_s` is the key's `hits_kept_s`: how long the user's hits are kept.
        """
        asked = HitRequest(user_id, of_user, cost, self._limit_clock, kept_s)
        if self._redis is not None:
            decision = await _counted("redis", self._redis.hit(asked))
        else:
            decision = await _counted("database", self.database.write(limits.hit, asked))
        self._standings.put(user_id, decision)
        return decision

    async def standing(self, user_id: str, of_user: tuple[Limit, ...], cost: int = 0) -> Decision:
        """Where the user stands, and whether `cost` classifications would be admitted; nothing is counted."""
        asked = HitRequest(user_id, of_user, cost, self._limit_clock)
        if self._redis is not None:
            decision = await _counted("redis", self._redis.test(asked))
        else:
            question = partial(limits.test, request=asked)
            decision = await _counted("database", self.database.read(question))
        if decision.clock_ran_back:
            # Read as made now with every look, hits would never leave their window; a hit of no cost dates them anew.
            await self.hit(user_id, of_user, cost=0)
        self._standings.put(user_id, decision)
        return decision

    def standing_of_late(self, user_id: str) -> Decision | None:
        """Where the user stood when last asked, at most `STANDING_MEMORY_S` ago; None where that is not known."""
        return self._standings.get(user_id)

    async def record(self, row: UsageRow) -> None:
        """Add a row to the ledger; it is committed when this returns."""
        with ledger_seconds.time():
            await _counted("database", self.database.write(usage.record, row))

    async def usage_totals(self, user_id: str) -> Tally:
        """The user's own admitted classifications, all together."""
        return await _counted("database", self.database.read(lambda connection: rollup.totals(connection, user_id)))

    async def usage_buckets(self, user_id: str, span: Span) -> tuple[list[tuple[int, Tally]], int | None]:
        """The user's requests in buckets of time; see `rollup.buckets`."""
        question = partial(rollup.buckets, user_id=user_id, span=span)
        return await _counted("database", self.database.read(question))

    async def keys_by_state(self) -> dict[str, int]:
        """How many keys are live, revoked and expired."""
        question = partial(keys.count_by_state, now_us=self.now_us())
        return await _counted("database", self.database.read(question))

    async def ping(self) -> None:
        """Return where everything that a request needs answers."""
        await self.database.read(lambda connection: connection.execute(text("SELECT 1")))
        if self._redis is not None:
            await self._redis.ping()

    async def close(self) -> None:
        """Commit what waits, and let go of every connection."""
        self.database.close()
        if self._redis is not None:
            await self._redis.close()


def _in_redis(url: str) -> "RedisLimits":
    # Imported where it is used: most processes have no Redis.
    from storage.limits_redis import RedisLimits

    return RedisLimits(url)


def _tell(fault: str) -> None:
    """Say what is wrong with a store, now and then."""
    now_s = time.monotonic()
    if now_s > _told_s.get(fault, float("-inf")) + TOLD_EVERY_S:
        _told_s[fault] = now_s
        logger.warning("Requests are refused: %s", fault)


async def _counted(store: str, answer: Awaitable[T]) -> T:
    try:
        return await answer
    except StorageUnavailable as error:
        unavailable_total.labels(store).inc()
        _tell(str(error))
        raise
