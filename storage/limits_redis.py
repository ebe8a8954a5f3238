"""The same exact sliding-window log in Redis, shared by replicas: one script for each request, on Redis' own clock.

A user's hits are a sorted set, scored by their time in microseconds. Scripts run alone, so that a request is counted
against all that were admitted before it, by any replica; no replica's clock takes part.
"""

from redis.asyncio import Redis
from redis.exceptions import RedisError

from storage import redis_faults
from storage.limits import FORGET_EVERY, FORGOTTEN_AT_ONCE, FORGOTTEN_FOR_EACH, MICROSECONDS, Hit
from storage.policy import Decision, Standing

ANSWERS_WITHIN_S = 2.0

# KEYS[1]: the user's hits. ARGV: cost, whether to count, the time to go by (0: Redis' own), how long hits are kept,
# then quota and window of each limit. All times are microseconds.
# Returns now, '1' where hits lie in the future and were left there, then for each limit: used, the oldest hit in the
# window or '', the hit in the way or ''. Times are strings, since a number returned from Lua is cut to an integer of
# its own size.
_SCRIPT = f"""
local hits, cost, counts, kept = KEYS[1], tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[4])
local now = tonumber(ARGV[3])
if now == 0 then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end
local newest = redis.call('ZREVRANGE', hits, 0, 0, 'WITHSCORES')
local number, ahead = 0, false
if newest[1] then
  number = tonumber(newest[1])
  ahead = tonumber(newest[2]) > now
end
local written = string.format('%.0f', now)
if ahead and counts then
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', hits, '(' .. written, '+inf')) do
    redis.call('ZADD', hits, written, one)
  end
  ahead = false
end
local function past(time)
  return time and string.format('%.0f', math.min(time, now)) or ''
end
local said, admitted = {{written, ahead and '1' or ''}}, true
local size = redis.call('ZCARD', hits)
for at = 5, #ARGV, 2 do
  local quota, window = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local since = string.format('%.0f', now - window)
  local used = redis.call('ZCOUNT', hits, since, '+inf')
  local oldest = redis.call('ZRANGEBYSCORE', hits, since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local blocking
  if used + cost > quota then
    admitted = false
    if cost <= quota then
      local rank = size - 1 - (quota - cost)
      blocking = redis.call('ZRANGE', hits, rank, rank, 'WITHSCORES')[2]
    end
  end
  kept = math.max(kept, window)
  table.insert(said, used)
  table.insert(said, past(oldest))
  table.insert(said, past(blocking))
end
if counts and admitted and cost > 0 then
  for one = 1, cost do
    redis.call('ZADD', hits, written, string.format('%016d', number + one))
  end
  if math.floor(number / {FORGET_EVERY}) ~= math.floor((number + cost) / {FORGET_EVERY}) then
    local old = redis.call('ZCOUNT', hits, '-inf', string.format('(%.0f', now - kept))
    local some = math.min(old, math.max({FORGOTTEN_AT_ONCE}, {FORGOTTEN_FOR_EACH} * cost))
    if some > 0 then
      redis.call('ZREMRANGEBYRANK', hits, 0, some - 1)
    end
  end
  redis.call('PEXPIRE', hits, math.ceil(kept / 1000) + 1000)
end
return said
"""


class RedisLimits:
    """The hits of all users, in one Redis."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=ANSWERS_WITHIN_S, socket_connect_timeout=ANSWERS_WITHIN_S, decode_responses=True
        )
        self._script = self._redis.register_script(_SCRIPT)

    async def hit(self, asked: Hit) -> Decision:
        """Admit the request where every limit allows it, and count it; a refusal counts nothing.

        Raises:
            StorageUnavailable: Redis does not answer; the request may have been counted, and must not be admitted.
        """
        decision = await self._ask(asked, counts=True)
        if decision.admitted:
            return Decision(tuple(standing.after(asked.cost) for standing in decision.standings))
        return decision

    async def test(self, asked: Hit) -> Decision:
        """Where the user stands, without counting anything."""
        return await self._ask(asked, counts=False)

    async def ping(self) -> None:
        """Return where Redis answers."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise redis_faults.of(error).error() from error

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    async def _ask(self, asked: Hit, counts: bool) -> Decision:
        written = [part for limit in asked.limits for part in (limit.quota, limit.window_s * MICROSECONDS)]
        clock_us = asked.clock_us() if asked.clock_us else 0
        arguments = [asked.cost, int(counts), clock_us, asked.kept_s * MICROSECONDS, *written]
        try:
            said = await self._script(keys=[f"classifier:hits:{asked.user_id}"], args=arguments)
        except (RedisError, OSError) as error:
            raise redis_faults.of(error).error() from error
        now_us, clock_ran_back, told = int(said[0]), said[1] == "1", said[2:]
        standings = []
        for number, limit in enumerate(asked.limits):
            used, oldest, blocking = told[3 * number : 3 * number + 3]
            standings.append(Standing.at(limit, now_us, int(used), _time(oldest), asked.cost, _time(blocking)))
        return Decision(tuple(standings), clock_ran_back)


def _time(text: str) -> int | None:
    return int(text) if text else None
