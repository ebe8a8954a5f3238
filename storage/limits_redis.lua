-- Admits or refuses one request by the exact sliding-window log of its user, or only reads the log.
--
-- KEYS[1]  the user's hits: a sorted set, each member scored by its time. Members are the hits' numbers, padded to
--          16 digits, so that hits of the same time stay in order.
-- ARGV[1]  cost: the number of images
-- ARGV[2]  '1': admit and count the request; '0': only read
-- ARGV[3]  the time; 0: use the clock of Redis
-- ARGV[4]  the shortest time for which hits are kept
-- ARGV[5], ARGV[6], ...  quota and window of each limit
--
-- Returns the time, '1' if hits lie in the future and stayed there (else ''), then for each limit: the number of hits
-- in the window, the time of the oldest of them (or ''), and the time of the hit that must leave the window before the
-- request fits (or '').
--
-- All times are microseconds. Times are returned as strings, since Redis converts a Lua number to an integer, and are
-- passed to commands as strings of digits, since Lua would write a number of this size with an exponent and fewer digits.

local hits = KEYS[1]
local cost = tonumber(ARGV[1])
local counts = ARGV[2] == '1'
local now = tonumber(ARGV[3])
local kept = tonumber(ARGV[4])
local FIRST_LIMIT = 5
-- As in limits.py.
local DELETE_EVERY, DELETED_PER_HIT = 16, 4

local function digits(time)
  return string.format('%.0f', time)
end

if now == 0 then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end
local now_digits = digits(now)

-- A hit in the future counts as made now. Where the request is counted, such hits are set to now for good.
local newest_number, clock_ran_back = 0, false
local newest = redis.call('ZREVRANGE', hits, 0, 0, 'WITHSCORES')
if newest[1] then
  newest_number = tonumber(newest[1])
  clock_ran_back = tonumber(newest[2]) > now
end
if clock_ran_back and counts then
  for _, number in ipairs(redis.call('ZRANGEBYSCORE', hits, '(' .. now_digits, '+inf')) do
    redis.call('ZADD', hits, now_digits, number)
  end
  clock_ran_back = false
end

local function past(time)
  if not time then
    return ''
  end
  return digits(math.min(time, now))
end

-- Count the hits in each window.
local answer = {now_digits, clock_ran_back and '1' or ''}
local admitted = true
local size = redis.call('ZCARD', hits)
for position = FIRST_LIMIT, #ARGV, 2 do
  local quota, window = tonumber(ARGV[position]), tonumber(ARGV[position + 1])
  local since = digits(now - window)
  local used = redis.call('ZCOUNT', hits, since, '+inf')
  local oldest = redis.call('ZRANGEBYSCORE', hits, since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local blocking
  if used + cost > quota then
    admitted = false
    if cost <= quota then
      -- The request fits beside the newest `quota - cost` hits. The hit before those is the last that must leave.
      local rank = size - 1 - (quota - cost)
      blocking = redis.call('ZRANGE', hits, rank, rank, 'WITHSCORES')[2]
    end
  end
  kept = math.max(kept, window)
  table.insert(answer, used)
  table.insert(answer, past(oldest))
  table.insert(answer, past(blocking))
end

if counts and admitted and cost > 0 then
  for number = newest_number + 1, newest_number + cost do
    redis.call('ZADD', hits, now_digits, string.format('%016d', number))
  end
  -- Expired hits are deleted in small pieces, so that no request waits for long.
  if math.floor(newest_number / DELETE_EVERY) ~= math.floor((newest_number + cost) / DELETE_EVERY) then
    local expired = redis.call('ZCOUNT', hits, '-inf', '(' .. digits(now - kept))
    local deleted = math.min(expired, DELETED_PER_HIT * math.max(DELETE_EVERY, cost))
    if deleted > 0 then
      redis.call('ZREMRANGEBYRANK', hits, 0, deleted - 1)
    end
  end
  -- The whole set expires one second after its newest hit need not be kept any longer.
  redis.call('PEXPIRE', hits, math.ceil(kept / 1000) + 1000)
end

return answer
