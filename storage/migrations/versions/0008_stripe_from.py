"""Adds the hour from which on a user's images are sent to Stripe."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("stripe_from_s", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("users", "stripe_from_s")
