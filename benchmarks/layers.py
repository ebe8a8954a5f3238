"""The layers of the gateway, in the order in which `gateway --layers` takes them away."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """What can be taken away from the service.

    Attributes:
        name: as `BENCH_WITHOUT` names it.
        what: as the table describes it.
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

# Decoding goes first: it takes most, and its spread would lie over all others. Then from the outside in, as each relies
# on what stands further out; what others rely on has a stand-in.
LAYERS = (DECODE, RUNNER, LIMIT, USAGE_LOG, AUTHENTICATION, BOUNDS, ENVELOPE, HTTP, ANSWER, READING)
AUTH_LAYERS = (LIMIT, USAGE_LOG, AUTHENTICATION)
