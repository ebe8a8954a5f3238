"""Sends one message to the owner's endpoint, signed as Standard Webhooks 1.0 say, and tells what became of it.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from auth.retry_after import retry_after_s
from configs.settings import Settings

# Loaded when something is to be sent: a server without webhooks needs neither.
if TYPE_CHECKING:
    from httpx import AsyncClient
    from standardwebhooks import Webhook

# The specification recommends 15 to 30 s.
TIMEOUT_S = 20.0
_GONE = 410
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


@dataclass(frozen=True)
class Endpoint:
    """Where the owner receives messages. Neither URL nor secrets are shown: a URL may hold a token.

    Attributes:
        url: the URL.
        secrets: each signs every message, so that a receiver may change from one to another.
        timeout_s: how long an attempt may take, seconds.
    """

    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, settings: Settings) -> "Endpoint | None":
        """Return the endpoint of the settings; None if there is none."""
        if settings.webhook_url is None or settings.webhook_secret is None:
            return None
        return cls(settings.webhook_url, tuple(settings.webhook_secret.get_secret_value().split()))


class Delivery(NamedTuple):
    """The outcome of an attempt to deliver a message.

    Attributes:
        failure: why it was not delivered; None: it was. It quotes nothing of the URL, the secret or the answer's body.
        is_final: whether it should not be sent again.
        retry_after_s: how long the receiver asks to wait, seconds; 0: it does not ask.
    """

    failure: str | None
    is_final: bool = False
    retry_after_s: float = 0


class Receiver:
    """A connection to the endpoint; `connected` opens it."""

    def __init__(self, endpoint: Endpoint, client: "AsyncClient", signers: list["Webhook"]) -> None:
        self._endpoint = endpoint
        self._client = client
        self._signers = signers

    async def send(self, identifier: str, payload: str) -> Delivery:
        """Send a message. Never raises an error of the network.

        Args:
            identifier: the message's identifier, the same for each attempt.
            payload: the message, JSON.
        """
        from httpx import HTTPError, InvalidURL

        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(identifier, now, payload) for signer in self._signers),
        }
        try:
            # The timeouts of httpx are for each step: a receiver could send a byte now and then.
            async with (
                asyncio.timeout(self._endpoint.timeout_s),
                self._client.stream("POST", self._endpoint.url, content=payload, headers=headers) as answer,
            ):
                # The body says nothing that matters here, and may have any length.
                return _delivery(answer.status_code, answer.headers.get("retry-after", ""), now)
        except TimeoutError:
            return Delivery(f"the receiver did not answer within {self._endpoint.timeout_s:g} s")
        except (HTTPError, InvalidURL, OSError) as error:
            if _UNTRUSTED in str(error):
                return Delivery("the receiver's certificate is not trusted")
            return Delivery("the receiver could not be reached")


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Receiver]:
    """Open a connection to the endpoint for a few messages."""
    # In a thread: loading the libraries and the authorities of certificates takes a tenth of a second.
    client, signers = await asyncio.to_thread(_load, endpoint)
    async with client:
        yield Receiver(endpoint, client, signers)


def _load(endpoint: Endpoint) -> tuple["AsyncClient", list["Webhook"]]:
    from httpx import AsyncClient
    from standardwebhooks import Webhook

    # A receiver on this machine is not asked through a proxy. Redirects are not followed by default.
    is_remote = urlsplit(endpoint.url).scheme == "https"
    client = AsyncClient(timeout=None, trust_env=is_remote, headers={"user-agent": "image-classifier"})
    return client, [Webhook(secret) for secret in endpoint.secrets]


def _delivery(status: int, retry_after: str, now: datetime) -> Delivery:
    if 200 <= status < 300:
        return Delivery(None)
    failure = f"the receiver answered {status}"
    if 300 <= status < 400:
        failure += ", and redirects are not followed"
    return Delivery(failure, status == _GONE, retry_after_s(retry_after, now) or 0)
