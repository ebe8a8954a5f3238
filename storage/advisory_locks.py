"""Takes the advisory locks of PostgreSQL. SQLite needs none: it has only one writer at a time."""

from enum import Enum, unique

from sqlalchemy import Connection, func, select


@unique
class AdvisoryLock(Enum):
    """The id of each lock. Nothing else in the database may use one of these numbers."""

    MIGRATION = 7_361_002
    """For migrating the tables."""
    ADDRESSES = 7_361_003
    """For creating and renaming users, and for changing plans."""
    ADMIN_KEYS = 7_361_004
    """For changes that may end a key with the scope `admin`."""
    MOVE = 7_361_005
    """For moving another database into this one."""


def take(connection: Connection, lock: AdvisoryLock) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(lock.value)))
