"""Feedback in the ledger: what became of a card, once, and apart from it what may name a patient.

A report on a card that this client was never given is kept in quarantine: it counts nowhere, and its sender is
answered as everybody is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import select

from cds_service.ledger.database import LedgerUnavailable
from cds_service.ledger.entry import Entry, Row, instant
from cds_service.ledger.ledger import Ledger
from cds_service.ledger.tables import cards
from cds_service.log import safe_id
from cds_service.protocol.errors import NotRecorded
from cds_service.protocol.feedback import OTHER, Report
from cds_service.service import Service

_TOGETHER = 100  # entries of one transaction: others are written in between, and no statement gets too many keys
_LATE = timedelta(days=1)  # a clock that is further ahead than that is wrong


@dataclass(frozen=True, slots=True)
class Taken:
    """How many reports were written, had been written before, and went into quarantine; and what the new ones say."""

    new: int
    repeated: int
    quarantined: int
    outcomes: Counter[tuple[str, str]]  # kind of card and outcome; none of those in quarantine


@dataclass(frozen=True, slots=True)
class Inbox:
    """Where the feedback of one client on one service is taken; `keep_days` is for its free text."""

    ledger: Ledger
    client: str
    service: Service
    keep_days: int
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def take(self, reports: Sequence[Report]) -> Taken:
        """Write the reports down, durably and each once. Raises NotRecorded; some may then have been written."""
        numbers: list[int | None] = []
        quarantined = 0
        outcomes: Counter[tuple[str, str]] = Counter()
        for start in range(0, len(reports), _TOGETHER):
            some = reports[start : start + _TOGETHER]
            known = self._known({report.card for report in some if safe_id(report.card)})
            quarantined += sum(report.card not in known for report in some)
            written = self.ledger.keep(*(self._entry(report, is_known=report.card in known) for report in some))
            numbers += written
            new = (report for report, number in zip(some, written, strict=True) if number and report.card in known)
            outcomes.update((known[report.card], report.outcome) for report in new)
        repeated = numbers.count(None)
        return Taken(len(numbers) - repeated, repeated, quarantined, outcomes)

    def _known(self, uuids: Collection[str]) -> dict[str, str]:
        """The cards that this client was given, of those it names, with their kinds."""
        try:
            with self.ledger.reading() as connection:
                found = select(cards.c.uuid, cards.c.card).where(cards.c.client == self.client, cards.c.uuid.in_(uuids))
                return {row.uuid: row.card for row in connection.execute(found)}
        except LedgerUnavailable:
            raise NotRecorded from None

    def _entry(self, report: Report, *, is_known: bool) -> Entry:
        secrets = self.ledger.secrets
        is_dated = report.at is not None and report.at < self.now + _LATE
        members = {
            "client": self.client,
            "service": self.service.id,
            "card": report.card if is_known else secrets.digest("card", self.client, report.card),
            "outcome": report.outcome,
            "suggestions": [identity for identity in report.suggestions if safe_id(identity)],
            "reason": report.reason_code(self.service.override_reasons),
            "outcomeAt": instant(report.at if report.at and is_dated else self.now),
            "isDatedByUs": not is_dated,
            "isQuarantined": not is_known,
        }
        private = orjson.dumps(found) if (found := dict(_private(report, members))) else b""
        return Entry(
            "feedback",
            {name: value for name, value in members.items() if value not in ("", [], False)},
            rows={"feedback": [_row(key := secrets.digest("feedback", self.client, _content(report)), members)]},
            sealed={"comment": (secrets.seal("comment", private), self.now + timedelta(days=self.keep_days))}
            if private
            else {},
            once=key,
        )


def _row(key: str, members: Row) -> Row:
    return {
        "key": key,
        "client": members["client"],
        "uuid": members["card"],
        "outcome": members["outcome"],
        "at": members["outcomeAt"],
        "is_quarantined": members["isQuarantined"],
    }


def _content(report: Report) -> bytes:
    """What makes two reports one: their time is the same in every zone."""
    at = instant(report.at) if report.at else report.sent_at
    return orjson.dumps(
        [report.card, report.outcome, at, sorted(report.suggestions), list(report.reason), report.comment]
    )


def _private(report: Report, members: Row) -> Iterator[tuple[str, Any]]:
    """What was written freely, or is none of our ids, and so does not stand in the record."""
    if report.comment:
        yield "userComment", report.comment
    if members["reason"] == OTHER:
        yield "reason", dict(zip(("system", "code", "display"), report.reason, strict=True))
    if members["isQuarantined"]:
        yield "card", report.card
    if members["isDatedByUs"] and report.sent_at:
        yield "outcomeTimestamp", report.sent_at
    if len(members["suggestions"]) < len(report.suggestions):
        yield "acceptedSuggestions", report.suggestions
