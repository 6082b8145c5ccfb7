"""Gather the evidence a service needs: prefetch first, key by key, in the three states found / none / not available."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cds_service.protocol.errors import EvidenceNotAvailable

if TYPE_CHECKING:
    from cds_service.protocol.hook_request import HookRequest
    from cds_service.service import Service

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one prefetch key holds: resources by type, and those that are referred to by their fullUrl."""

    by_type: Mapping[str, Sequence[Resource]] = field(default_factory=dict)
    by_url: Mapping[str, Resource] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    is_available: bool = True
    is_truncated: bool = False  # more pages exist
    is_partial: bool = False  # the server says that it left something out


@dataclass(frozen=True, slots=True)
class Evidence:
    """The resources of all keys by type, and which keys could not be read, or not to their end."""

    by_type: Mapping[str, Sequence[Resource]]
    by_url: Mapping[str, Resource] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    not_read: frozenset[str] = frozenset()
    truncated: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()


NOT_AVAILABLE = Answer(is_available=False)
# Only these are ever looked up by the fullUrl of their entry: the patient by a urn, a drug by its order.
_REFERRED_TO = frozenset({"Patient", "Medication"})


def gather(service: Service, request: HookRequest) -> Evidence:
    """Read every prefetch key of the service.

    Raises EvidenceNotAvailable (412) naming the first required key that is not there to be read.
    """
    answers = {key: request.prefetch.get(key, NOT_AVAILABLE) for key in service.prefetch}
    for key in service.prefetch:
        if key in service.required and not answers[key].is_available:
            raise EvidenceNotAvailable(key, service.prefetch[key], was_sent=key in request.prefetch)
    return Evidence(
        by_type=_merged(answer.by_type for answer in answers.values()),
        by_url={url: r for answer in answers.values() for url, r in answer.by_url.items()},
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
        return Answer({value["resourceType"]: [value]})
    return NOT_AVAILABLE


def read_bundle(bundle: Resource) -> tuple[dict[str, list[Resource]], dict[str, Resource], int]:
    """Sort the entries of a Bundle: by type, by fullUrl where one may be asked for, and how many hold nothing."""
    by_type: dict[str, list[Resource]] = {}
    by_url: dict[str, Resource] = {}
    empty = 0
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(kind := resource.get("resourceType"), str):
            empty += 1
            continue
        if kind in by_type:
            by_type[kind].append(resource)
        else:
            by_type[kind] = [resource]
        if kind in _REFERRED_TO and isinstance(url := entry.get("fullUrl"), str):
            by_url[url] = resource
    return by_type, by_url, empty


def _read_bundle(key: str, bundle: Resource) -> Answer:
    by_type, by_url, empty = read_bundle(bundle)
    outcomes = by_type.pop("OperationOutcome", [])
    if any(_has_failed(outcome) for outcome in outcomes):
        return NOT_AVAILABLE
    return Answer(
        by_type,
        by_url,
        unreadable=(f"{key}: {empty} entries without a resource",) if empty else (),
        is_truncated=_has_next_page(bundle),
        # Alone, a warning is how Epic says "no results"; beside matches it says that something was withheld.
        is_partial=bool(outcomes and by_type),
    )


def _has_failed(outcome: Resource) -> bool:
    issues = outcome.get("issue")
    return isinstance(issues, list) and any(
        isinstance(issue, dict) and str(issue.get("severity")).strip().lower() in {"error", "fatal"} for issue in issues
    )


def _has_next_page(bundle: Resource) -> bool:
    links = bundle.get("link")
    return isinstance(links, list) and any(isinstance(link, dict) and link.get("relation") == "next" for link in links)


def _merged(groups: Iterable[Mapping[str, Sequence[Resource]]]) -> dict[str, Sequence[Resource]]:
    merged: dict[str, Sequence[Resource]] = {}
    for by_type in groups:
        for kind, resources in by_type.items():
            merged[kind] = [*merged[kind], *resources] if kind in merged else resources
    return merged
