"""Creates the audit log, and the roll-up of the usage log."""

import math
from collections import defaultdict

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


def _roll_up_existing_rows() -> None:
    """Adds the rows of the usage log to the roll-up.

    Does not use `storage/rollup.py`, since a migration must not change when that does.
    """
    connection = op.get_bind()
    names = ("user_id", "endpoint", "status", "response_ms", "at_us", "images")
    sums: dict[tuple[str | int, ...], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for row in connection.execute(sa.text(f"SELECT {', '.join(names)} FROM usage_log")):
        bin_ = min(330, max(-95, math.ceil(math.log(row.response_ms, 1.05)))) if row.response_ms > 0 else -95
        for width_s in (0, 60, 3600, 86400):
            start_s = row.at_us // 1_000_000 // width_s * width_s if width_s else 0
            entry = sums[(row.user_id, width_s, start_s, row.endpoint, row.status, int(row.images > 0), bin_)]
            entry[0] += 1
            entry[1] += row.images
            entry[2] += row.response_ms
    columns = ["user_id", "width_s", "start_s", "endpoint", "status", "admitted", "bin"]
    columns += ["requests", "images", "total_ms"]
    values = [dict(zip(columns, (*key, *entry), strict=True)) for key, entry in sums.items()]
    if values:
        table = sa.table("usage_rollup", *map(sa.column, columns))
        connection.execute(sa.insert(table), values)


def downgrade() -> None:
    op.drop_table("usage_rollup")
    op.drop_table("audit_log")
