"""The tables of the ledger. `entries` is the ledger; the others can be made anew from it, or are sealed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

entries = Table(
    "entries",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),  # decision, feedback
    Column("at", String(32), nullable=False, index=True),  # UTC, ISO 8601, so that text sorts as time
    Column("record", Text, nullable=False),  # canonical JSON, with the hash of the record before
    Column("hash", String(64), nullable=False),  # SHA-256 of the record
)

head = Table(  # one row: the last entry, so that writers follow each other
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", _NUMBER, nullable=False),
    Column("hash", String(64), nullable=False),
)

cards = Table(  # where feedback and withholding look a card up
    "cards",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("client", String(128), nullable=False),
    Column("uuid", String(36), nullable=False),
    Column("card", String(64), nullable=False),
    Column("same", String(32), nullable=False),  # digest of user, patient and what the card rests on
    Column("same_encounter", String(32), nullable=True),
    Column("is_shown", Boolean, nullable=False),
    Index("cards_uuid", "client", "uuid"),
    Index("cards_same", "same"),
    Index("cards_same_encounter", "same_encounter"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("key", String(64), primary_key=True),  # digest of what makes two reports one
    Column("number", _NUMBER, nullable=False),
    Column("client", String(128), nullable=False),
    Column("uuid", String(255), nullable=False),  # of the card; a digest when it is none of this client's
    Column("outcome", String(16), nullable=False),
    Column("at", String(32), nullable=False),
    Column("is_quarantined", Boolean, nullable=False),
    Index("feedback_card", "client", "uuid"),
)

sealed = Table(  # encrypted, kept apart from what is reported, deleted when its time is over
    "sealed",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("purpose", String(16), primary_key=True),
    Column("until", String(32), nullable=False, index=True),
    Column("content", LargeBinary, nullable=False),
)
