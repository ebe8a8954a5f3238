"""A server that hostile images are sent to, one after the other, and that is measured at each."""

import contextlib
import http.client
import itertools

from PIL import Image

from testing import server_meter
from testing.photographs import crops, encoded
from testing.server_meter import IdleUsage, Meter
from testing.servers import Server
from testing.waiting import PATIENCE_S, wait_until

# The contract's bound, in processor time.
AT_REST_WITHIN_S = 1.0
SMALL = encoded(Image.new("RGB", (64, 64), "teal"), "JPEG")
ANY_IMAGE = "application/octet-stream"

_numbers = itertools.count(1)


class Target:
    """A server that is at rest whenever it is asked for, if need be because it was started anew."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.server.start()
        self.key = self.new_key()
        self._at_rest = self._warmed_up()
        self._was_left_at_rest = False

    def new_key(self) -> str:
        made = self.server.create_key(f"hostile{next(_numbers)}@example.org", "--limit", "1000000/day")
        return str(made["key"])

    def becomes_idle(self) -> bool:
        """Whether the server is at rest as soon as it has to be."""
        self._was_left_at_rest = server_meter.becomes_idle_within(self.server.pid, AT_REST_WITHIN_S)
        return self._was_left_at_rest

    def rested(self) -> "Target":
        if self._was_left_at_rest:
            return self
        if not (server_meter.becomes_idle_within(self.server.pid, 60) and self._answers()):
            self.server.kill()
            self.server.start()
            self._at_rest = self._warmed_up()
        return self

    def _answers(self) -> bool:
        # A worker that was killed is started again by the server itself, which takes a while.
        with contextlib.suppress(AssertionError):
            return wait_until(lambda: self.post("/v2/classify", SMALL, ANY_IMAGE)[0] == 200, "it answers again")
        return False

    def meter(self) -> Meter:
        return Meter(self.server.pid, self.server.port, self._at_rest)

    def _warmed_up(self) -> IdleUsage:
        # What the first image of each kind loads is no image's cost.
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
            self.post("/v2/classify", encoded(crops(1)[0], kind), ANY_IMAGE)
        return server_meter.measure_idle(self.server.pid, self.server.port)

    def post(self, path: str, body: bytes, kind: str, key: str | None = None) -> tuple[int, bytes]:
        """The status and the body of the answer; 0 and the reason where none came."""
        self._was_left_at_rest = False
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": kind}
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error).encode()
        finally:
            connection.close()
