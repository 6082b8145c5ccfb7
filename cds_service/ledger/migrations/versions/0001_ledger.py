"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables; a later version of tables.py changes them by a migration of its own."""
    op.create_table(
        "entries",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.String(32), nullable=False, index=True),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "cards",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("client", sa.String(128), nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("card", sa.String(64), nullable=False),
        sa.Column("same", sa.String(32), nullable=False),
        sa.Column("same_encounter", sa.String(32), nullable=True),
        sa.Column("is_shown", sa.Boolean, nullable=False),
    )
    op.create_index("cards_uuid", "cards", ["client", "uuid"])
    op.create_index("cards_same", "cards", ["same"])
    op.create_index("cards_same_encounter", "cards", ["same_encounter"])
    op.create_table(
        "feedback",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("client", sa.String(128), nullable=False),
        sa.Column("uuid", sa.String(255), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("is_quarantined", sa.Boolean, nullable=False),
    )
    op.create_index("feedback_card", "feedback", ["client", "uuid"])
    op.create_table(
        "sealed",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("purpose", sa.String(16), primary_key=True),
        sa.Column("until", sa.String(32), nullable=False, index=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
