"""Threads that work for an event loop: each caller gets its own result, and nothing is kept of what is done."""

import asyncio
import gc
import threading
import weakref

import pytest

from runtime.loop_threads import LoopThreads
from testing.waiting import PATIENCE_S, wait_until


class Image:
    """Something large."""


def test_each_caller_gets_its_own_result_or_error() -> None:
    threads = LoopThreads(2, "test")

    def halve(number: int) -> float:
        if number == 13:
            raise ValueError(number)
        return number / 2

    async def at_once() -> list[float | BaseException]:
        return await asyncio.gather(*(threads.run(halve, number) for number in range(30)), return_exceptions=True)

    results = asyncio.run(at_once())
    assert isinstance(results.pop(13), ValueError)
    assert results == [number / 2 for number in range(30) if number != 13]


def test_what_is_cancelled_before_its_turn_is_not_done() -> None:
    threads, may_end = LoopThreads(1, "test"), threading.Event()
    done: list[int] = []

    async def cancel_second() -> None:
        first = threads.run(may_end.wait, PATIENCE_S)
        second, third = threads.run(done.append, 2), threads.run(done.append, 3)
        second.cancel()
        may_end.set()
        assert await first
        await third

    asyncio.run(cancel_second())
    assert done == [3]


def test_a_caller_who_has_gone_disturbs_nobody() -> None:
    threads, may_end, begun = LoopThreads(1, "test"), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        may_end.wait(PATIENCE_S)

    async def leave() -> None:
        left = threads.run(wait)
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        left.cancel()
        may_end.set()
        assert await threads.run(lambda: "next") == "next"

    asyncio.run(leave())
    assert asyncio.run(_name_of_thread(threads)) == "test_0"


async def _name_of_thread(threads: LoopThreads) -> str:
    return await threads.run(lambda: threading.current_thread().name)


def test_a_waiting_thread_keeps_neither_work_nor_result() -> None:
    threads = LoopThreads(1, "test")

    async def work() -> list[weakref.ref[Image]]:
        given = Image()
        made = await threads.run(lambda _: Image(), given)
        references = [weakref.ref(given), weakref.ref(made)]
        with pytest.raises(ValueError, match="no image"):
            await threads.run(_refuse, given)
        return references

    references = asyncio.run(work())

    def are_gone() -> bool:
        gc.collect()
        return [reference() for reference in references] == [None, None]

    # The thread tells the result just before it waits again.
    wait_until(are_gone, "the thread waits and keeps nothing")


def _refuse(_image: Image) -> None:
    raise ValueError("no image")
