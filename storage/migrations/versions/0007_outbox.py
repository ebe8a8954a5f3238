"""Creates the outbox, and a column for the customer that Stripe knows a user by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("stripe_customer", sa.String(length=255)))
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("identifier", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("period_s", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("first_tried_us", sa.BigInteger()),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_us", sa.BigInteger()),
        sa.Column("delivered_us", sa.BigInteger()),
        sa.Column("failure", sa.Text()),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_outbox_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("identifier", name=op.f("uq_outbox_identifier")),
    )
    op.create_index("outbox_by_due", "outbox", ["kind", "due_us"])
    op.create_index("outbox_by_user", "outbox", ["user_id", "kind", "period_s"])


def downgrade() -> None:
    op.drop_table("outbox")
    op.drop_column("users", "stripe_customer")
