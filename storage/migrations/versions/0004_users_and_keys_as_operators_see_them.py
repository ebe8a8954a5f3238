"""Adds disabled users, names, last uses and successors of keys; writes addresses in lower case; lets `erase` erase."""

import json
import logging
import time
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ACTOR = "migration 0004"
MINUTE_US = 60_000_000
logger = logging.getLogger("bentoml.classifier")


def upgrade() -> None:
    op.add_column("users", sa.Column("disabled_us", sa.BigInteger()))
    op.add_column("api_keys", sa.Column("name", sa.String(length=100)))
    op.add_column("api_keys", sa.Column("last_used_us", sa.BigInteger()))
    op.add_column("api_keys", sa.Column("replaced_by", sa.String(length=32)))
    _note_last_uses()
    _note_successors()
    _write_addresses_in_lower_case()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_REFUSE.format(erasing=_ERASING))


def _note_last_uses() -> None:
    connection = op.get_bind()
    for key_id, at_us in connection.execute(sa.text("SELECT key_id, max(at_us) FROM usage_log GROUP BY key_id")).all():
        noted = {"key": key_id, "at": at_us // MINUTE_US * MINUTE_US}
        connection.execute(sa.text("UPDATE api_keys SET last_used_us = :at WHERE id = :key"), noted)


def _note_successors() -> None:
    """Read from the audit log which key was rotated to which."""
    connection = op.get_bind()
    rotated = sa.text("SELECT key_id, detail FROM audit_log WHERE action = 'rotate' ORDER BY id")
    for key_id, detail in connection.execute(rotated).all():
        noted = {"new": key_id, "old": json.loads(detail).get("replaces")}
        connection.execute(sa.text("UPDATE api_keys SET replaced_by = :new WHERE id = :old"), noted)


def _write_addresses_in_lower_case() -> None:
    """Keep users apart whose addresses differ only in case: nothing tells that they are one person."""
    connection = op.get_bind()
    same = defaultdict(list)
    for user_id, email in connection.execute(sa.text("SELECT id, email FROM users ORDER BY created_us, id")).all():
        same[email.lower()].append((user_id, email))
    for folded, users in same.items():
        if len(users) > 1:
            _tell_apart([user_id for user_id, _ in users])
        elif users[0][1] != folded:
            [(user_id, email)] = users
            changed = {"user": user_id, "email": folded}
            connection.execute(sa.text("UPDATE users SET email = :email WHERE id = :user"), changed)
            _audit(user_id, "rename", {"email": folded, "old_email": email})


def _tell_apart(user_ids: list[str]) -> None:
    for user_id in user_ids:
        others = ",".join(other for other in user_ids if other != user_id)
        _audit(user_id, "keep-apart", {"same_address_as": others})
    logger.warning(
        "The addresses of the users %s differ only in upper and lower case. All are kept: name them by their ids, and"
        " give all but one another address with `python -m auth rename`.",
        " and ".join(user_ids),
    )


def _audit(user_id: str, action: str, detail: dict[str, str]) -> None:
    columns = ("at_us", "actor", "action", "user_id", "detail")
    values = (time.time_ns() // 1000, ACTOR, action, user_id, json.dumps(detail))
    table = sa.table("audit_log", *map(sa.column, columns))
    op.get_bind().execute(sa.insert(table).values(dict(zip(columns, values, strict=True))))


# `erase` sets a parameter of its transaction on PostgreSQL. On SQLite it drops the trigger in its own transaction.
_ERASING = """
      IF TG_TABLE_NAME = 'audit_log' AND TG_OP = 'UPDATE' AND current_setting('classifier.erasing', true) = 'on' THEN
        RETURN NULL;
      END IF;"""
_REFUSE = """
    CREATE OR REPLACE FUNCTION refuse_to_change_a_log() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_TABLE_NAME = 'usage_log' AND TG_OP = 'DELETE' AND current_setting('classifier.pruning', true) = 'on' THEN
        RETURN NULL;
      END IF;{erasing}
      RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$
    """


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_REFUSE.format(erasing=""))
    for column in ("replaced_by", "last_used_us", "name"):
        op.drop_column("api_keys", column)
    op.drop_column("users", "disabled_us")
