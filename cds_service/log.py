"""One JSON line per event on stderr, with an allow-list of fields: what is not listed is never written."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# None of these can hold patient data: names of ours, counts, times, and ids that look like what they should be.
ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "service", "hook", "hook_instance", "status", "cards", "rules", "silence",
        "not_read", "unreadable", "nonconforming", "unresolved_selections", "where", "error", "at",
        "knowledge", "duration_ms", "settings", "version", "reports", "repeated", "quarantined", "skipped",
        "withheld", "client", "reason", "keys", "silent", "entry", "anchor", "expired",
    }
)  # fmt: skip
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def keep_allowed(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every field that is not on the list."""
    return {name: value for name, value in event.items() if name in ALLOWED}


def safe_id(value: str) -> str | None:
    """A caller's id for the log, if it has the form of a UUID: anything else could be patient data."""
    return value if _UUID.fullmatch(value) else None


def configure(level: str) -> None:
    """Set up logging for this process."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            keep_allowed,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
