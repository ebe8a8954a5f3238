"""The access log of a worker: lines as Python's logging writes them, those of one turn of the event loop at once."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
from bentoml._internal import log as bentoml_log

from runtime import access_lines
from runtime.access_lines import AccessLines
from runtime.logs import JsonLines
from web import access_log
from web.access_log import AccessLine

pytestmark = pytest.mark.anyio

LINES = [AccessLine("POST", "/v1/classify", 200, 12.3, "mine-1"), AccessLine("GET", "/v2/models/{name}", 404, 0.1, "ü")]
TRACED = logging.Formatter(bentoml_log.TRACED_LOG_FORMAT, bentoml_log.DATE_FORMAT)


class Stream(io.StringIO):
    """Counts how often it is written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.fixture(params=[TRACED, JsonLines()], ids=["text", "json"])
def handler(request: pytest.FixtureRequest) -> Iterator["logging.StreamHandler[Stream]"]:
    """A handler as BentoML gives it to a worker, the only one that the access log reaches."""
    made = logging.StreamHandler(Stream())
    made.setFormatter(request.param)
    made.addFilter(bentoml_log.TraceRecordFilter())
    logger = access_log.logger
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [made], False
    logger.setLevel(logging.INFO)
    yield made
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def _without_time(line: str) -> object:
    if line.startswith("{"):
        return {name: value for name, value in json.loads(line).items() if name != "time"}
    time, _, rest = line.partition(" ")
    assert len(time) == len("2026-11-29T14:01:19+0000")
    return rest


async def test_lines_look_as_those_of_logging_and_are_written_together(
    handler: "logging.StreamHandler[Stream]",
) -> None:
    for line in LINES:
        access_log.log(line)
    expected = handler.setStream(Stream())
    assert expected is not None
    lines = AccessLines(handler)
    for line in LINES:
        lines.add(line)
    await asyncio.sleep(0)
    written = handler.stream.getvalue()
    assert [*map(_without_time, written.splitlines())] == [*map(_without_time, expected.getvalue().splitlines())]
    assert written.endswith("\n")
    assert handler.stream.writes == 1, "one write for all lines of a turn of the event loop"


async def test_a_level_above_info_turns_the_lines_off(handler: "logging.StreamHandler[Stream]") -> None:
    access_log.logger.setLevel(logging.WARNING)
    AccessLines(handler).add(LINES[0])
    await asyncio.sleep(0)
    assert handler.stream.getvalue() == ""


async def test_a_stream_that_is_closed_fails_nobody(
    handler: "logging.StreamHandler[Stream]", capsys: pytest.CaptureFixture[str]
) -> None:
    lines = AccessLines(handler)
    handler.stream.close()
    lines.add(LINES[0])
    await asyncio.sleep(0)
    assert "I/O operation on closed file" in capsys.readouterr().err, "as Python's logging tells it"


def test_only_one_handler_is_replaced(
    handler: "logging.StreamHandler[Stream]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "write", access_log.log)
    access_log.logger.addHandler(logging.NullHandler())
    access_lines.use()
    assert access_log.write is access_log.log
    access_log.logger.handlers = [handler]
    access_lines.use()
    assert access_log.write is not access_log.log
