"""An owner's endpoint on this machine: checks each signature with the library, and answers as a test says."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from testing.waiting import LOOKS_EVERY_S, wait_until

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Received:
    """A message whose signature is right.

    Attributes:
        identifier: its `webhook-id`.
        message: the message.
        body: as it was sent.
    """

    identifier: str
    message: dict[str, Any]
    body: bytes


@dataclass
class Receiver:
    """What arrived, and how to answer.

    Attributes:
        port: where it listens.
        answers: the status and headers of the next answers, in this order; then it is 204.
        received: the messages, in the order of their arrival; also those that were not answered with 204.
        forged: how many requests had no right signature.
        others: the paths of requests elsewhere, such as where a redirect leads.
        before_answer: is called with each message before it is answered.
        secret: what the messages are signed with.
        is_secure: whether it speaks TLS.
    """

    port: int = 0
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    forged: int = 0
    others: list[str] = field(default_factory=list)
    before_answer: Callable[[Received], None] | None = None
    secret: str = SECRET
    is_secure: bool = False

    @property
    def url(self) -> str:
        origin = f"https://localhost:{self.port}" if self.is_secure else f"http://127.0.0.1:{self.port}"
        return f"{origin}/hook?token=sesame"

    @property
    def percents(self) -> list[int]:
        """Which marks the messages tell of, each message once, the lowest first."""
        by_identifier = {one.identifier: one for one in self.received}
        return sorted(one.message["data"]["percent"] for one in by_identifier.values())

    def wait_for(self, is_enough: Callable[["Receiver"], bool]) -> None:
        """Return once enough has arrived.

        Raises:
            AssertionError: it has not arrived in a minute.
        """
        wait_until(lambda: is_enough(self), lambda: f"more messages than {self.received}")


@contextmanager
def receiving(port: int = 0, certificate: Path | None = None) -> Iterator[Receiver]:
    """Receive messages within a block; over TLS if a folder with `certificate.pem` and `key.pem` is given."""
    receiver = Receiver(is_secure=certificate is not None)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if not self.path.startswith("/hook"):
                receiver.others.append(self.path)
                return self._answer(204, {})
            try:
                message = Webhook(receiver.secret).verify(body, dict(self.headers.items()))
            except Exception:
                receiver.forged += 1
                return self._answer(400, {})
            found = Received(self.headers["webhook-id"], message, body)
            receiver.received.append(found)
            if receiver.before_answer is not None:
                receiver.before_answer(found)
            self._answer(*(receiver.answers.pop(0) if receiver.answers else (204, {})))

        def _answer(self, status: int, headers: dict[str, str]) -> None:
            try:
                self.send_response(status)
                for name, value in ({"content-length": "0"} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
            except OSError:
                # The sender has gone.
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
        # The handshake is made by the thread of the connection, at its first read.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(LOOKS_EVERY_S,), daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
