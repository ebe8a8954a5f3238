"""Keeps a key in the system's keyring, if the extra `keyring` is installed and the system has one.

A keyring may be locked, and its programs fail in ways of their own: any error of theirs means that it can't be used.
"""

from __future__ import annotations

from typing import Any

from classifier_client.errors import AuthenticationError

_SERVICE = "image-classifier"


def store(url: str, key: str) -> str | None:
    """Store the key of a server; return the keyring's name, or None if there is none that takes it."""
    try:
        backend = _backend()
        if backend is None:
            return None
        backend.set_password(_SERVICE, url, key)
        # Some take everything and keep nothing.
        return name(backend) if backend.get_password(_SERVICE, url) == key else None
    except Exception:
        return None


def find(url: str) -> tuple[str, str]:
    """Return the key of a server and the keyring's name.

    Raises:
        AuthenticationError: the keyring can't be read, or has no such key.
    """
    try:
        backend = _backend()
        found = None if backend is None else backend.get_password(_SERVICE, url)
    except Exception:
        raise AuthenticationError(
            "The system's keyring can't be read; unlock it and try again, or run classify login."
        ) from None
    if found is None:
        raise AuthenticationError("The system's keyring has no key for the server; run classify login again.")
    return str(found), name(backend)


def delete(url: str) -> None:
    """Delete the key of a server.

    Raises:
        AuthenticationError: the keyring can't be changed, and may still hold the key.
    """
    try:
        backend = _backend()
        if backend is not None and backend.get_password(_SERVICE, url) is not None:
            backend.delete_password(_SERVICE, url)
    except Exception:
        raise AuthenticationError(
            "The system's keyring can't be changed, and still holds the key; unlock it and try again."
        ) from None


def name(backend: Any) -> str:
    """Return what people call the keyring, such as `SecretService Keyring`."""
    return str(getattr(backend, "name", "") or type(backend).__name__)


def _backend() -> Any:
    try:
        import keyring  # A second to import: only who stores a key pays for it.
        from keyring.backends import fail, null
    except ImportError:
        return None
    backend = keyring.get_keyring()
    return None if isinstance(backend, fail.Keyring | null.Keyring) else backend
