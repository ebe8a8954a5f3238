"""A small Stripe on this machine: it takes meter events, counts them by identifier, and fails as it is asked to."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs

from testing.waiting import LOOKS_EVERY_S

KEY = "sk_test_its_secret"
PATH = "/v1/billing/meter_events"
DAY_S = 86400


class Fault(NamedTuple):
    """How the server fails one request.

    Attributes:
        status: the status of its answer; 0: it closes the connection without an answer.
        counts: whether it counts the event all the same.
        code, message: what the answer says.
        retry_after: the header `Retry-After`.
    """

    status: int
    counts: bool = False
    code: str = ""
    message: str = "That failed."
    retry_after: str | None = None


LOST = Fault(0, counts=True)
CLOSED = Fault(0)
# It gets the request twice, and the answer to the second one arrives.
REPEATED = Fault(400, counts=True, message="An event already exists with identifier {identifier}.")
UNKNOWN_CUSTOMER = Fault(400, code="resource_missing", message="No such customer: 'cus_ada'")
ABOUT_NO_CUSTOMER = Fault(400, code="no_meter", message="No active meter has this event name.")
NO_ACCESS = Fault(401, message=f"Invalid API Key provided: {KEY}")


class Event(NamedTuple):
    """An event that was counted."""

    name: str
    identifier: str
    customer: str
    value: int
    timestamp: int


class StripeServer:
    """Takes meter events.

    Attributes:
        url: the address of the API.
        events: the events that it has counted.
        asked: the identifiers of all requests, the counted ones and the others.
        faults: how it fails the next requests, one each.
        delay_s: how long it waits before it answers.
        now_s: returns its time, Unix seconds.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.asked: list[str] = []
        self.faults: list[Fault] = []
        self.delay_s = 0.0
        self.now_s: Callable[[], float] = time.time
        self._known: dict[str, float] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(LOOKS_EVERY_S,), daemon=True).start()

    @property
    def images(self) -> int:
        """The images of all events that it has counted."""
        return sum(event.value for event in self.events)

    def images_of(self, customer: str) -> int:
        return sum(event.value for event in self.events if event.customer == customer)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, key: str, body: str) -> Fault:
        """Count an event as Stripe does, or fail; an answer of status 200 if it was counted."""
        sent = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        event = Event(
            sent["event_name"],
            sent["identifier"],
            sent["payload[stripe_customer_id]"],
            int(sent["payload[value]"]),
            int(sent["timestamp"]),
        )
        assert len(event.identifier) <= 100
        time.sleep(self.delay_s)
        with self._lock:
            self.asked.append(event.identifier)
            fault = self.faults.pop(0) if self.faults else Fault(200, counts=True)
            refused = self._refuse(key, event)
            if refused is not None and (fault.counts or fault.status == 200):
                return refused
            if fault.counts:
                self._known[event.identifier] = self.now_s()
                self.events.append(event)
        return fault

    def _refuse(self, key: str, event: Event) -> Fault | None:
        if key != KEY:
            return NO_ACCESS
        now_s = self.now_s()
        if not now_s - 35 * DAY_S <= event.timestamp <= now_s + 300:
            return Fault(400, code="timestamp_too_far", message="The timestamp is out of range.")
        # An identifier is known for 24 hours.
        if now_s - self._known.get(event.identifier, -DAY_S) < DAY_S:
            return Fault(400, message=f"An event already exists with identifier {event.identifier}.")
        return None


def _handler(stripe: StripeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer is one packet, for which a client does not wait.
        wbufsize = 65536

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            assert self.path == PATH
            fault = stripe.take(self.headers["Authorization"].removeprefix("Bearer "), body)
            self.close_connection = fault.status == 0
            if fault.status == 0:
                return
            message = fault.message.replace("{identifier}", stripe.asked[-1])
            error = {"type": "invalid_request_error", "code": fault.code, "message": message}
            answer = {"object": "billing.meter_event"} if fault.status == 200 else {"error": error}
            written = json.dumps(answer).encode()
            self.send_response(fault.status)
            if fault.retry_after is not None:
                self.send_header("Retry-After", fault.retry_after)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, *_arguments: object) -> None:
            """Write nothing to the output of the tests."""

    return Handler
