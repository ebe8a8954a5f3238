"""Finds out which server to call, and with which key."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import httpx

from classifier_client.core import Core, Pace, Retries, TimeLimits
from classifier_client.errors import AuthenticationError, ConnectionFailed

URL, KEY = "IMAGE_API_URL", "IMAGE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:3000"


def server_url(url: str | None) -> str:
    """Return the address of the server: the given one, that of `IMAGE_API_URL`, or `http://127.0.0.1:3000`.

    Raises:
        ConnectionFailed: it is no address of a server.
    """
    named = (url or os.environ.get(URL) or DEFAULT_URL).strip().rstrip("/")
    try:
        parsed = httpx.URL(named)
        # Encoded as the socket will do it, which refuses more hosts than httpx.
        host = parsed.host and parsed.raw_host.decode().encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        parsed, host = httpx.URL(), b""
    has_more = parsed.query or parsed.fragment or parsed.userinfo
    if parsed.scheme not in {"http", "https"} or not host or has_more:
        raise ConnectionFailed("The address of the server must look like https://images.example.org; correct it.")
    return named


def core(
    url: str | None, api_key: str | None, time_limits: TimeLimits | None, retries: Retries | None, pace: Pace | None
) -> Core:
    """Return the core of a client; what is None comes from the environment, or has its default.

    Raises:
        AuthenticationError: there is no key, or it has characters that no key has.
        ConnectionFailed: the address is no address of a server.
    """
    key = (api_key or os.environ.get(KEY) or "").strip()
    if not key:
        raise AuthenticationError(f"There is no key; pass api_key, or set {KEY}.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AuthenticationError("The key has characters that no key has; copy it once more.")
    headers = {"Authorization": f"Bearer {key}", "User-Agent": f"image-classifier-client/{_version()}"}
    return Core(server_url(url), headers, time_limits or TimeLimits(), retries or Retries(), pace or Pace())


def _version() -> str:
    try:
        return version("image-classifier-client")
    except PackageNotFoundError:
        return "0"
