"""One call of a hook, as CDS Hooks 1.0 to 3.0 define it: strict about what we need, tolerant of the rest."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cds_service.fhir.evidence import Answer, read_answer, read_bundle
from cds_service.fhir.reader import Medications, is_about_a_patient, read_order
from cds_service.fhir.record import Order
from cds_service.fhir.version import require_r4
from cds_service.protocol.errors import BadRequest, ForeignPatient
from cds_service.trust.patient_binding import bind

Resource = Mapping[str, Any]

_OLDER_LISTS = ("orders", "medications")  # what draftOrders was called in hooks before order-select
_NEWER_FORM = "Send the unsigned orders as context.draftOrders, a Bundle of FHIR R4 (4.0.1) resources."
_OLDER_HOOKS = dict.fromkeys(("order-review", "medication-prescribe"), f" They took its place. {_NEWER_FORM}")

# FHIR allows 64 characters; real servers send more and other signs, but nothing that could end a URL segment.
_ID = re.compile(r"[A-Za-z0-9\-._]{1,255}")


@dataclass(frozen=True, slots=True)
class HookRequest:
    """What the EHR asks: who, which orders were picked, which others are open, and the data it sends along."""

    hook: str
    hook_instance: str
    user_id: str
    patient_id: str
    encounter_id: str | None
    fhir_server: str | None
    selected: tuple[Order, ...]
    other_drafts: tuple[Order, ...]
    unresolved_selections: int
    prefetch: Mapping[str, Answer] = field(repr=False)
    access_token: str | None = field(repr=False, default=None)

    @classmethod
    def parse(cls, body: object, hooks: Collection[str], keys: Collection[str]) -> HookRequest:
        """Read and bind a request body; `hooks` and `keys` are those of the service that is called.

        Raises BadRequest (400) naming the member at fault, ForeignPatient (422) when anything in the request
        is about another patient, UnservedFhirVersion (422) when it is not written in FHIR R4.
        """
        members = _require_object(body, "body")
        require_r4(members, keys)
        hook = _require_text(members, "hook")
        if hook not in hooks:
            raise BadRequest(
                "The hook is not one that this service is registered for.",
                where="hook",
                advice=f"Call this service for: {', '.join(sorted(hooks))}.{_OLDER_HOOKS.get(hook, '')}",
            )
        hook_instance = _require_text(members, "hookInstance")
        fhir_server, token, authorized_patient = _read_access(members)
        context = _require_object(members.get("context"), "context")
        user_id = _require_text(context, "userId", "context.")
        patient_id = _read_patient_id(context)
        if authorized_patient is not None and authorized_patient.removeprefix("Patient/") != patient_id:
            raise ForeignPatient("fhirAuthorization.patient")
        drafts, draft_resources = _read_drafts(context)
        prefetch = _read_prefetch(members)
        _bind(patient_id, fhir_server, draft_resources, prefetch, keys)
        selected, others, unresolved = _select(drafts, _read_selections(context, hook))
        return cls(
            hook=hook,
            hook_instance=hook_instance,
            user_id=user_id,
            patient_id=patient_id,
            encounter_id=_read_encounter_id(context),
            fhir_server=fhir_server,
            selected=selected,
            other_drafts=others,
            unresolved_selections=unresolved,
            prefetch=prefetch,
            access_token=token,
        )


@dataclass(frozen=True, slots=True)
class _Draft:
    """An entry of draftOrders: its order and the names a selection may call it by."""

    order: Order
    kind: str
    identity: str
    full_url: str


def _require_object(value: object, where: str) -> Resource:
    if isinstance(value, dict):
        return value
    raise BadRequest(
        f"'{where}' must be a JSON object.", where=where, advice="See CDS Hooks 2.0, 'Calling a CDS Service'."
    )


def _require_text(members: Resource, name: str, path: str = "") -> str:
    value = members.get(name)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise BadRequest(
        f"'{path}{name}' is required and must be a non-empty string.",
        where=f"{path}{name}",
        advice="See CDS Hooks 2.0, 'HTTP Request'.",
    )


def _read_access(members: Resource) -> tuple[str | None, str | None, str | None]:
    """Read fhirServer, the access token and the patient it was issued for."""
    server = members.get("fhirServer")
    if server is not None and not isinstance(server, str):
        raise BadRequest("'fhirServer' must be a string.", where="fhirServer", advice="Send a FHIR base URL.")
    if members.get("fhirAuthorization") is None:
        return server or None, None, None
    authorization = _require_object(members["fhirAuthorization"], "fhirAuthorization")
    token = _require_text(authorization, "access_token", "fhirAuthorization.")
    if not server:
        raise BadRequest(
            "'fhirAuthorization' was sent without 'fhirServer'.",
            where="fhirServer",
            advice="Send the FHIR base URL that the token is for (CDS Hooks rule cds-r-1).",
        )
    if authorization.get("patient") is None:
        return server, token, None
    return server, token, _require_text(authorization, "patient", "fhirAuthorization.")


def _read_patient_id(context: Resource) -> str:
    """Read the id; some clients put the resource type before it."""
    identity = _require_text(context, "patientId", "context.").removeprefix("Patient/")
    if not _ID.fullmatch(identity):
        raise BadRequest(
            "'context.patientId' is not a FHIR id.",
            where="context.patientId",
            advice="Send the bare id of the patient, without resource type, slash or query.",
        )
    return identity


def _read_encounter_id(context: Resource) -> str | None:
    encounter = context.get("encounterId")
    if not isinstance(encounter, str):
        return None
    identity = encounter.strip().removeprefix("Encounter/")
    return identity if _ID.fullmatch(identity) else None


def _read_prefetch(members: Resource) -> Mapping[str, Answer]:
    """Read every key that was sent, also those we did not ask for: a mix-up of patients anywhere is one."""
    prefetch = members.get("prefetch")
    values = {} if prefetch is None else _require_object(prefetch, "prefetch")
    return {key: read_answer(key, value) for key, value in values.items()}


def _read_drafts(context: Resource) -> tuple[tuple[_Draft, ...], list[Resource]]:
    """Read the drafts, and give their resources back for the binding.

    A drug may travel as a sibling entry of its order; that entry is not an order itself.
    """
    older = next((name for name in _OLDER_LISTS if name in context), None)
    if older and "draftOrders" not in context:
        raise BadRequest(
            f"'context.{older}' is what older hooks called the draft orders.",
            where=f"context.{older}",
            advice=_NEWER_FORM,
        )
    bundle = _require_object(context.get("draftOrders"), "context.draftOrders")
    entries = bundle.get("entry")
    is_bundle = bundle.get("resourceType") == "Bundle" or isinstance(entries, list)
    if not is_bundle or not isinstance(entries, list | None):
        raise BadRequest(
            "'context.draftOrders' must be a Bundle with an array of entries.",
            where="context.draftOrders",
            advice="Send the unsigned orders as a FHIR Bundle.",
        )
    by_type, by_url, _ = read_bundle(bundle)
    medications = Medications(by_type.get("Medication", ()), by_url)
    urls = {id(e.get("resource")): str(e.get("fullUrl") or "") for e in entries or () if isinstance(e, dict)}
    drafts = tuple(
        _Draft(read_order(resource, medications), kind, str(resource.get("id", "")), urls[id(resource)])
        for kind, resources in by_type.items()
        if kind != "Medication"
        for resource in resources
        if is_about_a_patient(resource)
    )
    return drafts, [resource for resources in by_type.values() for resource in resources]


def _bind(
    patient_id: str,
    fhir_server: str | None,
    drafts: list[Resource],
    prefetch: Mapping[str, Answer],
    keys: Collection[str],
) -> None:
    """Bind drafts and prefetch to the patient; a key that was not asked for is a caller's text and not repeated."""
    members: dict[str, list[Resource]] = {"context.draftOrders": drafts}
    for key, answer in prefetch.items():
        name = f"prefetch.{key}" if key in keys else "prefetch"
        members.setdefault(name, []).extend(r for resources in answer.by_type.values() for r in resources)
    by_url = {url: resource for answer in prefetch.values() for url, resource in answer.by_url.items()}
    bind(patient_id, fhir_server, members, by_url)


