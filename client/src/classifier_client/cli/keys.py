"""`classify keys`: lists, replaces and revokes the user's own keys."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
from contextlib import suppress
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from classifier_client.cli import stored_key
from classifier_client.cli.messages import say
from classifier_client.keys import is_key, key_id

app = typer.Typer(
    help="List, replace and revoke your keys.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def default(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys if no command is given."""
    if context.invoked_subcommand is None:
        list_keys(context, as_json)


@app.command("list", help="List your keys, the oldest first.")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys; `--json` may stand before the word `list`, too."""
    as_json = as_json or (context.parent is not None and bool(context.parent.params.get("as_json")))
    with stored_key.client() as client:
        found = client.keys()
    if as_json:
        print(json.dumps([dataclasses.asdict(key) for key in found], default=datetime.isoformat))
        return
    table = Table("key", "name", "state", "scopes", "last used", "expires", box=None)
    for key in found:
        used, expires = _shown(key.last_used_at, "never"), _shown(key.expires_at, "never")
        table.add_row(key.key_id, key.name or "", key.state, " ".join(key.scopes), used, expires)
    Console().print(table)


@app.command("rotate", help="Replace a key by a new one, which is printed once.")
def rotate(
    id_: Annotated[str, typer.Argument(metavar="KEY_ID", help="Its id, as 'classify keys' shows it.")],
    grace: Annotated[str, typer.Option(help="How long the old key still works, such as 1h.")] = "0s",
) -> None:
    """Replace a key; if it is the stored one, store the new one. The server sends the new key only once."""
    url, key = stored_key.target()
    stored = stored_key.load()
    is_stored = stored is not None and stored.key == key and is_key(key) and key_id(key) == id_
    with suppress(io.UnsupportedOperation):
        # If standard output is closed, even this fails: then no key is replaced.
        os.write(sys.stdout.fileno(), b"")
    with stored_key.client() as client:
        made = client.rotate_key(id_, grace)
    try:
        print(made.key, flush=True)
    except OSError:
        if not is_stored:
            say(f"the new key can't be written to standard output; it is {made.key}")
        raise
    finally:
        if is_stored:
            say(f"the new key is stored {stored_key.save(url, made.key).where}.")


@app.command("revoke", help="Revoke a key for good; 'self' is the key in use.")
def revoke(id_: Annotated[str, typer.Argument(metavar="KEY_ID", help="Its id, or 'self'.")]) -> None:
    """Revoke a key."""
    with stored_key.client() as client:
        client.revoke_key(id_)
    print(f"The key {id_} is revoked.")


def _shown(time: datetime | None, otherwise: str) -> str:
    return otherwise if time is None else time.strftime("%Y-%m-%d %H:%M")
