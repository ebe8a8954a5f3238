"""Adds when each command that runs by itself last succeeded."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_successes",
        sa.Column("command", sa.String(length=32), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("command", name=op.f("pk_job_successes")),
    )


def downgrade() -> None:
    op.drop_table("job_successes")