def _read_selections(context: Resource, hook: str) -> list[str] | None:
    """Read the selections; None means that every draft is selected (order-sign)."""
    if hook != "order-select":
        return None
    selections = context.get("selections")
    if isinstance(selections, list):
        return [selection.strip() for selection in selections if isinstance(selection, str)]
    raise BadRequest(
        "'context.selections' is required for order-select and must be an array of references.",
        where="context.selections",
        advice="Name each selected draft as 'ResourceType/id'.",
    )


def _select(
    drafts: tuple[_Draft, ...], selections: list[str] | None
) -> tuple[tuple[Order, ...], tuple[Order, ...], int]:
    """Split the drafts into selected and others; count the selections that name no draft."""
    if selections is None:
        return tuple(draft.order for draft in drafts), (), 0
    names = _DraftNames(drafts)
    chosen = [names.find(selection) for selection in selections]
    picked = {id(draft) for found in chosen for draft in found}
    selected = tuple(draft.order for draft in drafts if id(draft) in picked)
    others = tuple(draft.order for draft in drafts if id(draft) not in picked)
    return selected, others, chosen.count([])


class _DraftNames:
    """The names by which a selection may call a draft."""

    def __init__(self, drafts: tuple[_Draft, ...]) -> None:
        self.by_reference: dict[str, list[_Draft]] = {}
        self.by_url: dict[str, list[_Draft]] = {}
        self.by_id: dict[str, list[_Draft]] = {}
        for draft in drafts:
            self.by_reference.setdefault(f"{draft.kind}/{draft.identity}", []).append(draft)
            self.by_url.setdefault(draft.full_url, []).append(draft)
            self.by_id.setdefault(draft.identity, []).append(draft)

    def find(self, selection: str) -> list[_Draft]:
        """Resolve a selection: Type/id, versioned, absolute, a fullUrl, and a bare or '#' id if it is unique.

        Two drafts of one name are both meant.
        """
        path = selection.partition("/_history/")[0]
        if not path:
            return []
        found = self.by_reference.get("/".join(path.split("/")[-2:])) or self.by_url.get(selection)
        same_id = self.by_id.get(path.removeprefix("#"), [])
        return found or (same_id if len(same_id) == 1 else [])
