"""Requests that are damaged somewhere, from the query to the pixels: each is answered, and none with a 500.

What is sent follows from the seed, so a failure comes again: `pytest "tests/fast/test_hostile_inputs.py::...[17]"`.
`make torture` sends a million in a thousand pieces, `make test` the beginning of the first.
"""

import itertools
import json
import os
import random

import pytest

from testing import colour_model
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.mutation import hostile

pytestmark = pytest.mark.anyio

IN_FULL = bool(os.environ.get("TORTURE"))
PIECE = 1_000 if IN_FULL else 300
SEEDS = range(1_000 if IN_FULL else 1)


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_damage_makes_an_error_of_ours(
    gateway: InProcessGateway, key: IssuedKey, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    statuses: set[int] = set()
    for number, (path, sent) in enumerate(itertools.islice(hostile(random.Random(seed), colour_model.NAME), PIECE)):
        answer = await gateway.request("POST", path, key, **sent)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (number, answer.text)
        if answer.status_code >= 400:
            assert_problem(answer, answer.status_code)
        elif answer.headers["content-type"] == "application/x-ndjson":
            assert all("index" in json.loads(line) for line in answer.text.splitlines())
        else:
            assert answer.json()
    assert statuses >= {200, 400, 415, 422}
    assert gateway.classifier.queue.waiting == 0
    assert len(gateway.usage_rows()) >= PIECE
    assert not [record for record in caplog.records if record.exc_info], "no traceback in the log"
