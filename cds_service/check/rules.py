"""The list of rules: which section of the specification each is from, what it asks, and what it is about."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule. `about` names what must be there before it can be looked at."""

    id: str
    level: str
    section: str
    says: str
    about: str


def _rules(section: str, *rows: tuple[str, str, str, str]) -> tuple[Rule, ...]:
    return tuple(Rule(name, level, section, says, about) for name, level, says, about in rows)


RULES: tuple[Rule, ...] = (
    *_rules(
        "Security and Safety",
        ("transport.tls", "shall", "a service beyond this machine or its network is reached over https", "address"),
    ),
    *_rules(
        "Use of JSON",
        ("answer.json", "shall", "a 200 is JSON, and is declared as JSON", "200"),
        ("answer.empty", "shall", "no member is null, an empty string, an empty array or an empty object", "JSON"),
    ),
    *_rules(
        "Discovery",
        ("discovery.answer", "shall", "GET /cds-services answers 200 with an object that holds `services`", "answer"),
        ("discovery.members", "shall", "every entry has the strings `hook`, `id` and `description`", "entry"),
        ("discovery.optional", "shall", "optional members of an entry have the type they are given", "optional member"),
        ("discovery.unique", "shall", "one `id` stands under one `hook` once", "entry"),
    ),
    *_rules(
        "Prefetch Template",
        ("prefetch.query", "shall", "a template is one relative read or search by type", "template"),
        ("prefetch.tokens", "shall", "tokens name first-level fields of the context, or the user", "template"),
        ("prefetch.subset", "should", "a search stays inside the subset that every FHIR server knows", "search"),
    ),
    *_rules(
        "Cross-Origin Resource Sharing",
        ("cors.discovery", "should", "a browser may ask for discovery, and may send a token", "preflight"),
        ("cors.call", "should", "a browser may call a service with JSON and a token", "preflight"),
        ("cors.feedback", "should", "a browser may send feedback with JSON and a token", "preflight"),
        ("cors.answers", "should", "every answer, errors too, may be read by a browser", "answer"),
        ("cors.credentials", "shall", "`*` and credentials do not stand together", "answer with CORS headers"),
    ),
    *_rules(
        "Calling a CDS Service",
        ("call.answer", "shall", "a call for a listed hook is answered 200, or 412 for want of data", "call"),
        ("call.tolerant", "shall", "unknown members and extensions are ignored", "call that is answered"),
        ("call.nulls", "shall", "prefetch keys that hold null are answered, not refused as malformed", "template"),
        ("call.without-prefetch", "shall", "without prefetch the answer is 200, or 412", "template"),
    ),
    *_rules(
        "HTTP Status Codes",
        ("refuse.json", "should", "a body that is not JSON is refused with 4xx", "probe"),
        ("refuse.members", "should", "a body without a required member is refused with 4xx", "probe"),
        ("refuse.hook", "should", "a hook that the service does not list is refused with 4xx", "probe"),
        ("refuse.service", "should", "an unknown service id is 404", "probe"),
        ("refuse.method", "should", "GET on a service is 405", "probe"),
        ("refuse.content-type", "should", "a body that is not declared as JSON is refused with 4xx", "probe"),
    ),
    *_rules(
        "Returning OperationOutcome",
        ("error.json", "should", "an error is JSON, best an OperationOutcome", "error"),
        ("error.outcome", "shall", "an OperationOutcome has issues with severity and code", "OperationOutcome"),
        ("error.trace", "shall", "an error shows no stack trace", "error"),
        ("error.echo", "shall", "an error does not repeat who the patient is", "error"),
    ),
    *_rules(
        "CDS Service Response",
        ("response.cards", "shall", "a 200 holds the array `cards`", "200 to a call"),
        ("response.system-actions", "shall", "`systemActions` are actions, or not there", "systemActions"),
        ("response.ids", "shall", "uuids of cards and suggestions are not used twice in an answer", "uuid"),
    ),
    *_rules(
        "Card Attributes",
        ("card.uuid", "shall", "`uuid` is a lower-case RFC 4122 UUID", "card with a uuid"),
        ("card.summary", "shall", "`summary` is there and shorter than 140 characters", "card"),
        ("card.detail", "shall", "`detail` is a string", "card with a detail"),
        ("card.indicator", "shall", "`indicator` is info, warning or critical", "card"),
        ("card.extension", "shall", "`extension` is an object", "card with an extension"),
        ("card.selection", "shall", "suggestions have a `selectionBehavior` that exists (cds-resp-6)", "suggestions"),
        ("card.recommended", "shall", "at-most-one has at most one recommended (cds-resp-1)", "card with at-most-one"),
    ),
    *_rules(
        "Source",
        ("source.label", "shall", "`source` is there with a `label`", "card"),
        ("source.addresses", "shall", "`url` and `icon` are absolute", "source with an address"),
        ("source.topic", "shall", "`topic` is a Coding with `code` and `system`", "source with a topic"),
    ),
    *_rules(
        "Overrides",
        ("override.coding", "shall", "a reason has `code`, `system` and `display` (cds-resp-4)", "override reason"),
    ),
    *_rules(
        "Suggestion",
        ("suggestion.label", "shall", "a suggestion has a `label`", "suggestion"),
        ("suggestion.uuid", "shall", "`uuid` is a lower-case RFC 4122 UUID", "suggestion with a uuid"),
        ("suggestion.recommended", "shall", "`isRecommended` is a boolean", "suggestion with isRecommended"),
        ("suggestion.actions", "should", "`actions` is an array with something in it", "suggestion"),
        ("suggestion.behavior", "shall", "that behavior is a defined one (cds-resp-7)", "actionSelectionBehavior"),
    ),
    *_rules(
        "Action",
        ("action.type", "shall", "`type` is create, update or delete", "action"),
        ("action.description", "shall", "an action of a suggestion has a `description` (cds-resp-5)", "such action"),
        ("action.resource", "shall", "create and update carry a FHIR resource as an object", "create or update"),
        ("action.delete", "shall", "delete carries `resourceId`, and no `resource` (cds-resp-2)", "delete"),
        ("action.target", "shall", "update and delete are about a draft of the request", "update or delete"),
    ),
    *_rules(
        "Link",
        ("link.members", "shall", "a link has `label`, an absolute `url`, and `type` absolute or smart", "link"),
        ("link.app-context", "shall", "`appContext` is text, on smart links only (cds-resp-3)", "link with appContext"),
        ("link.autolaunchable", "shall", "`autolaunchable` is a boolean", "link with autolaunchable"),
    ),
    *_rules(
        "Feedback",
        ("feedback.accepted", "shall", "feedback that a suggestion was accepted is taken", "feedback route"),
        ("feedback.overridden", "shall", "feedback that a card was overridden is taken", "feedback route"),
        ("feedback.malformed", "should", "a body without the array `feedback` is refused with 4xx", "feedback route"),
    ),
)  # fmt: skip
