"""Gather the evidence a service needs: prefetch first, key by key, in the three states found / none / not available."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from cds_service.fhir.version import require_r4_resources
from cds_service.protocol.errors import EvidenceNotAvailable
from cds_service.trust.patient_binding import bind

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
    missing: int = 0  # matches that were counted and not sent
    next_page: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The resources of all keys by type, and which keys could not be read, or not to their end."""

    by_type: Mapping[str, Sequence[Resource]]
    by_url: Mapping[str, Resource] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    not_read: frozenset[str] = frozenset()
    truncated: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()


class Search(Protocol):
    """A way to ask the FHIR server of a request."""

    def ask(self, queries: Mapping[str, str]) -> Mapping[str, Answer]:
        """The answers to queries, by key; not available where there was none."""

    def complete(self, answers: Mapping[str, Answer]) -> Mapping[str, Answer]:
        """The answers with their further pages, where these may be asked for."""


Connect = Callable[[str | None, str | None], Search | None]  # by FHIR base URL and access token
NOT_AVAILABLE = Answer(is_available=False)
# Only these are ever looked up by the fullUrl of their entry: the patient by a urn, a drug by its order.
_REFERRED_TO = frozenset({"Patient", "Medication"})
_SILENT = ", and the FHIR server gave none in time"
_UNLISTED = ", and the FHIR server of the request is not one this service asks (CDS_FHIR_SERVERS)"
_DEEPEST_BUNDLE = 3  # a batch-response holds searchsets; nothing known nests deeper
_NO_FAILURE = frozenset({"warning", "information", "success"})


def gather(service: Service, request: HookRequest, search: Search | None = None) -> Evidence:
    """Read every prefetch key of the service: as sent, else from the FHIR server, where one can be asked.

    A query that failed at the client is not asked again. Raises EvidenceNotAvailable (412) naming the first
    required key that is not there to be read, ForeignPatient and UnservedFhirVersion (422).
    """
    fetched = _fetch(service, request, search) if search else {}
    found = {**request.prefetch, **fetched}
    answers = {
        key: _of_the_type_asked_for(found.get(key, NOT_AVAILABLE), template)
        for key, template in service.prefetch.items()
    }
    for key, template in service.prefetch.items():
        if key in service.required and not answers[key].is_available:
            server = _SILENT if key in fetched else _UNLISTED if request.fhir_server and search is None else ""
            raise EvidenceNotAvailable(key, template, was_sent=key in request.prefetch, server=server)
    available = [answer for answer in answers.values() if answer.is_available]
    return Evidence(
        by_type=_merged(answer.by_type for answer in available),
        by_url={url: r for answer in available for url, r in answer.by_url.items()},
        unreadable=tuple(note for answer in available for note in answer.unreadable),
        not_read=frozenset(key for key, answer in answers.items() if not answer.is_available),
        truncated=frozenset(key for key, answer in answers.items() if answer.is_truncated),
        partial=frozenset(key for key, answer in answers.items() if answer.is_partial or answer.missing),
    )


def _fetch(service: Service, request: HookRequest, search: Search) -> dict[str, Answer]:
    """Ask for what was not sent, and for the rest of what was sent in part; all of it bound to the patient."""
    queries = {
        key: template.replace("{{context.patientId}}", request.patient_id)
        for key, template in service.prefetch.items()
        if key not in request.prefetch
    }
    begun = {key: sent for key, sent in request.prefetch.items() if key in service.prefetch and sent.next_page}
    fetched = {**(search.ask(queries) if queries else {}), **(search.complete(begun) if begun else {})}
    known = request.prefetch.get("patient", NOT_AVAILABLE)
    members = {f"fhirServer.{key}": list(_resources(answer)) for key, answer in fetched.items()}
    require_r4_resources(members)
    by_url = {url: r for answer in (known, *fetched.values()) for url, r in answer.by_url.items()}
    bind(request.patient_id, request.fhir_server, {**members, "prefetch.patient": list(_resources(known))}, by_url)
    return fetched


def _resources(answer: Answer) -> Iterator[Resource]:
    return (resource for resources in answer.by_type.values() for resource in resources)


def joined(answer: Answer, page: Answer) -> Answer:
    """An answer and its next page as one; whether it is cut short is told by the page."""
    return Answer(
        _merged((answer.by_type, page.by_type)),
        {**answer.by_url, **page.by_url},
        unreadable=tuple(dict.fromkeys((*answer.unreadable, *page.unreadable))),
        is_truncated=page.is_truncated,
        is_partial=answer.is_partial or page.is_partial,
        missing=max(0, answer.missing - len(list(_resources(page)))) if answer.missing else 0,
        next_page=page.next_page,
    )


