"""What became of the cards that were shown: counted for reports, and listed for exports. No free text is read here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Subquery, and_, func, select, true

from cds_service.ledger.tables import cards, entries, feedback

BY = ("card", "rule", "reason", "month", "client", "user")
_PAGE = 1000
_NOT_GIVEN = "not given"


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment on, and before another one; both as the ledger writes them."""

    since: str | None = None
    until: str | None = None

    def holds(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """The condition that a time lies in it."""
        return and_(
            column >= self.since if self.since else true(),
            column < self.until if self.until else true(),
        )


@dataclass(frozen=True, slots=True)
class ShownCard:
    """A card that was shown; `outcome` and `reason` are empty while nobody told what became of it."""

    client: str
    card: str
    at: str
    user: str
    rules: tuple[str, ...]
    outcome: str
    reason: str

    def names(self, by: str, zone: tzinfo | None) -> Iterable[str]:
        """The lines of a report in which the card counts."""
        if by == "rule":
            return self.rules
        if by == "reason":
            return (self.reason or _NOT_GIVEN,) if self.outcome == "overridden" else ()
        if by == "month":
            return (f"{datetime.fromisoformat(self.at).astimezone(zone):%Y-%m}",)
        return (str(getattr(self, by)),)


@dataclass(slots=True)
class Counts:
    """How many cards were shown, and what was told of them."""

    shown: int = 0
    accepted: int = 0
    overridden: int = 0

    def add(self, card: ShownCard) -> None:
        """Count a card."""
        self.shown += 1
        self.accepted += card.outcome == "accepted"
        self.overridden += card.outcome == "overridden"

    @property
    def no_report(self) -> int:
        """Cards of which nothing was told: a client need not, and never tells that a card was ignored."""
        return self.shown - self.accepted - self.overridden


@dataclass(slots=True)
class Rates:
    """Counts of all cards and by one of their sides; reports in quarantine are in none of them."""

    by: str
    quarantined: int
    total: Counts = field(default_factory=Counts)
    lines: dict[str, Counts] = field(default_factory=dict)


def rates(connection: Connection, by: str, period: Period, zone: tzinfo | None = None) -> Rates:
    """Count the cards that were first shown in a period; `zone` decides the month, else that of the machine."""
    in_quarantine = select(func.count()).where(feedback.c.is_quarantined, period.holds(feedback.c.at))
    found = Rates(by, connection.execute(in_quarantine).scalar_one())
    for card in shown_cards(connection, period):
        found.total.add(card)
        for name in card.names(by, zone):
            found.lines.setdefault(name, Counts()).add(card)
    return found


def shown_cards(connection: Connection, period: Period) -> Iterator[ShownCard]:
    """The cards that were first shown in a period. A call that was repeated showed its cards once."""
    outcomes = _outcomes(connection)
    first = _first_entries(only_shown=True)
    found = (
        select(first.c.client, first.c.uuid, entries.c.at, entries.c.record)
        .join(entries, entries.c.number == first.c.number)
        .where(period.holds(entries.c.at))
    )
    for row in connection.execution_options(yield_per=_PAGE).execute(found):
        record = orjson.loads(row.record)
        card = _card_of(record, row.uuid)
        outcome, reason = outcomes.get((row.client, row.uuid), ("", ""))
        rules = tuple(card.get("rules", ()))
        yield ShownCard(row.client, card["card"], row.at, record.get("user", ""), rules, outcome, reason)


def exported(connection: Connection, period: Period) -> Iterator[dict[str, Any]]:
    """What was told in a period, one row for each report: 45 CFR 170.315(b)(11)(ii)(C), and what our records add."""
    first, told, shown = _first_entries(only_shown=False), entries.alias(), entries.alias()
    found = (
        select(feedback, told.c.record.label("told"), shown.c.record.label("shown"))
        .join(told, told.c.number == feedback.c.number)
        .join(first, and_(first.c.client == feedback.c.client, first.c.uuid == feedback.c.uuid))
        .join(shown, shown.c.number == first.c.number)
        .where(feedback.c.is_quarantined.is_(False), period.holds(feedback.c.at))
        .order_by(feedback.c.at, feedback.c.number)
    )
    for row in connection.execution_options(yield_per=_PAGE).execute(found):
        report, decision = orjson.loads(row.told), orjson.loads(row.shown)
        card = _card_of(decision, row.uuid)
        offered = card.get("suggestions", {})
        yield {
            "intervention": f"{decision['service']}/{card['card']}",
            "action": row.outcome,
            "reason": report.get("reason", ""),
            "user": decision.get("user", ""),
            "date": row.at,
            "location": decision.get("location", ""),
            "client": row.client,
            "service": decision["service"],
            "hook": decision.get("hook", ""),
            "card": card["card"],
            "uuid": row.uuid,
            "knowledge": decision["knowledge"],
            "rules": card.get("rules", []),
            "suggestions": [offered.get(identity, "unknown") for identity in report.get("suggestions", ())],
        }


def _first_entries(*, only_shown: bool) -> Subquery:
    """The first entry of each card."""
    found = select(cards.c.client, cards.c.uuid, func.min(cards.c.number).label("number"))
    if only_shown:
        found = found.where(cards.c.is_shown)
    return found.group_by(cards.c.client, cards.c.uuid).subquery()


def _outcomes(connection: Connection) -> dict[tuple[str, str], tuple[str, str]]:
    """Outcome and reason by client and card: accepted if ever a suggestion was, else the last reason that was given."""
    told = (
        select(feedback.c.client, feedback.c.uuid, feedback.c.outcome, entries.c.record)
        .join(entries, entries.c.number == feedback.c.number)
        .where(feedback.c.is_quarantined.is_(False))
        .order_by(feedback.c.at, feedback.c.number)
    )
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for row in connection.execution_options(yield_per=_PAGE).execute(told):
        key = (row.client, row.uuid)
        outcome, reason = found.get(key, ("", ""))
        if row.outcome == "accepted":
            found[key] = ("accepted", "")
        elif outcome != "accepted":
            found[key] = ("overridden", orjson.loads(row.record).get("reason", reason))
    return found


def _card_of(record: Mapping[str, Any], uuid: str) -> Mapping[str, Any]:
    return next(card for card in record["cards"] if card["uuid"] == uuid)
