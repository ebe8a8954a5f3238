"""The exact sliding-window log in Redis, shared by replicas: one script call for each request, on the clock of Redis.

Redis runs one script at a time, so a request is counted after all that any replica admitted before it. No replica's
clock is used.
"""

from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from storage import redis_faults
from storage.clock import MICROSECONDS
from storage.limits import HitRequest
from storage.policy import Decision, Standing

TIMEOUT_S = 2.0
_NO_EVICTION = "noeviction"

# Its first comment describes its arguments and its answer.
_SCRIPT = Path(__file__).with_name("limits_redis.lua").read_text(encoding="utf-8")


class RedisLimits:
    """The hits of all users in one Redis.

    Args:
        url: the URL of Redis, as `storage.urls.redis` returns it.
    """

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, decode_responses=True
        )
        self._script = self._redis.register_script(_SCRIPT)

    async def hit(self, request: HitRequest) -> Decision:
        """Admit and count the request if all limits allow it. A refused request is not counted.

        Raises:
            StorageUnavailable: Redis does not answer. The request may have been counted, and must not be admitted.
        """
        decision = await self._run(request, counts=True)
        if decision.admitted:
            return decision.after(request.cost)
        return decision

    async def test(self, request: HitRequest) -> Decision:
        """Return the user's standing, and whether the request would be admitted. Write nothing.

        Raises:
            StorageUnavailable: Redis does not answer.
        """
        return await self._run(request, counts=False)

    async def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            StorageUnavailable: Redis does not answer.
        """
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise redis_faults.of(error).error() from error

    async def eviction_policy(self) -> str | None:
        """Return the policy by which a full Redis deletes hits; None if it deletes none, or its policy is unknown."""
        try:
            memory = await self._redis.info("memory")
        except (RedisError, OSError):
            return None
        policy = str(memory.get("maxmemory_policy", _NO_EVICTION))
        return policy if memory.get("maxmemory") and policy != _NO_EVICTION else None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _run(self, request: HitRequest, counts: bool) -> Decision:
        try:
            answer = await self._script(keys=[f"classifier:hits:{request.user_id}"], args=_arguments(request, counts))
        except (RedisError, OSError) as error:
            raise redis_faults.of(error).error() from error
        return _decision(request, answer)


def _arguments(request: HitRequest, counts: bool) -> list[int]:
    now_us = request.clock_us() if request.clock_us else 0
    arguments = [request.cost, int(counts), now_us, request.kept_s * MICROSECONDS]
    for limit in request.limits:
        arguments += [limit.quota, limit.window_s * MICROSECONDS]
    return arguments


def _decision(request: HitRequest, answer: list[Any]) -> Decision:
    now_us, clock_ran_back = int(answer[0]), answer[1] == "1"
    standings = []
    for index, limit in enumerate(request.limits):
        used, oldest, blocking = answer[2 + 3 * index : 5 + 3 * index]
        standing = Standing.at(limit, now_us, int(used), _time_us(oldest), request.cost, _time_us(blocking))
        standings.append(standing)
    return Decision(tuple(standings), clock_ran_back)


def _time_us(text: str) -> int | None:
    return int(text) if text else None