def read_answer(key: str, value: object) -> Answer:
    """Read the value of a prefetch key that was sent (CDS Hooks 2.0, "Prefetch Template").

    null and an empty Bundle mean that nothing is there; an OperationOutcome means that the client's query
    failed; a single resource is accepted where a Bundle is expected, and the other way round. Whatever else was
    sent is no answer, and no answer is never taken for an empty one.
    """
    if value is None:
        return Answer()
    if not isinstance(value, dict):
        return NOT_AVAILABLE
    if value.get("resourceType") == "Bundle" or "entry" in value:
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
    for entry in entries if isinstance(entries, list) else objects(entries):
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


def _read_bundle(key: str, bundle: Resource, depth: int = 1) -> Answer:
    entries = bundle.get("entry")
    by_type, by_url, empty = read_bundle(bundle)
    outcomes = by_type.pop("OperationOutcome", [])
    nested = [_read_bundle(key, inner, depth + 1) for inner in by_type.pop("Bundle", []) if depth < _DEEPEST_BUNDLE]
    missing = _number_missing(bundle, sum(map(len, by_type.values())) + len(nested))
    has_next = _has_next_page(bundle)
    has_answer = bool(by_type or nested) or has_next or (not missing and (bool(outcomes) or not entries))
    has_failed = any(_has_failed(outcome) for outcome in outcomes) or any(
        _was_refused(entry) for entry in objects(entries) if "response" in entry
    )
    return Answer(
        _merged((by_type, *(answer.by_type for answer in nested))),
        by_url | {url: r for answer in nested for url, r in answer.by_url.items()},
        unreadable=(
            *((f"{key}: {empty} entries without a resource",) if empty else ()),
            *(note for answer in nested for note in answer.unreadable),
        ),
        is_available=has_answer and not has_failed and all(answer.is_available for answer in nested),
        is_truncated=has_next or any(answer.is_truncated for answer in nested),
        next_page=next_page(bundle),
        # Alone, a warning is how Epic says "no results"; beside matches it says that something was withheld.
        is_partial=bool(by_type and outcomes) or any(answer.is_partial for answer in nested),
        missing=missing + sum(answer.missing for answer in nested),
    )


def _of_the_type_asked_for(answer: Answer, template: str) -> Answer:
    """Resources of other types only are no answer to a query; one for medicines is answered by any of them."""
    asked_for = re.split(r"\W", template, maxsplit=1)[0]
    is_medicine = asked_for.startswith("Medication")
    is_answered = not answer.by_type or any(
        kind == asked_for or (is_medicine and kind.startswith("Medication")) for kind in answer.by_type
    )
    return answer if is_answered else replace(answer, is_available=False)


def _number_missing(bundle: Resource, found: int) -> int:
    """How many matches the Bundle counts and does not hold."""
    total = bundle.get("total")
    return max(0, total - found) if isinstance(total, int) else int(total is not None)


def _was_refused(entry: Resource) -> bool:
    """Whether an entry of a batch-response carries the status of an error."""
    response = entry.get("response")
    status = response.get("status") if isinstance(response, dict) else None
    return isinstance(status, str) and status[:1] in {"4", "5"}


def _has_failed(outcome: Resource) -> bool:
    """Whether the search failed; an outcome that does not say how severe it is counts as a failure."""
    issues = objects(outcome.get("issue"))
    severities = {str(issue.get("severity")).strip().lower() for issue in issues}
    return not severities or not severities <= _NO_FAILURE


def _has_next_page(bundle: Resource) -> bool:
    return any(link.get("relation") == "next" for link in objects(bundle.get("link")))


def next_page(bundle: Resource) -> str | None:
    """The address of the next page of a search, as its Bundle gives it."""
    links = (link.get("url") for link in objects(bundle.get("link")) if link.get("relation") == "next")
    return next((url for url in links if isinstance(url, str)), None)


def objects(value: object) -> list[Resource]:
    """The objects of a list; a single object counts as a list of one, as some servers send it."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _merged(groups: Iterable[Mapping[str, Sequence[Resource]]]) -> dict[str, Sequence[Resource]]:
    merged: dict[str, Sequence[Resource]] = {}
    for by_type in groups:
        for kind, resources in by_type.items():
            merged[kind] = [*merged[kind], *resources] if kind in merged else resources
    return merged
