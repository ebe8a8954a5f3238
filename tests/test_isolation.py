"""Decoding in a process of its own: its limits, its end, and that it knows nothing it need not know."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from inference.isolated_decoder import IsolatedDecoder, IsolatedResult
from model.errors import NotAnImage, TooCostly, TooManyPixels
from model.images.decode import Decoded, decode
from model.recipe import Recipe
from testing.photographs import COFFEE, crops, encoded
from testing.waiting import PATIENCE_S, eventually
from tests.image_writers import ENDLESS_BMP

RECIPE = Recipe(256, 3, 224, 224, 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
MAX_PIXELS = 50_000_000


def run(act: Any) -> Any:
    async def acting() -> Any:
        decoder = IsolatedDecoder(RECIPE, MAX_PIXELS)
        try:
            return await act(decoder)
        finally:
            decoder.close()

    return asyncio.run(acting())


def decoded(data: bytes, cpu_s: float = 5.0, exact: bool = True) -> IsolatedResult:
    def act(decoder: IsolatedDecoder) -> Coroutine[Any, Any, IsolatedResult]:
        return decoder.decode(data, exact, cpu_s)

    result: IsolatedResult = run(act)
    return result


def children(decoder: IsolatedDecoder) -> list[psutil.Process]:
    assert decoder._process is not None
    return psutil.Process(decoder._process.pid).children()


def children_at_work(decoder: IsolatedDecoder) -> list[psutil.Process]:
    return children(decoder) if decoder._process is not None else []


def test_a_limit_of_very_few_pixels_refuses_only_what_is_larger() -> None:
    async def both() -> list[Any]:
        decoder = IsolatedDecoder(RECIPE, 10)
        try:
            return [
                (await decoder.decode(encoded(Image.new("RGB", size), "TIFF"), True, 5.0)).result
                for size in ((3, 3), (4, 3))
            ]
        finally:
            decoder.close()

    small, larger = asyncio.run(both())
    assert (small.width, small.height) == (3, 3)
    assert isinstance(larger, TooManyPixels)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_comes_out_is_what_a_thread_would_give(kind: str, exact: bool) -> None:
    file = encoded(crops(1)[0], kind)
    ours, theirs = decoded(file, exact=exact).result, decode(file, RECIPE, MAX_PIXELS, exact)
    assert isinstance(ours, Decoded)
    assert np.array_equal(ours.pixels, theirs.pixels)
    assert (ours.width, ours.height, ours.format) == (theirs.width, theirs.height, theirs.format)


def test_errors_come_out_as_they_were() -> None:
    assert isinstance(decoded(b"no image").result, NotAnImage)
    assert isinstance(decoded(encoded(Image.new("1", (10_000, 6_000)), "TIFF")).result, TooManyPixels)
    assert str(decoded(COFFEE.read_bytes()[:9000]).result).startswith("The image is damaged")


def test_what_takes_too_long_is_ended_at_its_processor_time() -> None:
    isolated = decoded(ENDLESS_BMP, cpu_s=0.3)
    assert isinstance(isolated.result, TooCostly)
    assert isolated.cpu_s == pytest.approx(0.3)


def test_what_takes_too_much_memory_is_refused() -> None:
    # A lone pixel on a screen for which an animation's decoder makes canvases of a gigabyte.
    screen = b"VP8X\x0a\x00\x00\x00\x02\x00\x00\x00" + (6999).to_bytes(3, "little") * 2
    frames = encoded(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    anim = b"ANIM\x06\x00\x00\x00" + bytes(6)
    frame = bytes(6) + bytes(6) + bytes(4) + frames
    body = b"WEBP" + screen + anim + b"ANMF" + len(frame).to_bytes(4, "little") + frame
    isolated = decoded(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert isinstance(isolated.result, TooCostly)


def test_who_goes_away_takes_the_process_along() -> None:
    async def act(decoder: IsolatedDecoder) -> None:
        asked = asyncio.create_task(decoder.decode(ENDLESS_BMP, exact=True, cpu_s=60.0))
        await eventually(lambda: children_at_work(decoder), "a process decodes")
        # By itself it would not end now, however long it is looked at.
        [child] = children(decoder)
        child.suspend()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await eventually(lambda: not children(decoder), "the process that decoded is gone")

    run(act)


@pytest.mark.parametrize("by", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGXCPU])
def test_what_breaks_the_decoder_is_refused(by: signal.Signals) -> None:
    async def act(decoder: IsolatedDecoder) -> None:
        asked = asyncio.create_task(decoder.decode(ENDLESS_BMP, exact=True, cpu_s=60.0))
        [child] = await eventually(lambda: children_at_work(decoder), "a process decodes")
        child.send_signal(by)
        assert isinstance((await asked).result, TooCostly)

    run(act)


@pytest.mark.parametrize("killed", ["the process that decodes", "the fork server"])
def test_what_the_system_kills_is_no_fault_of_the_image(killed: str) -> None:
    async def act(decoder: IsolatedDecoder) -> None:
        asked = asyncio.create_task(decoder.decode(ENDLESS_BMP, exact=True, cpu_s=60.0))
        [child] = await eventually(lambda: children_at_work(decoder), "a process decodes")
        assert decoder._process is not None
        (child if killed == "the process that decodes" else decoder._process).kill()
        with pytest.raises(ChildProcessError, match="its process was killed"):
            await asked
        assert isinstance((await decoder.decode(COFFEE.read_bytes(), True, 5.0)).result, Decoded)

    run(act)


def test_where_no_process_can_be_made_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python runs this file at each start.
    tmp_path.joinpath("sitecustomize.py").write_text("""
