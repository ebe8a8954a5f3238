"""Creates the audit log, and the roll-up of the usage log."""

import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=True),
        sa.Column("key_id", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.String(length=1000), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "usage_rollup",
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("width_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.String(length=200), nullable=False),
        sa.Column("status", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("admitted", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bin", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("total_ms", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_usage_rollup_user_id")),
        sa.PrimaryKeyConstraint(
            "user_id", "width_s", "start_s", "endpoint", "status", "admitted", "bin", name=op.f("pk_usage_rollup")
        ),
    )
    _roll_up_existing_rows()


_COLUMNS = "user_id, width_s, start_s, endpoint, status, admitted, bin, requests, images, total_ms"
_BIN_IN_POSTGRESQL = """
CASE WHEN response_ms <= 0 THEN -95
  ELSE CAST(LEAST(330, GREATEST(-95, CEIL(LN(response_ms) / LN(CAST(1.05 AS float))))) AS integer) END"""


def _roll_up_existing_rows() -> None:
    """Add the rows of the usage log to the roll-up. The database does it, so that a long log needs no memory here.

    Does not use `storage/rollup.py`, since a migration must not change when that does.
    """
    connection = op.get_bind()
    bin_ = _BIN_IN_POSTGRESQL
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        # Not every SQLite was built with `ln`.
        driver.create_function("bin_of", 1, _bin_of, deterministic=True)
        bin_ = "bin_of(response_ms)"
    op.execute(f"""
        INSERT INTO usage_rollup ({_COLUMNS})
        SELECT user_id, 60, at_us / 60000000 * 60, endpoint, status, CASE WHEN images > 0 THEN 1 ELSE 0 END, {bin_},
          count(*), sum(images), sum(response_ms)
        FROM usage_log GROUP BY 1, 3, 4, 5, 6, 7""")
    for finer_s, width_s, start in ((60, 3600, "start_s / 3600 * 3600"), (3600, 86400, "start_s / 86400 * 86400")):
        _add_up(finer_s, width_s, start)
    _add_up(86400, 0, "0")


def _bin_of(response_ms: float) -> int:
    return min(330, max(-95, math.ceil(math.log(response_ms, 1.05)))) if response_ms > 0 else -95


def _add_up(finer_s: int, width_s: int, start: str) -> None:
    op.execute(f"""
        INSERT INTO usage_rollup ({_COLUMNS})
        SELECT user_id, {width_s}, {start}, endpoint, status, admitted, bin, sum(requests), sum(images), sum(total_ms)
        FROM usage_rollup WHERE width_s = {finer_s} GROUP BY 1, 3, 4, 5, 6, 7""")


def downgrade() -> None:
    op.drop_table("usage_rollup")
    op.drop_table("audit_log")
