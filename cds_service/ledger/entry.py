"""One entry of the ledger before it is written: its record, and the rows that make it findable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cds_service.ledger.chain import digests_of, hash_of

Row = Mapping[str, Any]
Sealed = Mapping[str, tuple[bytes, datetime]]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is appended. `rows` go to other tables, by name; `sealed` is encrypted content by purpose, with its end."""

    kind: str
    members: Row
    rows: Mapping[str, list[Row]] = field(default_factory=dict)
    sealed: Sealed = field(default_factory=dict)
    once: str | None = None  # of two feedback entries with one key only the first is written
    at: str = field(default_factory=lambda: instant(datetime.now(UTC)))

    def record(self) -> dict[str, Any]:
        """The members of the record; rows and sealed content stand there as hashes."""
        digests = {purpose: hash_of(content) for purpose, (content, _) in self.sealed.items()}
        return {
            **self.members,
            "kind": self.kind,
            "at": self.at,
            **({"rows": digests_of(self.rows)} if self.rows else {}),
            **({"sealed": digests} if digests else {}),
        }


def instant(moment: datetime) -> str:
    """A moment as text of one length in UTC, so that it sorts."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
