"""Rates of accepted and overridden cards, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from cds_service.ledger.reports import Counts, Rates


def rates_text(found: Rates) -> str:
    """A table; reasons are shares of what was overridden, all else of what was shown."""
    if not found.total.shown:
        return "No card was shown in that time."
    lines = list(_reasons(found) if found.by == "reason" else _table(found))
    if found.quarantined:
        lines += ["", f"Not counted: {found.quarantined} reports on cards that their client was never given."]
    return "\n".join(lines)


def rates_json(found: Rates, since: date | None, until: date | None) -> dict[str, Any]:
    """The same as JSON; rates are shares of the cards shown, from 0 to 1."""
    return {
        "since": since,
        "until": until,
        "by": found.by,
        "lines": [{"name": name, **_counts(counts)} for name, counts in sorted(found.lines.items())],
        "total": _counts(found.total),
        "quarantined": found.quarantined,
    }


def _table(found: Rates) -> Iterator[str]:
    width = max(map(len, (*found.lines, found.by, "all")))
    yield f"{found.by:<{width}}   shown  {'accepted':>15}  {'overridden':>15}  {'no report':>15}"
    for name, counts in (*sorted(found.lines.items()), ("all", found.total)):
        parts = (_of(part, counts.shown) for part in (counts.accepted, counts.overridden, counts.no_report))
        yield f"{_plain(name):<{width}}  {counts.shown:>6}  {'  '.join(parts)}"


def _reasons(found: Rates) -> Iterator[str]:
    width = max(map(len, (*found.lines, found.by, "all")))
    yield f"{found.by:<{width}}  {'overridden':>15}"
    whole = found.total.overridden
    for name, counts in (*sorted(found.lines.items()), ("all", found.total)):
        yield f"{name:<{width}}  {_of(counts.overridden, whole)}"


def _plain(name: str) -> str:
    """Users are named by clients: nothing of that may steer a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def _of(part: int, whole: int) -> str:
    return f"{part:>6}  {_share(part, whole):>7.1%}"


def _counts(counts: Counts) -> dict[str, Any]:
    return {
        "shown": counts.shown,
        "accepted": counts.accepted,
        "overridden": counts.overridden,
        "noReport": counts.no_report,
        "acceptRate": _share(counts.accepted, counts.shown),
        "overrideRate": _share(counts.overridden, counts.shown),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
