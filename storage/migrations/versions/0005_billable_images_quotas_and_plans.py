"""Adds what is billed: billable images, models and plans in the usage log; quotas, plans and prices.

Takes a moment, however long the log is: each new column has a constant default, so no row is rewritten.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PLAN = 64


def _columns() -> list[tuple[str, sa.Column[Any]]]:
    return [
        ("users", sa.Column("has_own_limits", sa.Integer(), server_default="1", nullable=False)),
        ("users", sa.Column("quotas", sa.String(length=100))),
        ("users", sa.Column("plan", sa.String(length=PLAN))),
        ("users", sa.Column("currency", sa.String(length=3))),
        ("usage_log", sa.Column("billable", sa.Integer())),
        ("usage_log", sa.Column("model", sa.String(length=300), server_default="", nullable=False)),
        ("usage_log", sa.Column("revision", sa.String(length=100), server_default="", nullable=False)),
        ("usage_log", sa.Column("plan", sa.String(length=PLAN), server_default="", nullable=False)),
        ("usage_rollup", sa.Column("billable", sa.BigInteger())),
        ("usage_rollup", sa.Column("cost_nanos", sa.BigInteger(), server_default="0", nullable=False)),
    ]


def upgrade() -> None:
    for table, column in _columns():
        op.add_column(table, column)
    op.create_table(
        "plans",
        sa.Column("name", sa.String(length=PLAN), nullable=False),
        sa.Column("limits", sa.String(length=500)),
        sa.Column("quotas", sa.String(length=100)),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_plans")),
    )
    op.create_table(
        "plan_prices",
        sa.Column("plan", sa.String(length=PLAN), nullable=False),
        sa.Column("from_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("nanos", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.ForeignKeyConstraint(["plan"], ["plans.name"], name=op.f("fk_plan_prices_plan")),
        sa.PrimaryKeyConstraint("plan", "from_us", name=op.f("pk_plan_prices")),
    )
    op.create_table(
        "quota_reservations",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_quota_reservations_user_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_quota_reservations")),
    )
    op.create_index("reservations_by_user", "quota_reservations", ["user_id", "at_us"])


def downgrade() -> None:
    for table in ("quota_reservations", "plan_prices", "plans"):
        op.drop_table(table)
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)
