"""Counts hits in Redis, and quotas in the database: only there can a usage row replace a reservation."""

import logging
from functools import partial

from storage import reservations
from storage.availability import Availability
from storage.database import Database
from storage.limits import HitRequest
from storage.limits_redis import RedisLimits
from storage.policy import Decision

_EVICTS = (
    "Redis deletes hits when it is full (maxmemory-policy %s), so users may then exceed their limits; "
    "set it to noeviction."
)

logger = logging.getLogger("bentoml.classifier")


class HitsInRedis:
    """The hits of all users, where Redis counts them.

    Every method but `close` raises `StorageUnavailable` if a store that it needs does not answer.

    Args:
        url: the URL of Redis.
        database: has the quotas.
        of_database: notes whether the database answers.
    """

    def __init__(self, url: str, database: Database, of_database: Availability) -> None:
        self._limits = RedisLimits(url)
        self._database = database
        self._of_database = of_database
        self._of_redis = Availability("redis", "Redis")
        self._is_policy_known = False

    async def hit(self, request: HitRequest) -> Decision:
        """Admit and count the request if all limits and quotas allow it. A refused request is not counted."""
        if request.quota is None:
            return await self._of_redis.watch(self._limits.hit(request), is_change=True)
        # A request that a limit refuses should not reserve images that another one could have.
        decision = await self.test(request)
        if not decision.admitted:
            return decision
        taken = self._database.write(reservations.take, request.quota)
        quotas = await self._of_database.watch(taken, is_change=True)
        if any(standing.wait_s > 0 for standing in quotas):
            return decision._replace(quotas=quotas)
        decision = await self._of_redis.watch(self._limits.hit(request), is_change=True)
        return decision._replace(quotas=quotas)

    async def test(self, request: HitRequest) -> Decision:
        """Return the user's standing, and whether the request would be admitted. Write nothing."""
        decision = await self._of_redis.watch(self._limits.test(request))
        if request.quota is None:
            return decision
        query = partial(reservations.test, request=request.quota)
        return decision._replace(quotas=await self._of_database.watch(self._database.read(query)))

    async def ping(self) -> None:
        """Check that Redis answers. Warn once if it deletes hits when it is full, since limits then admit too much."""
        await self._of_redis.watch(self._limits.ping())
        if not self._is_policy_known:
            self._is_policy_known = True
            policy = await self._limits.eviction_policy()
            if policy is not None:
                logger.warning(_EVICTS, policy)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._limits.close()
