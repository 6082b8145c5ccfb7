"""The source attributes that users of a decision support intervention may ask for (45 CFR 170.315(b)(11)(iv)(A))."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hooks.failed_esi.knowledge import Knowledge, Source
from hooks.failed_esi.toml_files import read_toml, require

_ATTRIBUTES = 13


def source_attributes(knowledge: Knowledge) -> dict[str, Any]:
    """All attributes, with the knowledge that they speak of. Raises KnowledgeError."""
    content = read_toml(knowledge.folder / "attributes.toml")
    words = _words(knowledge)
    attributes = [
        {name: value.format_map(words) if isinstance(value, str) else value for name, value in row.items()}
        for row in content["attribute"]
    ]
    return {
        "service": knowledge.service["id"],
        "title": knowledge.service["title"],
        "knowledgeVersion": knowledge.version,
        "status": knowledge.status,
        "profile": knowledge.profile,
        "kind": content["kind"],
        "regulation": content["regulation"],
        "note": content["note"],
        "attributes": attributes,
        "sources": [_source(source) for source in knowledge.sources.values()],
    }


def check_attributes(knowledge: Knowledge) -> Iterator[str]:
    """All of them are there, in their order, and answered; yields one line. Raises KnowledgeError."""
    attributes = source_attributes(knowledge)["attributes"]
    ids = [attribute["id"] for attribute in attributes]
    require(ids == list(range(1, _ATTRIBUTES + 1)), "attributes.toml", f"the ids are not 1 to {_ATTRIBUTES} in order")
    for attribute in attributes:
        where = f"attributes.toml, attribute {attribute['id']}"
        require(all(attribute.values()), where, "a name, an answer or details are empty")
    yield f"{len(attributes)} source attributes are answered"


def _words(knowledge: Knowledge) -> dict[str, str]:
    """What the details may name in braces."""
    checked = [source.checked_on for source in knowledge.sources.values()]
    verified = sum(source.is_verified for source in knowledge.sources.values())
    reviewers = ", ".join(knowledge.pathway["about"]["reviewed_by"])
    return {
        "version": knowledge.version,
        "status": knowledge.status,
        "reviewed": f"reviewed by {reviewers}" if reviewers else "no clinician has signed it yet",
        "sources": str(len(checked)),
        "unverified": str(len(checked) - verified),
        "first_check": min(checked).isoformat(),
        "last_check": max(checked).isoformat(),
    }


def _source(source: Source) -> dict[str, Any]:
    members = {
        "name": source.short,
        "title": source.title,
        "publisher": source.publisher,
        "published": source.published,
        "url": source.url,
        "isVerifiedAtTheSource": source.is_verified,
        "checkedOn": source.checked_on.isoformat(),
    }
    return {name: value for name, value in members.items() if value != ""}
