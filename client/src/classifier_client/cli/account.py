"""`classify login` and `classify logout`."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer

from classifier_client import connection
from classifier_client.cli import stored_key
from classifier_client.client import Client
from classifier_client.errors import AuthenticationError, PermissionDenied
from classifier_client.keys import is_key, key_id


def login(
    url: Annotated[str | None, typer.Option(help="The address of the server.")] = None,
) -> None:
    """Ask for a key, check it, and keep it."""
    address = connection.server_url(url)
    key = _asked_for(address).strip()
    if not is_key(key):
        raise AuthenticationError("This is no key, or it has a typing error; copy it once more, from imc_ on.")
    # A key that may not read limits is a valid key nevertheless.
    with Client(address, key) as client, suppress(PermissionDenied):
        client.limits()
    stored = stored_key.save(address, key)
    print(f"The key {key_id(key)} for {address} is {stored.where}.")


def logout() -> None:
    """Forget the key. It stays valid: `classify keys revoke self` ends it."""
    forgotten = stored_key.forget()
    print("The key is forgotten. It stays valid until it is revoked." if forgotten else "No key was stored.")


def _asked_for(address: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"Key for {address} (not shown)", hide_input=True, err=True))
    return sys.stdin.readline()
