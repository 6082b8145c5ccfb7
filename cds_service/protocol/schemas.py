"""What is sent and answered, as models that OpenAPI describes; requests are read by hook_request.py, not by these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from cds_service.protocol.card import MAX_SUMMARY, Indicator
from cds_service.service import DECISION_EXTENSION

Json = dict[str, Any]
Text = Annotated[str, Field(pattern=r"\S")]


class _Sent(BaseModel):
    """What clients send: members beyond these are ignored."""

    model_config = ConfigDict(extra="allow")


class _Given(BaseModel):
    """What we answer: these members and no others, absent rather than null."""

    model_config = ConfigDict(extra="forbid")


class Bundle(_Sent):
    """A FHIR R4 Bundle."""

    resourceType: Literal["Bundle"]
    entry: list[Json] = []


class Context(_Sent):
    """What the clinician is doing."""

    userId: Text = Field(description="`Practitioner/id` or `PractitionerRole/id`")
    patientId: str = Field(description="Bare id of the patient", pattern=r"^[A-Za-z0-9\-._]{1,255}$")
    encounterId: str | None = Field(None, description="Bare id of the encounter")
    draftOrders: Bundle = Field(description="Every unsigned order of the session")
    selections: list[str] = Field([], description="The drafts just picked, as `Type/id`; required for order-select")


class FhirAuthorization(_Sent):
    """Access to the FHIR server of the request; never stored and never logged."""

    access_token: Text
    token_type: Literal["Bearer"]
    expires_in: int | None = None
    scope: str | None = None
    subject: str | None = None
    patient: Text | None = Field(None, description="The patient in context")


_CONDITIONS: Json = {
    "dependentRequired": {"fhirAuthorization": ["fhirServer"]},
    "if": {"properties": {"hook": {"const": "order-select"}}},
    "then": {"properties": {"context": {"required": ["selections"]}}},
}


class HookRequest(_Sent):
    """One call of a hook, CDS Hooks 2.0."""

    model_config = ConfigDict(json_schema_extra=_CONDITIONS)

    hook: Text
    hookInstance: Text = Field(description="A UUID of this invocation")
    fhirServer: str | None = Field(None, min_length=1, description="FHIR base URL; needed beside `fhirAuthorization`")
    fhirAuthorization: FhirAuthorization | None = None
    context: Context
    prefetch: Json = Field({}, description="Answers to the prefetch queries by key")


class ServiceEntry(_Given):
    """A hook that a service answers."""

    hook: str
    id: str
    title: str
    description: str
    usageRequirements: str
    prefetch: dict[str, str] = Field(description="Query template by key")


class Discovery(_Given):
    """The services and their hooks; one id may stand there for several hooks."""

    services: list[ServiceEntry]


class Coding(_Given):
    """A FHIR Coding."""

    system: str
    code: str
    display: str | None = None


class OverrideReason(_Given):
    """A reason that a clinician may give for not following the card."""

    system: str
    code: str
    display: str


class Source(_Given):
    """Who says so."""

    label: str
    url: str | None = None
    topic: Coding


class Creation(_Given):
    """Adds a new draft order."""

    type: Literal["create"]
    description: str
    resource: Json = Field(description="The new draft, a FHIR R4 resource")


class Removal(_Given):
    """Removes one of the drafts in the request."""

    type: Literal["delete"]
    description: str
    resourceId: str = Field(description="The draft as `Type/id`")


class Suggestion(_Given):
    """One action that the clinician may take."""

    label: str
    uuid: str
    actions: list[Annotated[Creation | Removal, Field(discriminator="type")]] = Field(min_length=1, max_length=1)


class Link(_Given):
    """An address that the clinician may open."""

    label: str
    url: str
    type: Literal["absolute"]


class Decision(_Given):
    """Why the card was given; what does not apply is absent."""

    service: str
    knowledgeVersion: str
    card: str = Field(description="The kind of card")
    order: list[str] = Field([], description="The selected drafts that the card is about")
    orderedKind: str | None = None
    outcome: str | None = None
    subtype: str | None = None
    evidenceGrade: str | None = None
    tier: str | None = None
    options: list[str] = []
    parallel: list[str] = []
    rules: list[str] = Field([], description="The rows of the decision tables that fired")
    evidence: list[str] = Field([], description="The resources that the decision rests on")
    notRead: list[str] = Field([], description="Prefetch keys that were not available")
    sessions: list[Json] = []
    unreadable: list[str] = []
    nonconforming: list[str] = []


class CardExtension(_Given):
    """The decision, under a key of our own."""

    decision: Decision = Field(alias=DECISION_EXTENSION)


class Card(_Given):
    """Advice for one clinical question."""

    uuid: str
    summary: str = Field(max_length=MAX_SUMMARY)
    detail: str = Field(description="GitHub-flavoured Markdown")
    indicator: Indicator
    source: Source
    suggestions: list[Suggestion] = Field([], min_length=1)
    selectionBehavior: Literal["any"] = "any"
    links: list[Link] = Field([], min_length=1)
    overrideReasons: list[OverrideReason] = Field([], min_length=1)
    extension: CardExtension


class Cards(_Given):
    """The answer to a call; no cards when there is nothing worth interrupting for."""

    cards: list[Card]


class IssueText(_Given):
    """What and why, in words."""

    text: str


class Issue(_Given):
    """What is wrong, where, and what to do."""

    severity: Literal["error"]
    code: str = Field(description="FHIR issue type")
    details: IssueText
    diagnostics: str | None = Field(None, description="The member at fault and what to do")
    expression: list[str] = Field([], description="The member at fault, never its value")


class OperationOutcome(_Given):
    """Every answer that is not 200: a FHIR OperationOutcome without patient data."""

    resourceType: Literal["OperationOutcome"]
    issue: list[Issue] = Field(min_length=1)


class AcceptedSuggestion(_Sent):
    """A suggestion that was taken."""

    id: Text = Field(description="The `uuid` of the suggestion")


class GivenReason(_Sent):
    """One of the card's override reasons, or of the client's own."""

    code: str
    system: str | None = None
    display: str | None = None


class GivenOverride(_Sent):
    """Why the card was not followed: at least one of the two."""

    reason: GivenReason | None = None
    userComment: str | None = Field(None, description="Free text; kept encrypted and apart, and in no report")


class Report(_Sent):
    """What became of a card."""

    card: Text = Field(description="The `uuid` of the card")
    outcome: Literal["accepted", "overridden"]
    acceptedSuggestions: list[AcceptedSuggestion] = Field([], description="Needed when the outcome is accepted")
    overrideReason: GivenOverride | None = None
    outcomeTimestamp: str = Field(description="When it happened, RFC 3339 in UTC")


class Feedback(_Sent):
    """What became of cards; the same may be told again and counts once."""

    feedback: list[Report]


class Stored(_Given):
    """All that could be read is stored; an entry without card or outcome is left out."""


class Live(_Given):
    """The process is up."""

    status: Literal["ok"]


class Ready(Live):
    """The service is able to answer."""

    knowledge: dict[str, str] = Field(description="Knowledge version by service id")


class _Plain(GenerateJsonSchema):
    """Schemas as a reader wants them: an optional member is absent, never null; no titles, no defaults."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Leave null out."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave the default out."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Names are enough."""
        return False


def schemas() -> Json:
    """The schema of every message by name, referring to each other."""
    messages = (HookRequest, Discovery, Cards, Feedback, Stored, OperationOutcome, Live, Ready)
    _, definitions = models_json_schema(
        [(message, "validation") for message in messages],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Plain,
    )
    described: Json = definitions["$defs"]
    return described
