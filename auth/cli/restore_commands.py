"""The commands that restore a database: keys and users that have ended since the backup are ended again."""

from pathlib import Path

from auth.cli.actor import actor
from auth.cli.answer import Answer, Context
from storage import restore as restoring
from storage import revocations as lists
from storage.clock import iso
from storage.errors import Refused
from storage.restore import Backup
from storage.revocations import Ended, Revocations

_WHAT_TO_DO = (
    "Add --revocations FILE with a list that 'python -m auth revocations' has written; or --revoke-all-keys; or "
    "--keep-keys, if you know that none was."
)


def revocations(context: Context, *, file: Path) -> Answer:
    """Write what has ended to a file: keys that were revoked or rotated, users who are disabled or erased."""
    known = context.database.ask(lists.read)
    lists.write(file, known)
    document = {"file": str(file), "keys": len(known.keys), "users": len(known.users), "read_at": iso(known.read_us)}
    text = f"{file} names {len(known.keys):,} keys and {len(known.users):,} users that have ended."
    return Answer(document, text)


def revoke_again(context: Context, *, file: Path | None, all_keys: bool) -> Answer:
    """End what a list names and this database believes to be live; or every key."""
    if all_keys or file is None:
        ended = context.change_keys(lambda connection: lists.revoke_all(connection, actor()))
    else:
        known = lists.load(file)
        ended = context.change_keys(lambda connection: lists.revoke_again(connection, known, actor()))
    return Answer({"keys": ended.keys, "users": ended.users}, f"{_told(ended)} ended that were live here.")


def restore(
    context: Context, *, file: Path, revocations: Path | None, revoke_all_keys: bool, keep_keys: bool
) -> Answer:
    """Put a backup in the place of an SQLite database, and end there what has ended since.

    Raises:
        Refused: it can't be known what has ended since, and no option says what to do; or see `storage.restore`.
    """
    listed = None if revocations is None else lists.load(revocations)
    url = context.database.url
    copy = restoring.copied(url, file)
    current = restoring.known_since(url, copy)
    known = [one for one in (current, listed) if one is not None]
    if not (current or revoke_all_keys or keep_keys):
        _check_list(copy, listed)
    ended, kept = restoring.put_in_place(url, copy, known, revoke_all_keys, actor())
    document = {
        "file": str(file),
        "newest_at": iso(copy.newest_us),
        "revocations_until": None if not known else iso(max(one.read_us for one in known)),
        "keys": ended.keys,
        "users": ended.users,
        "kept_as": str(kept) if kept.exists() else None,
    }
    was_kept = f" The database that was there is kept as {kept}." if kept.exists() else ""
    until = "" if current or revoke_all_keys else _not_known(listed, copy)
    text = f"{file} is restored, as of {document['newest_at']}. {_told(ended)} ended since.{until}{was_kept}"
    return Answer(document, text)


def _check_list(copy: Backup, listed: Revocations | None) -> None:
    """Check that there is a list, and that it tells what has ended since the backup.

    Raises:
        Refused: there is no list, or it was written before the backup.
    """
    since = iso(copy.newest_us) or "the backup"
    if listed is None:
        raise Refused(
            "The current database can't be read, or this is no backup of it, so it is not known which keys were "
            f"revoked since {since}. {_WHAT_TO_DO}"
        )
    if copy.newest_us is not None and listed.read_us < copy.newest_us:
        raise Refused(f"The list is from {iso(listed.read_us)}, and the backup from {since}. {_WHAT_TO_DO}")


def _not_known(listed: Revocations | None, copy: Backup) -> str:
    since = iso(listed.read_us if listed else copy.newest_us)
    return f" What ended after {since} is not known, and is live again."


def _told(ended: Ended) -> str:
    return f"{ended.keys:,} keys and {ended.users:,} users"
