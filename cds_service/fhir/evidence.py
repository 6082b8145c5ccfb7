"""Gather the evidence a service needs: prefetch first, key by key, in the three states found / none / not available."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from cds_service.protocol.errors import EvidenceNotAvailable

if TYPE_CHECKING:
    from cds_service.protocol.hook_request import HookRequest
    from cds_service.service import Service

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one prefetch key holds. `resources` pairs each resource with its fullUrl ("" when none)."""

    resources: tuple[tuple[str, Resource], ...] = ()
    unreadable: tuple[str, ...] = ()
    is_available: bool = True
    is_truncated: bool = False  # more pages exist
    is_partial: bool = False  # the server says that it left something out


@dataclass(frozen=True, slots=True)
class Evidence:
    """The resources of all keys by type, and which keys could not be read, or not to their end."""

    by_type: Mapping[str, tuple[tuple[str, Resource], ...]]
    unreadable: tuple[str, ...] = ()
    not_read: frozenset[str] = frozenset()
    truncated: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()


NOT_AVAILABLE = Answer(is_available=False)


def gather(service: Service, request: HookRequest) -> Evidence:
    """Read every prefetch key of the service.

    Raises EvidenceNotAvailable (412) naming the first required key that is not there to be read.
    """
    answers = {key: request.prefetch.get(key, NOT_AVAILABLE) for key in service.prefetch}
    for key in service.prefetch:
        if key in service.required and not answers[key].is_available:
            raise EvidenceNotAvailable(key, service.prefetch[key], was_sent=key in request.prefetch)
    return Evidence(
        by_type=_by_type(pair for answer in answers.values() for pair in answer.resources),
        unreadable=tuple(note for answer in answers.values() for note in answer.unreadable),
        not_read=frozenset(key for key, answer in answers.items() if not answer.is_available),
        truncated=frozenset(key for key, answer in answers.items() if answer.is_truncated),
        partial=frozenset(key for key, answer in answers.items() if answer.is_partial),
    )


def read_answer(key: str, value: object) -> Answer:
    """Read the value of a prefetch key that was sent (CDS Hooks 2.0, "Prefetch Template").

    null and an empty Bundle mean that nothing is there; an OperationOutcome means that the client's query
    failed; a single resource is accepted where a Bundle is expected, and the other way round.
    """
    if value is None:
        return Answer()
    if not isinstance(value, dict):
        return NOT_AVAILABLE
    if value.get("resourceType") == "Bundle" or isinstance(value.get("entry"), list):
        return _read_bundle(key, value)
    if isinstance(value.get("resourceType"), str) and value["resourceType"] != "OperationOutcome":
        return Answer(resources=(("", value),))
    return NOT_AVAILABLE


def resources_of(bundle: Resource) -> Iterator[tuple[str, object]]:
    """Each entry of a Bundle as (fullUrl, resource), whatever it holds."""
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            url = entry.get("fullUrl")
            yield (url if isinstance(url, str) else "", entry.get("resource"))
        else:
            yield ("", entry)


def _read_bundle(key: str, bundle: Resource) -> Answer:
    resources: list[tuple[str, Resource]] = []
    unreadable: list[str] = []
    outcomes: list[Resource] = []
    for url, resource in resources_of(bundle):
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            unreadable.append(f"{key}: an entry without a resource")
        elif resource["resourceType"] == "OperationOutcome":
            outcomes.append(resource)
        else:
            resources.append((url, resource))
    if any(_has_failed(outcome) for outcome in outcomes):
        return NOT_AVAILABLE
    # Alone, a warning is how Epic says "no results"; beside matches it says that something was withheld.
    is_partial = bool(outcomes and resources)
    return Answer(tuple(resources), tuple(unreadable), True, _has_next_page(bundle), is_partial)


def _has_failed(outcome: Resource) -> bool:
    issues = outcome.get("issue")
    return isinstance(issues, list) and any(
        isinstance(issue, dict) and str(issue.get("severity")).strip().lower() in {"error", "fatal"} for issue in issues
    )


def _has_next_page(bundle: Resource) -> bool:
    links = bundle.get("link")
    return isinstance(links, list) and any(isinstance(link, dict) and link.get("relation") == "next" for link in links)


def _by_type(pairs: Iterable[tuple[str, Resource]]) -> dict[str, tuple[tuple[str, Resource], ...]]:
    """Group by resource type; of two versions of one resource the one updated last is kept."""
    kept: dict[tuple[str, object], tuple[str, Resource]] = {}
    for position, (url, resource) in enumerate(pairs):
        identity = resource.get("id")
        name = (resource["resourceType"], identity if isinstance(identity, str) else position)
        if name not in kept or _version(resource) > _version(kept[name][1]):
            kept[name] = (url, resource)
    grouped: dict[str, list[tuple[str, Resource]]] = {}
    for (kind, _), pair in kept.items():
        grouped.setdefault(kind, []).append(pair)
    return {kind: tuple(group) for kind, group in grouped.items()}


def _version(resource: Resource) -> tuple[str, bytes]:
    meta = resource.get("meta")
    updated = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return (updated if isinstance(updated, str) else "", orjson.dumps(resource, option=orjson.OPT_SORT_KEYS))
