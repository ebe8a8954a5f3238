"""The one object through which the service uses storage: asynchronous, and without SQL."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import Histogram
from sqlalchemy import Connection, text

from storage import idempotency, keys, limits, rollup, usage
from storage.availability import Availability
from storage.clock import unix_us
from storage.database import Database
from storage.expiring_cache import ExpiringCache
from storage.group_commit import SECONDS
from storage.idempotency import MOST_PER_USER, Claim, KeptAnswer, Outcome
from storage.key_record import KeyRecord
from storage.keys import KEY_MEMORY_S
from storage.limits import HitRequest
from storage.policy import UNITS, Decision, Limit
from storage.reservations import QuotaRequest
from storage.rollup import Span
from storage.shared_reads import SharedReads
from storage.tally import Tally
from storage.usage import UsageRow, Withheld

T = TypeVar("T")

DECISION_CACHE_S = 1.0

if TYPE_CHECKING:
    from storage.hits_in_redis import HitsInRedis

usage_commit_seconds = Histogram(
    "classifier_ledger_seconds", "Time from the end of a request to the commit of its usage row.", buckets=SECONDS
)


class Store:
    """Keys, limits and the usage log, for one process.

    Every method raises `StorageUnavailable` if a store that it needs does not answer.

    Args:
        url: the URL of the database.
        redis_url: the URL of the Redis that counts hits; None: the database counts them.
        clock_us: returns the Unix time in microseconds.
        tells_owner: whether the owner of the service is told when a user reaches a mark of a quota.

    Attributes:
        database_clock: returns the Unix time in microseconds; None: use the clock of the database's server.
    """

    def __init__(
        self,
        url: str,
        redis_url: str | None = None,
        clock_us: Callable[[], int] = unix_us,
        tells_owner: bool = False,
    ) -> None:
        self.database = Database(url)
        self.now_us = clock_us
        self.tells_owner = tells_owner
        self._of_database = Availability("database", "The database")
        self._redis = _hits_in_redis(redis_url, self.database, self._of_database) if redis_url else None
        # Replicas' clocks differ. Replicas that share a server go by the server's clock.
        self.database_clock = None if self.database.has_server else clock_us
        self._limit_clock = None if redis_url else self.database_clock
        self._keys: ExpiringCache[KeyRecord] = ExpiringCache(KEY_MEMORY_S)
        self._key_reads: SharedReads[KeyRecord | None] = SharedReads(KEY_MEMORY_S)
        self._decisions: ExpiringCache[Decision] = ExpiringCache(DECISION_CACHE_S)

    async def find_key(self, key_id: str) -> KeyRecord | None:
        """Return the key of that public id as it was at most `KEY_MEMORY_S` ago; None if there is none."""
        cached = self._keys.get(key_id)
        if cached is not None:
            return cached
        shared = self._key_reads.join(key_id)
        if shared is not None:
            record = await self._of_database.watch(shared)
            # A key that was not found may have been created since that read began.
            if record is not None:
                return record
        return await self._of_database.watch(self._key_reads.begin(key_id, self._read_key(key_id)))

    async def _read_key(self, key_id: str) -> KeyRecord | None:
        read_at_s = time.monotonic()
        record = await self.database.read(lambda connection: keys.find(connection, key_id))
        if record is not None:
            self._keys.put(key_id, record, read_at_s)
        return record

    async def hit(
        self,
        user_id: str,
        user_limits: tuple[Limit, ...],
        cost: int = 1,
        kept_s: int = UNITS["day"],
        quota: QuotaRequest | None = None,
    ) -> Decision:
        """Admit or refuse `cost` classifications of the user. Admitted ones are counted and committed.

        Args:
            user_id: the user.
            user_limits: all limits of the user.
            cost: the number of images.
            kept_s: how long the user's hits are kept, seconds: `hits_kept_s` of the key.
            quota: what is asked of the user's quotas; None if the user has none. The images of an admitted request are
                reserved, until its usage row is recorded.
        """
        request = HitRequest(user_id, user_limits, cost, self._limit_clock, kept_s, quota)
        if self._redis is not None:
            decision = await self._redis.hit(request)
        else:
            decision = await self._of_database.watch(self.database.write(limits.hit, request), is_change=True)
        self._decisions.put(user_id, decision)
        return decision

    async def standing(
        self, user_id: str, user_limits: tuple[Limit, ...], cost: int = 0, quota: QuotaRequest | None = None
    ) -> Decision:
        """Return the user's standing, and whether `cost` classifications would be admitted. Count nothing."""
        request = HitRequest(user_id, user_limits, cost, self._limit_clock, quota=quota)
        if self._redis is not None:
            decision = await self._redis.test(request)
        else:
            query = partial(limits.test, request=request)
            decision = await self._of_database.watch(self.database.read(query))
        if decision.clock_ran_back:
            # Hits of the future are read as made now. If that were not written, they would never leave their window. A
            # hit without cost writes it.
            await self.hit(user_id, user_limits, cost=0)
        self._decisions.put(user_id, decision)
        return decision

    def cached_standing(self, user_id: str) -> Decision | None:
        """Return the user's last decision, at most `DECISION_CACHE_S` old; None if there is none."""
        return self._decisions.get(user_id)

    async def record(self, row: UsageRow) -> Withheld | None:
        """Add a row to the usage log, and settle the request's idempotency key and quotas, committed on return.

        Returns:
            Why the answer may not be sent; None if it may. See `usage.record`.
        """
        with usage_commit_seconds.time():
            written = self.database.write(usage.record, row)
            withheld: Withheld | None = await self._of_database.watch(written, is_change=True)
        return withheld

    async def claim(self, user_id: str, endpoint: str, key: str, request_id: str) -> tuple[Claim, Outcome | KeptAnswer]:
        """Take an idempotency key for a request; see `idempotency.claim`. Return the claim, and what became of it."""
        claim = Claim(user_id, endpoint, key, request_id, self.database_clock)
        write = self.database.write(idempotency.claim, claim)
        return claim, await self._of_database.watch(write, is_change=True)

    async def renew_claim(self, claim: Claim) -> None:
        """Start the lease of a claim again."""
        await self._of_database.watch(self.database.write(idempotency.renew, claim), is_change=True)

    async def forget_answers(self, most_per_user: int = MOST_PER_USER) -> int:
        """Delete some of the kept answers whose time is over; if there are none, some of users who have too many.

        Args:
            most_per_user: the most answers that are kept for one user.

        Returns:
            The number of deleted answers; 0 if none is left to delete.
        """
        watch, database = self._of_database.watch, self.database
        forget = partial(idempotency.forget_expired, clock_us=self.database_clock)
        forgotten = await watch(database.change_in_thread(forget), is_change=True)
        if forgotten:
            return forgotten
        excess = await watch(database.read(partial(idempotency.excess, most=most_per_user)))
        if not excess:
            return 0
        return await watch(database.change_in_thread(partial(idempotency.forget_oldest, excess=excess)), is_change=True)

    async def usage_totals(self, user_id: str) -> Tally:
        """Return the sums over all admitted classifications of the user."""
        query = partial(rollup.totals, user_id=user_id)
        return await self._of_database.watch(self.database.read(query))

    async def usage_buckets(self, user_id: str, span: Span) -> tuple[list[tuple[int, Tally]], int | None]:
        """Return the user's requests in buckets of time; see `rollup.buckets`."""
        query = partial(rollup.buckets, user_id=user_id, span=span)
        return await self._of_database.watch(self.database.read(query))

    async def usage_total(self, user_id: str, span: Span) -> tuple[int | None, int]:
        """Return the user's billable images and their cost; see `rollup.total`."""
        query = partial(rollup.total, user_id=user_id, span=span)
        return await self._of_database.watch(self.database.read(query))

    async def keys_by_state(self) -> dict[str, int]:
        """Return the number of keys that are `live`, `revoked` and `expired`."""
        query = partial(keys.count_by_state, now_us=self.now_us())
        return await self._of_database.watch(self.database.read(query))

    async def ask(self, query: Callable[[Connection], T]) -> T:
        """Run a rare query of users, keys or logs in a transaction of its own, and return its result."""
        return await self._of_database.watch(self.database.read(query))

    async def change(self, change: Callable[[Connection], T], *, changes_keys: bool = True) -> T:
        """Make a rare change in a transaction of its own, and return its result.

        Args:
            change: makes the change, given a connection in a write transaction.
            changes_keys: whether it changes what workers may know of a key. If so, this returns only when no worker
                uses the key as it was.

        Raises:
            Refused: the change was refused.
        """
        changed = await self._of_database.watch(self.database.change_in_thread(change), is_change=True)
        if changes_keys:
            await asyncio.sleep(KEY_MEMORY_S)
        return changed

    async def ping(self) -> None:
        """Check that all stores that a request needs answer. Ask all of them, even if one is away."""
        checks = [self._of_database.watch(self.database.read(lambda connection: connection.scalar(text("SELECT 1"))))]
        if self._redis is not None:
            checks.append(self._redis.ping())
        for outcome in await asyncio.gather(*checks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        """Commit the queued changes, and close every connection."""
        self.database.close()
        if self._redis is not None:
            await self._redis.close()


def _hits_in_redis(url: str, database: Database, of_database: Availability) -> "HitsInRedis":
    # Imported here, since most processes have no Redis.
    from storage.hits_in_redis import HitsInRedis

    return HitsInRedis(url, database, of_database)
