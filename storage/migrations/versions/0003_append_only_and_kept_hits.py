"""Makes the logs append-only, allows audit details of any length, and adds how long hits are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LOGS = ("audit_log", "usage_log")
DAY_S = 86400
UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": DAY_S}


def upgrade() -> None:
    op.add_column("users", sa.Column("hits_kept_s", sa.Integer(), server_default=str(DAY_S), nullable=False))
    _keep_hits_for_the_longest_limit()
    with op.batch_alter_table("audit_log") as audit_log:
        audit_log.alter_column("detail", existing_type=sa.String(length=1000), type_=sa.Text(), existing_nullable=False)
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def _keep_hits_for_the_longest_limit() -> None:
    connection = op.get_bind()
    for user_id, limits in connection.execute(sa.text("SELECT id, limits FROM users")).all():
        longest_s = max(_window_s(limit) for limit in limits.split(","))
        if longest_s > DAY_S:
            changed = {"user": user_id, "kept": longest_s}
            connection.execute(sa.text("UPDATE users SET hits_kept_s = :kept WHERE id = :user"), changed)


def _window_s(limit: str) -> int:
    window = limit.strip().partition("/")[2]
    return UNITS_S[window] if window in UNITS_S else int(window.removesuffix("s"))


# `prune` may delete rows of the usage log: on SQLite it drops the trigger in its own transaction, on PostgreSQL it sets
# a parameter of its transaction.
_SQLITE = [
    f"""
    CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
    """
    for table in LOGS
    for action in ("UPDATE", "DELETE")
] + [
    # REPLACE deletes rows without firing the trigger on DELETE.
    f"""
    CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
    WHEN {" OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {column} = NEW.{column})" for column in unique)}
    BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
    """
    for table, unique in (("audit_log", ("id",)), ("usage_log", ("id", "request_id")))
]
_POSTGRESQL = [
    """
    CREATE FUNCTION refuse_to_change_a_log() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_TABLE_NAME = 'usage_log' AND TG_OP = 'DELETE' AND current_setting('classifier.pruning', true) = 'on' THEN
        RETURN NULL;
      END IF;
      RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$
    """
] + [
    f"""
    CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_a_log()
    """
    for table in LOGS
]


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in LOGS:
            op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
        op.execute("DROP FUNCTION refuse_to_change_a_log()")
    else:
        for table in LOGS:
            for action in ("update", "delete", "replace"):
                op.execute(f"DROP TRIGGER {table}_no_{action}")
    with op.batch_alter_table("audit_log") as audit_log:
        audit_log.alter_column("detail", existing_type=sa.Text(), type_=sa.String(length=1000), existing_nullable=False)
    op.drop_column("users", "hits_kept_s")
