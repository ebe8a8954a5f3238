"""Sends messages to Stripe as meter events, through its library. The only module that loads it: that takes a second."""

import json
from datetime import UTC, datetime

import requests
import stripe
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from auth.cli.meter_run import Delivery, NoAccess
from auth.retry_after import retry_after_s
from storage.outbox import Message

TIMEOUT_S = (10.0, 30.0)
_LONGEST_FAILURE = 200
# How Stripe says that it has an event of this identifier: it answers 400 and counts nothing.
_DUPLICATE_CODE, _DUPLICATE = "duplicate_meter_event", "already exists with identifier"
# Another request with this identifier is under way.
_CONFLICT = 409


class StripeSender:
    """Sends meter events (`POST /v1/billing/meter_events`).

    Args:
        key: the secret or restricted key.
        event_name: the event name of the meter.
        api: the address of the API.
        timeout_s: the seconds to connect, and to wait for an answer.
    """

    def __init__(self, key: str, event_name: str, api: str, timeout_s: tuple[float, float] = TIMEOUT_S) -> None:
        stripe.enable_telemetry = False
        self._key = key
        self._event_name = event_name
        self._http = stripe.RequestsClient(timeout=timeout_s)
        # No retries here: a message is sent again by the outbox, which knows for how long that is safe.
        self._client = stripe.StripeClient(
            key, base_addresses={"api": api}, max_network_retries=0, http_client=self._http
        )

    def send(self, message: Message) -> Delivery:
        """Send a message, once.

        Raises:
            NoAccess: Stripe does not take this key.
        """
        told = json.loads(message.payload)
        try:
            self._client.v1.billing.meter_events.create(
                {
                    "event_name": self._event_name,
                    "identifier": message.identifier,
                    "timestamp": told["timestamp"],
                    "payload": {"stripe_customer_id": told["customer"], "value": str(message.value)},
                }
            )
        except stripe.APIConnectionError as error:
            return _without_answer(error)
        except (stripe.AuthenticationError, stripe.PermissionError):
            raise NoAccess(
                "Stripe does not take the key; set CLASSIFIER_STRIPE_KEY to a secret key, or to a restricted one that"
                " may write meter events. The next run sends what was not sent."
            ) from None
        except stripe.StripeError as error:
            return self._of_error(error, message)
        return Delivery(True)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()  # type: ignore[no-untyped-call]

    def _of_error(self, error: stripe.StripeError, message: Message) -> Delivery:
        text = (error.user_message or "").replace(self._key, "***")
        code = error.code or ""
        status = error.http_status or 0
        if status == 400 and (code == _DUPLICATE_CODE or (_DUPLICATE in text and message.identifier in text)):
            return Delivery(True)
        failure = f"Stripe answered {status}: {' '.join(text.split()) or code}"[:_LONGEST_FAILURE]
        wait_s = _wait_s(error)
        if not 400 <= status < 500:
            return Delivery(False, f"Stripe answered {status}", may_be_counted=True, is_general=True, wait_s=wait_s)
        if status == _CONFLICT or isinstance(error, stripe.RateLimitError):
            return Delivery(False, failure, may_be_counted=status == _CONFLICT, is_general=True, wait_s=wait_s)
        about_customer = "customer" in text.lower() or "customer" in str(getattr(error, "param", ""))
        return Delivery(False, failure, is_final=code == "resource_missing" and about_customer, wait_s=wait_s)


def _without_answer(error: stripe.APIConnectionError) -> Delivery:
    """Return what is known if there is no answer: nothing, unless no connection was made."""
    cause = error.__cause__
    if isinstance(cause, requests.exceptions.SSLError):
        return Delivery(False, "Stripe's certificate is not valid here", is_general=True)
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    if isinstance(reason, (NewConnectionError, ConnectTimeoutError)):
        return Delivery(False, "Stripe can't be reached; check the network", is_general=True)
    return Delivery(False, "Stripe did not answer", may_be_counted=True, is_general=True)


def _wait_s(error: stripe.StripeError) -> float | None:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return retry_after_s(headers.get("retry-after", "").strip(), datetime.now(UTC))
