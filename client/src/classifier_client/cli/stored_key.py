"""Keeps the key and the address of the server: the key in the system's keyring if there is one, else in a file.

The file can be read by its owner only. A stored key is sent to no other server than the one it was stored for.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import typer

from classifier_client import connection
from classifier_client.cli import system_keyring
from classifier_client.client import Client
from classifier_client.core import Pace, Retries, TimeLimits
from classifier_client.errors import AuthenticationError

_FOLDER = "image-classifier"


@dataclass(frozen=True)
class Stored:
    """A server and its key. `where` says, for people, where the key is."""

    url: str
    key: str
    where: str


def path() -> Path:
    """Return the file, in the user's folder for configuration."""
    return Path(typer.get_app_dir(_FOLDER)) / "login.json"


def load() -> Stored | None:
    """Return what is stored; None if nothing is.

    Raises:
        OSError: the file can't be read.
        AuthenticationError: the file is damaged, or the keyring can't be read or has no such key any more.
    """
    try:
        document = json.loads(path().read_bytes())
        url, key = str(document["url"]), document.get("key")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AuthenticationError(f"{path()} is damaged; run classify login again.") from None
    if key is not None:
        return Stored(url, str(key), f"in {path()}")
    found, keyring = system_keyring.find(url)
    return Stored(url, found, _in_keyring(keyring))


def save(url: str, key: str) -> Stored:
    """Store a server and its key in place of what is stored.

    Raises:
        OSError: the file can't be written.
    """
    keyring = system_keyring.store(url, key)
    _write({"url": url} if keyring else {"url": url, "key": key})
    return Stored(url, key, _in_keyring(keyring) if keyring else f"in {path()}")


def forget() -> bool:
    """Delete what is stored; return whether there was anything.

    Raises:
        OSError: the file can't be deleted.
        AuthenticationError: the keyring can't be changed, and may still hold the key.
    """
    try:
        document = json.loads(path().read_bytes())
        url, is_in_keyring = str(document["url"]), "key" not in document
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        url, is_in_keyring = "", False
    if is_in_keyring:
        system_keyring.delete(url)
    path().unlink()
    return True


def client(
    *, retries: Retries | None = None, time_limits: TimeLimits | None = None, pace: Pace | None = None
) -> Client:
    """Return a client of the server that the environment names, or else of the stored one.

    Raises:
        AuthenticationError: there is no key.
        ConnectionFailed: the address is no address of a server.
    """
    url, key = target()
    return Client(url, key, retries=retries, time_limits=time_limits, pace=pace)


def target() -> tuple[str, str]:
    """Return the address and the key: those of the environment, or else the stored ones.

    Raises:
        AuthenticationError: there is no key.
        ConnectionFailed: the address is no address of a server.
    """
    named, key = os.environ.get(connection.URL), os.environ.get(connection.KEY)
    if key:
        stored = None if named else _stored_url()
        return connection.server_url(named or stored), key
    found = load()
    if found is None:
        raise AuthenticationError(f"There is no key; run classify login, or set {connection.KEY}.")
    if named and connection.server_url(named) != found.url:
        raise AuthenticationError(
            f"The stored key is for {found.url}, not for {connection.URL}; run classify login, or set {connection.KEY}."
        )
    return found.url, found.key


def _stored_url() -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(path().read_bytes())["url"])
    return None


def _write(document: dict[str, str]) -> None:
    folder = path().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Files of tempfile can be read by their owner only.
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        Path(temporary).replace(path())
    except OSError as error:
        Path(temporary).unlink()
        # A file that is open has no name in its errors.
        raise OSError(error.errno, error.strerror, str(path())) from None
    except BaseException:
        Path(temporary).unlink()
        raise


def _in_keyring(name: str) -> str:
    return f"in the system's keyring ({name})"
