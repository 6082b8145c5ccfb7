"""What a server says it searched for (the `self` link of a searchset), beside what it was asked.

A server that ignores a parameter finds more than was asked for, and what is too much is left out when it is read.
One that searched for less, or for another patient, hides history: nothing found there is not nothing on file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cds_service.fhir.evidence import objects

# Search parameters of FHIR R4 that leave a part of a history out. Others are how servers keep their place in a search.
_NARROWING = frozenset(
    {
        "_id", "_lastUpdated", "_security", "authored", "authoredon", "category", "clinical-status", "code", "date",
        "encounter", "intent", "onset-date", "performer", "recorded-date", "status", "verification-status",
    }
)  # fmt: skip


def is_narrower(bundle: Mapping[str, Any], asked: str) -> bool:
    """Whether a search was for another patient or for less than was asked; without a `self` link nobody knows.

    A further page is asked by the server's own link, which names no patient and cannot be compared.
    """
    link = next((item.get("url") for item in objects(bundle.get("link")) if item.get("relation") == "self"), None)
    wanted = dict(_parameters(asked))
    if "patient" not in wanted or not isinstance(link, str):
        return False
    return any(
        not wanted[name] <= values if name in wanted else name.partition(":")[0] in _NARROWING
        for name, values in _parameters(link)
    )


def _parameters(url: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The parameters of a search with their values, which servers also write with system or resource type."""
    try:
        pairs = parse_qsl(urlsplit(url).query)
    except ValueError:
        return
    for name, text in pairs:
        bare = "patient" if name.removesuffix(":Patient") in {"patient", "subject"} else name
        yield bare, frozenset(value.rpartition("|")[2].rpartition("/")[2] for value in text.split(","))
