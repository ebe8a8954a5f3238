"""Limits the failed authentications of each client address, before a key is looked up.

Each worker counts in its memory. So a request without a valid key never causes a write to the database, and seldom a
look-up. A key that was valid recently is never counted or refused, even if others send wrong keys from the same
address. Any other key counts as a failure until its look-up finds it.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

from starlette.types import Scope

from auth.api_key import ApiKey
from auth.client_address import client_of
from auth.recent_keys import RecentlyValidKeys
from storage.errors import StorageUnavailable
from storage.key_record import KeyRecord
from storage.policy import Limit
from storage.store import Store

MOST_ADDRESSES = 10_000
# How often an address over its limit may still have one key looked up, since the key may be valid. One request waits
# for the next such look-up; those that arrive meanwhile are refused.
RETRY_EVERY_S = 1.0


class WrongKey(Exception):
    """The key is unknown, revoked or expired; or it was not looked up, since its address had too many failures.

    Attributes:
        wait_s: seconds until the address may fail again; 0 if it may now.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class FailureLimit:
    """Counts the failures of each address in a sliding window.

    Args:
        limit: the number of failures an address may have in a window of time.
        clock_s: returns the time, seconds.
    """

    def __init__(self, limit: Limit, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock_s = clock_s
        self._recent_keys = RecentlyValidKeys(clock_s)
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    async def check(self, scope: Scope, key: ApiKey, store: Store) -> KeyRecord:
        """Look up a key, and return what is stored of it.

        Raises:
            WrongKey: the key is not valid, or was not looked up.
            StorageUnavailable: the database does not answer; no failure was counted.
        """
        if self._recent_keys.find(key):
            record = await self._look_up_recent(scope, key, store)
        else:
            record = await self._look_up_other(scope, key, store)
        self._recent_keys.add(record)
        return record

    def recently_valid(self, key: ApiKey, within_s: float) -> KeyRecord | None:
        """Return the key as it was read within that time, seconds; None if it was not, or was not valid."""
        return self._recent_keys.find(key, within_s)

    def fail(self, scope: Scope) -> float:
        """Count a failure of the request's address, if its limit allows one more.

        Returns:
            0 if the failure was counted, else the seconds until the next one is allowed.
        """
        address, now_s = self._address(scope), self._clock_s()
        wait_s = address.wait_s(now_s)
        if wait_s == 0:
            address.count(now_s)
        return wait_s

    async def _look_up_recent(self, scope: Scope, key: ApiKey, store: Store) -> KeyRecord:
        """Look up a key that was valid recently: always, and at once."""
        record = await _find_live(key, store)
        if record is None:
            self._recent_keys.remove(key.key_id)
            raise WrongKey(self.fail(scope))
        return record

    async def _look_up_other(self, scope: Scope, key: ApiKey, store: Store) -> KeyRecord:
        """Look up any other key, as far as the limit of its address allows."""
        address = self._address(scope)
        while (wait_s := address.wait_s(self._clock_s())) == 0 and address.is_full():
            await address.next_outcome()
            if self._recent_keys.find(key):
                address.wake_one()
                return await self._look_up_recent(scope, key, store)
        if wait_s == 0:
            record = await address.count_until_found(_find_live(key, store), self._clock_s)
        else:
            retry_in_s = address.reserve_retry(self._clock_s())
            if retry_in_s is None:
                raise WrongKey(wait_s)
            await asyncio.sleep(retry_in_s)
            record = await _find_live(key, store)
        if record is None:
            raise WrongKey(wait_s)
        return record

    def _address(self, scope: Scope) -> "_Address":
        client = client_of(scope)
        address = self._addresses.setdefault(client, _Address(self.limit))
        self._addresses.move_to_end(client)
        if len(self._addresses) > MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        return address


async def _find_live(key: ApiKey, store: Store) -> KeyRecord | None:
    record = await store.find_key(key.key_id)
    # Callers must not be able to tell apart an unknown id, a wrong secret, a revoked key and an expired key.
    if record is None or not key.matches(record.secret_sha256) or not record.is_live(store.now_us()):
        return None
    return record


class _Address:
    """Counts the failures of one address. A look-up under way counts as a failure, too, until it finds its key.

    If look-ups under way use up the limit, further requests wait for their results: many valid keys at the same time
    are no failures.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._failed_s: deque[float] = deque()
        self._last_retry_s = float("-inf")
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next failure is allowed; 0 if it is allowed now."""
        while self._failed_s and self._failed_s[0] + self._limit.window_s <= now_s:
            self._failed_s.popleft()
        too_many = len(self._failed_s) - self._limit.quota
        return 0.0 if too_many < 0 else self._failed_s[too_many] + self._limit.window_s - now_s

    def is_full(self) -> bool:
        """Return whether failures and look-ups under way together use up the limit."""
        return self._under_way > 0 and len(self._failed_s) + self._under_way >= self._limit.quota

    def count(self, now_s: float) -> None:
        """Count a failure."""
        self._failed_s.append(now_s)

    def reserve_retry(self, now_s: float) -> float | None:
        """Reserve the next look-up over the limit.

        Returns:
            The seconds until that look-up; None if another request has reserved it.
        """
        retry_s = max(now_s, self._last_retry_s + RETRY_EVERY_S)
        if retry_s > now_s + RETRY_EVERY_S:
            return None
        self._last_retry_s = retry_s
        return retry_s - now_s

    async def count_until_found(
        self, look_up: Awaitable[KeyRecord | None], clock_s: Callable[[], float]
    ) -> KeyRecord | None:
        """Return what the look-up finds. It counts as a failure meanwhile, and afterwards if it finds nothing."""
        self._under_way += 1
        is_failure = True
        try:
            record = await look_up
            is_failure = record is None
        except StorageUnavailable as error:
            is_failure = False
            self._wake_all(error)
            raise
        finally:
            self._under_way -= 1
            if is_failure:
                self.count(clock_s())
            if self._under_way == 0 or len(self._failed_s) >= self._limit.quota:
                self._wake_all()
            elif not is_failure:
                self.wake_one()
        return record

    async def next_outcome(self) -> None:
        """Wait until a look-up under way has ended, so that the limit may allow another one.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        try:
            await woken
        except asyncio.CancelledError:
            # This request may have been woken already: wake another one in its place.
            self.wake_one()
            raise

    def wake_one(self) -> None:
        """Wake the next request that waits in `next_outcome`."""
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                return woken.set_result(None)

    def _wake_all(self, error: StorageUnavailable | None = None) -> None:
        waiting, self._waiting = self._waiting, deque()
        for woken in waiting:
            if woken.done():
                continue
            if error is None:
                woken.set_result(None)
            else:
                woken.set_exception(error)
