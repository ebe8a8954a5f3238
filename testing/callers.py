"""Runs concurrent callers, each of which records what it sent and received."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from testing.history import Event
from testing.photographs import as_base64, crops, encoded
from testing.waiting import PATIENCE_S, eventually

BODY = {"image": as_base64(encoded(crops(1)[0].resize((64, 64)), "JPEG"))}


@dataclass(frozen=True)
class Key:
    """A user's key.

    Attributes:
        user: the user's id.
        key_id: the key's public id.
        key: the key in clear.
    """

    user: str
    key_id: str
    key: str

    @classmethod
    def of(cls, made: dict[str, Any]) -> "Key":
        """Read the JSON that `python -m auth create --json` printed."""
        return cls(made["user_id"], made["key_id"], made["key"])


@dataclass(frozen=True)
class Bursts:
    """How callers pause: all of them send their next requests at the same moments, which are so many seconds apart."""

    every_s: float

    def pause_s(self) -> float:
        """Return the time until the next of these moments, seconds."""
        return self.every_s - time.monotonic() % self.every_s


def run_callers(
    urls: Sequence[str],
    keys: Sequence[Key],
    callers: int,
    seconds: float,
    meanwhile: Callable[[], None] | None = None,
    pause_s: float | Bursts = 0.0,
    afterwards_s: float = 0.0,
) -> list[Event]:
    """Send classification requests from concurrent callers; each caller is given the next key and the next server.

    Args:
        urls: the URLs of the servers.
        keys: the keys that the callers send.
        callers: the number of concurrent callers.
        seconds: the shortest duration of the run, seconds.
        meanwhile: acts on the servers during the run. It runs in a thread, once each key got an answer.
        pause_s: the pause between two requests of a caller, seconds.
        afterwards_s: the shortest time, seconds, that callers continue after `meanwhile` has returned, since
            `meanwhile` may take longer than usual.

    Returns:
        One event for each request.
    """
    return asyncio.run(_run(urls, keys, callers, seconds, meanwhile, pause_s, afterwards_s))


async def _run(
    urls: Sequence[str],
    keys: Sequence[Key],
    callers: int,
    seconds: float,
    meanwhile: Callable[[], None] | None,
    pause_s: float | Bursts,
    afterwards_s: float,
) -> list[Event]:
    events: list[Event] = []
    ends = time.monotonic() + seconds
    is_over = meanwhile is None
    servers, whose = itertools.cycle(urls), itertools.cycle(keys)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(url: str, key: Key) -> None:
            while not is_over or time.monotonic() < ends:
                events.append(await _classify(session, url, key))
                pause = pause_s.pause_s() if isinstance(pause_s, Bursts) else pause_s
                await asyncio.sleep(pause if events[-1].status is not None else 0.05)

        async def interfere() -> None:
            nonlocal ends, is_over
            try:
                if meanwhile is not None:
                    await _until_all_are_answered(events, keys)
                    await asyncio.to_thread(meanwhile)
            finally:
                ends, is_over = max(ends, time.monotonic() + afterwards_s), True

        await asyncio.gather(interfere(), *(call(next(servers), next(whose)) for _ in range(callers)))
    return events


async def _until_all_are_answered(events: list[Event], keys: Sequence[Key]) -> None:
    """Wait until each key got a 200 or a 429. A fixed pause would be too short on a slow machine."""
    wanted = {key.key_id for key in keys}
    await eventually(
        lambda: wanted <= {event.key_id for event in events if event.status in (200, 429)},
        lambda: f"every key is answered; so far {Counter(event.status for event in events)}",
    )


async def _classify(session: aiohttp.ClientSession, url: str, key: Key) -> Event:
    sent = time.monotonic()
    try:
        headers = {"Authorization": f"Bearer {key.key}"}
        async with session.post(f"{url}/v1/classify", json=BODY, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json", text
            status, request_id = answer.status, answer.headers["X-Request-ID"]
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Event(key.user, key.key_id, sent, time.monotonic(), None, None)
    return Event(key.user, key.key_id, sent, time.monotonic(), status, request_id)