import errno, os
fork, left = os.fork, [errno.EAGAIN, errno.ENOMEM]
def few():
    if left:
        raise OSError(left.pop(), "too few")
    return fork()
os.fork = few
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def act(decoder: IsolatedDecoder) -> None:
        for _ in range(2):
            with pytest.raises(ChildProcessError):
                await decoder.decode(COFFEE.read_bytes(), True, 5.0)
        assert isinstance((await decoder.decode(COFFEE.read_bytes(), True, 5.0)).result, Decoded)

    run(act)


def test_who_decodes_for_long_keeps_no_other_waiting() -> None:
    async def act(decoder: IsolatedDecoder) -> None:
        first = asyncio.create_task(decoder.decode(ENDLESS_BMP, exact=True, cpu_s=0.5))
        [child] = await eventually(lambda: children_at_work(decoder), "a process decodes")
        child.suspend()
        later = asyncio.create_task(decoder.decode(ENDLESS_BMP, exact=True, cpu_s=60.0))
        await eventually(lambda: len(children_at_work(decoder)) == 2, "a second process decodes")
        [other] = [one for one in children_at_work(decoder) if one != child]
        other.suspend()
        child.resume()
        assert isinstance((await asyncio.wait_for(first, PATIENCE_S)).result, TooCostly)
        other.resume()
        await later

    run(act)


def test_several_are_decoded_at_a_time_and_one_that_is_ended_harms_no_other() -> None:
    photos = [encoded(photo, "TIFF") for photo in crops(6)]

    async def act(decoder: IsolatedDecoder) -> list[IsolatedResult]:
        asked = [decoder.decode(file, True, cpu_s) for file in photos for cpu_s in (5.0, 0.001)]
        return list(await asyncio.gather(*asked))

    results = run(act)
    assert [isinstance(one.result, Decoded) for one in results[::2]] == [True] * 6
    assert all(isinstance(one.result, (Decoded, TooCostly)) for one in results)


def test_when_it_dies_another_takes_its_place() -> None:
    async def act(decoder: IsolatedDecoder) -> None:
        first = await decoder.decode(COFFEE.read_bytes(), True, 5.0)
        assert decoder._process is not None
        decoder._process.kill()
        decoder._process.wait()
        second = await decoder.decode(COFFEE.read_bytes(), True, 5.0)
        assert isinstance(first.result, Decoded)
        assert isinstance(second.result, Decoded)

    run(act)


def test_it_is_given_no_secret_and_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSIFIER_DATABASE_URL", "postgresql://user:secret@host/database")

    async def act(decoder: IsolatedDecoder) -> int:
        await decoder.decode(COFFEE.read_bytes(), True, 5.0)
        assert decoder._process is not None
        pid = decoder._process.pid
        assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert decoder._control is not None
        decoder._control.shutdown(2)
        decoder._process.wait(PATIENCE_S)
        return pid

    pid = run(act)
    assert not psutil.pid_exists(pid)
