"""The layers of the gateway, in the order in which `python -m benchmarks.gateway --layers` removes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A part of the service that can be removed.

    Attributes:
        name: its name in `BENCH_WITHOUT`.
        what: its description in the table.
    """

    name: str
    what: str


LIMIT = Layer("limit", "rate limit: hit on SQLite, headers")
USAGE_LOG = Layer("usage log", "usage log: row on SQLite, committed")
AUTHENTICATION = Layer("authentication", "authentication")
BOUNDS = Layer("bounds", "bounds on body, pace and time")
ENVELOPE = Layer("envelope", "envelope: ids, headers, access log")
HTTP = Layer("http", "HTTP: the project's bounds on uvicorn's protocol")
DECODE = Layer("decode", "decode: base64, JPEG, resize, in a thread")
RUNNER = Layer("runner", "runner: batcher and its thread, null model")
ANSWER = Layer("answer", "answer: queue, top 5, JSON, Server-Timing")
READING = Layer("reading", "reading: content type, JSON or options checked")

# Decoding is removed first: it takes most of the time, and its variation would hide that of all others. Then from the
# outermost layer to the innermost. An inner layer needs some results of outer ones: `stand_ins.py` provides them.
LAYERS = (DECODE, RUNNER, LIMIT, USAGE_LOG, AUTHENTICATION, BOUNDS, ENVELOPE, HTTP, ANSWER, READING)
AUTH_LAYERS = (LIMIT, USAGE_LOG, AUTHENTICATION)
