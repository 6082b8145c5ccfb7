"""Cards that are not shown again: their user put them aside a short while ago, or has seen them in this encounter.

Both are choices of a site. A card returns when what it rests on changes; what cannot be looked up is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Connection, select

from cds_service.answer import Answer
from cds_service.fhir.server import Waiting
from cds_service.ledger.database import LedgerUnavailable
from cds_service.ledger.decisions import card_rows
from cds_service.ledger.entry import Row, instant
from cds_service.ledger.ledger import Ledger
from cds_service.ledger.tables import cards, feedback
from cds_service.protocol.card import Indicator
from cds_service.settings import Settings

SNOOZED = "snoozed"
SEEN = "seen-in-encounter"

log = structlog.get_logger()


def withheld(
    client: str, answered: Answer, ledger: Ledger, settings: Settings, waiting: Waiting = nullcontext
) -> Mapping[int, str]:
    """Why cards are not shown, by their place in the advice; asks the ledger only when a setting and a card need it.

    `waiting` surrounds the time in which the ledger is asked.
    """
    candidates = _candidates(client, answered, ledger, settings)
    if not any(candidates.values()):
        return {}
    try:
        with waiting(), ledger.reading() as connection:
            return {
                **dict.fromkeys(_seen(connection, candidates[SEEN]), SEEN),
                **dict.fromkeys(_snoozed(connection, candidates[SNOOZED], settings.snooze_days), SNOOZED),
            }
    except LedgerUnavailable as error:
        log.error("nothing withheld", error=str(error))
        return {}


def _candidates(client: str, answered: Answer, ledger: Ledger, settings: Settings) -> Mapping[str, list[Row]]:
    """The cards that may be withheld, by the reason for it."""
    found: dict[str, list[Row]] = {SNOOZED: [], SEEN: []}
    if not (settings.snooze_days or settings.once_per_encounter):
        return found
    is_signed = answered.request.hook == "order-sign"
    for row, advised in zip(card_rows(client, answered, (), ledger), answered.advice.cards, strict=True):
        is_critical = advised.card.indicator is Indicator.CRITICAL
        if settings.snooze_days and not is_critical:
            found[SNOOZED].append(row)
        if settings.once_per_encounter and row["same_encounter"] and not (is_critical and is_signed):
            found[SEEN].append(row)
    return found


def _snoozed(connection: Connection, rows: list[Row], days: int) -> Iterable[int]:
    """Cards that this user overrode, for this patient and on this evidence."""
    if not rows:
        return []
    is_of_card = (feedback.c.client == cards.c.client) & (feedback.c.uuid == cards.c.uuid)
    overridden = (
        select(cards.c.same)
        .join(feedback, is_of_card)
        .where(
            cards.c.same.in_([row["same"] for row in rows]),
            feedback.c.outcome == "overridden",
            feedback.c.is_quarantined.is_(False),
            feedback.c.at >= instant(datetime.now(UTC) - timedelta(days=days)),
        )
    )
    found = set(connection.execute(overridden).scalars())
    return [row["position"] for row in rows if row["same"] in found]


def _seen(connection: Connection, rows: list[Row]) -> Iterable[int]:
    """Cards that another call of this encounter showed; a call that is repeated gets what it got."""
    if not rows:
        return []
    shown = select(cards.c.same_encounter, cards.c.uuid).where(
        cards.c.same_encounter.in_([row["same_encounter"] for row in rows]), cards.c.is_shown.is_(True)
    )
    found = {tuple(row) for row in connection.execute(shown.distinct())}
    digests = {digest for digest, _ in found}
    return [
        row["position"]
        for row in rows
        if row["same_encounter"] in digests and (row["same_encounter"], row["uuid"]) not in found
    ]
