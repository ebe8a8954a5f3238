"""Classifies many images at a time: in threads, in order, and so that it can be stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Event
from typing import TypeVar

from classifier_client.core import Pace

S = TypeVar("S")
T = TypeVar("T")

# How many images for each request under way are taken in advance: a slow one then does not keep the others waiting.
AHEAD = 4
# How long a wait goes on after all others are stopped.
_LOOKS_EVERY_S = 0.2


class Stopped(Exception):
    """Nobody waits for the result any more."""


def in_order(outcome: Callable[[S], T], images: Iterable[S], concurrency: int, stopped: Event) -> Iterator[T]:
    """Return the outcomes of the images in their order, some images ahead; set the event when nobody wants more.

    Args:
        outcome: returns the outcome of one image; it runs in threads.
        images: the images, which are taken as they are needed.
        concurrency: how many threads there are.
        stopped: ends what waits.
    """
    left, waiting = iter(images), deque[Future[T]]()
    pool, is_awaited = ThreadPoolExecutor(concurrency, thread_name_prefix="classify"), True
    try:
        waiting.extend(pool.submit(outcome, image) for image in islice(left, concurrency * AHEAD))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(outcome, image) for image in islice(left, 1))
            yield done
    except KeyboardInterrupt:
        # Who presses Ctrl+C waits for no answer.
        is_awaited = False
        raise
    finally:
        stopped.set()
        pool.shutdown(wait=is_awaited, cancel_futures=True)


def wait(pace: Pace, seconds: float, stopped: Event | None) -> None:
    """Wait so long, or until the event is set.

    Raises:
        Stopped: the event is set.
    """
    if stopped is None:
        pace.sleep(seconds)
        return
    ends_at = pace.now() + seconds
    while (left := ends_at - pace.now()) > 0:
        if stopped.is_set():
            raise Stopped
        pace.sleep(min(left, _LOOKS_EVERY_S))


def check_concurrency(concurrency: int) -> None:
    """Check how many requests may be under way.

    Raises:
        ValueError: it is less than 1.
    """
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more.")
