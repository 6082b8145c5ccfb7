"""What a ledger holds, beside what clients were told: nothing acknowledged may be missing, nothing may be there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from sqlalchemy import select

from cds_service.ledger.chain import verify
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.tables import entries, feedback
from cds_service.settings import Settings


@dataclass
class Told:
    """What clients were told, by the name of what they sent: a uuid of its own for each call."""

    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)  # may be there all the same: the answer came too late
    unknown: set[str] = field(default_factory=set)  # the connection broke

    def note(self, name: str, status: int) -> None:
        """Keep the answer to a call; 0 when there was none."""
        (self.acknowledged if status == 200 else self.refused if status else self.unknown).add(name)

    def add(self, other: Told) -> None:
        """Take in what another client was told."""
        self.acknowledged |= other.acknowledged
        self.refused |= other.refused
        self.unknown |= other.unknown


@dataclass(frozen=True)
class Compared:
    """What is wrong with a ledger."""

    lost: int
    doubled: int
    strange: int  # on record, and never sent
    faults: tuple[str, ...]
    stored: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing is."""
        return not (self.lost or self.doubled or self.strange or self.faults)

    def __str__(self) -> str:
        """For the report."""
        wrong = f"{self.lost} lost, {self.doubled} doubled, {self.strange} never sent"
        return f"{self.stored:,} on record, {wrong}, chain {'; '.join(self.faults[:3]) or 'sound'}"


def compared(folder: Path, told: Told) -> Compared:
    """Hold a ledger beside what clients were told. Raises LedgerError when it does not open."""
    ledger = open_ledger(Settings(data=folder))
    with ledger.reading() as connection:
        records = connection.execute(select(entries.c.record).where(entries.c.kind == "decision")).scalars()
        found = Counter(orjson.loads(record).get("hookInstance", "") for record in records)
        found.update(connection.execute(select(feedback.c.uuid)).scalars())
        faults = tuple(verify(connection, {}))
    ledger.engine.dispose()
    return Compared(
        lost=len(told.acknowledged - found.keys()),
        doubled=sum(count > 1 for count in found.values()),
        strange=len(found.keys() - told.acknowledged - told.refused - told.unknown),
        faults=faults,
        stored=found.total(),
    )


def all_told(each: Iterable[Told]) -> Told:
    """What all clients were told together."""
    told = Told()
    for one in each:
        told.add(one)
    return told
