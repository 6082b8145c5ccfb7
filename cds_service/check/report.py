"""The results of a check, as a table and as JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from cds_service.check.look import Outcome, Result
from cds_service.check.rules import RULES

_WIDTH = 120
_NAME = max(len(rule.id) for rule in RULES)
_SECTION = max(len(rule.section) for rule in RULES)


def report_text(url: str, found: Sequence[Result]) -> str:
    """One line for a rule; a rule that failed says what it asks."""
    lines = [f"CDS Hooks conformance of {url}", ""]
    for result in found:
        lines += _lines(result)
    counts = _counts(found)
    lines += ["", ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)]
    return "\n".join(lines)


def report_json(url: str, found: Sequence[Result]) -> dict[str, Any]:
    """Everything that was seen."""
    return {
        "url": url,
        "counts": _counts(found),
        "results": [
            {
                "rule": result.rule.id,
                "outcome": result.outcome.value,
                "level": result.rule.level,
                "section": result.rule.section,
                "says": result.rule.says,
                "seen": list(result.seen),
            }
            for result in found
        ],
    }


def _counts(found: Sequence[Result]) -> dict[str, int]:
    counts = Counter(result.outcome for result in found)
    return {outcome.value: counts[outcome] for outcome in Outcome}


def _lines(result: Result) -> Iterator[str]:
    rule, outcome = result.rule, result.outcome
    head = f"{outcome:<7}  {rule.id:<{_NAME}}  {rule.section:<{_SECTION}}  "
    first, *rest = textwrap.wrap(result.line(), max(_WIDTH - len(head), 40)) or [""]
    yield f"{head}{first}"
    yield from (f"{'':{len(head)}}{line}" for line in rest)
    if outcome is Outcome.FAILED:
        yield f"{'':9}{rule.level.upper()}: {rule.says}"
