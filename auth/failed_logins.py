"""Failed authentication, limited for each client address, before a key is looked up.

Kept in the memory of each worker: nothing that a stranger sends may cost a write, and little of it a look-up. A key
that was right lately is never counted or refused, whoever else sends wrong ones from its address; any other key counts
as wrong until it proves right.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

from starlette.types import Scope

from auth.api_key import ApiKey
from auth.client_address import client_of
from auth.right_keys import RightKeys
from storage.errors import StorageUnavailable
from storage.keys import KeyRecord
from storage.policy import Limit
from storage.store import Store

MOST_ADDRESSES = 10_000
# How often an address over its limit may have a key looked up all the same, since that could be right. One waits for
# its turn; who comes meanwhile is refused.
TRIES_EVERY_S = 1.0


class WrongKey(Exception):
    """The key is unknown, revoked or expired, or its address has sent too many of those for it to be looked up.

    Attributes:
        wait_s: seconds until the address may fail again; 0 where it may at once.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class FailureLimit:
    """A sliding window of each address's failures.

    Args:
        limit: how many failures an address may have in a window.
        clock_s: the time, seconds.
    """

    def __init__(self, limit: Limit, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock_s = clock_s
        self._right = RightKeys(clock_s)
        self._failures: OrderedDict[str, _Address] = OrderedDict()

    async def check(self, scope: Scope, key: ApiKey, store: Store) -> KeyRecord:
        """Returns what is stored of a key that is right.

        Raises:
            WrongKey: it is not, or could not be looked up.
            StorageUnavailable: the database does not answer; nothing was counted.
        """
        if self._right.know(key):
            record = await self._look_up_known(scope, key, store)
        else:
            record = await self._look_up_unknown(scope, key, store)
        self._right.remember(record.key_id, record.secret_sha256)
        return record

    def fail(self, scope: Scope) -> float:
        """Count a failure of the request's address; seconds until the next is allowed, 0 where this one was."""
        address, now_s = self._of(scope), self._clock_s()
        wait_s = address.wait_s(now_s)
        if wait_s == 0:
            address.count(now_s)
        return wait_s

    async def _look_up_known(self, scope: Scope, key: ApiKey, store: Store) -> KeyRecord:
        record = await _live(key, store)
        if record is None:
            self._right.forget(key.key_id)
            raise WrongKey(self.fail(scope))
        return record

    async def _look_up_unknown(self, scope: Scope, key: ApiKey, store: Store) -> KeyRecord:
        address = self._of(scope)
        while (wait_s := address.wait_s(self._clock_s())) == 0 and address.is_full():
            await address.next_outcome()
            if self._right.know(key):
                address.wake_one()
                return await self._look_up_known(scope, key, store)
        if wait_s == 0:
            record = await address.count_until_right(_live(key, store), self._clock_s)
        else:
            turn_s = address.turn_s(self._clock_s())
            if turn_s is None:
                raise WrongKey(wait_s)
            await asyncio.sleep(turn_s)
            record = await _live(key, store)
        if record is None:
            raise WrongKey(wait_s)
        return record

    def _of(self, scope: Scope) -> "_Address":
        name = client_of(scope)
        address = self._failures.setdefault(name, _Address(self.limit))
        self._failures.move_to_end(name)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        return address


async def _live(key: ApiKey, store: Store) -> KeyRecord | None:
    record = await store.find_key(key.key_id)
    # An unknown id, a wrong secret, a revoked and an expired key look the same from outside.
    if record is None or not key.matches(record.secret_sha256) or not record.is_live(store.now_us()):
        return None
    return record


class _Address:
    """The failures of one address, and the look-ups under way, each of which counts as one until it finds its key.

    Who finds every place taken by look-ups waits for what comes of them: many right keys at once are no failures.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._failed_s: deque[float] = deque()
        self._tried_s = float("-inf")
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next failure is allowed; 0 where it is now."""
        while self._failed_s and self._failed_s[0] + self._limit.window_s <= now_s:
            self._failed_s.popleft()
        too_many = len(self._failed_s) - self._limit.quota
        return 0.0 if too_many < 0 else self._failed_s[too_many] + self._limit.window_s - now_s

    def is_full(self) -> bool:
        """Whether look-ups that may become failures take the last places."""
        return self._under_way > 0 and len(self._failed_s) + self._under_way >= self._limit.quota

    def count(self, now_s: float) -> None:
        """Count a failure."""
        self._failed_s.append(now_s)

    def turn_s(self, now_s: float) -> float | None:
        """Seconds until a key may be looked up over the limit; None: another waits for that turn."""
        turn_s = max(now_s, self._tried_s + TRIES_EVERY_S)
        if turn_s > now_s + TRIES_EVERY_S:
            return None
        self._tried_s = turn_s
        return turn_s - now_s

    async def count_until_right(
        self, look_up: Awaitable[KeyRecord | None], clock_s: Callable[[], float]
    ) -> KeyRecord | None:
        """What the look-up finds; it takes a place meanwhile, and for a window where it finds nothing."""
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
        """Wait until a look-up that is under way may have left room, or has failed for good.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        try:
            await woken
        except asyncio.CancelledError:
            # Another takes the place instead.
            self.wake_one()
            raise

    def wake_one(self) -> None:
        """Have the next that waits look again."""
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
