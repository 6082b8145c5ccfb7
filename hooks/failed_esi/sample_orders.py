"""One draft of each kind of order for testers: sample_orders.toml, with codes from the value sets."""

from __future__ import annotations

from collections.abc import Mapping

from cds_service.fhir.codes import CodeEntry, Coding
from cds_service.protocol.card import NewOrder
from hooks.failed_esi.facts import OrderKind
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.toml_files import Toml, read_toml, require, require_known

_MEMBERS = frozenset({"text", "concept", "having", "resource"})
_RESOURCES = ("ServiceRequest", "MedicationRequest")


def sample_orders(knowledge: Knowledge) -> Mapping[str, NewOrder]:
    """The drafts by kind of order, in the order of the file. Raises KnowledgeError."""
    table = read_toml(knowledge.folder / "sample_orders.toml")
    return {kind: _read_order(kind, order, knowledge) for kind, order in table.items()}


def _read_order(kind: str, table: Toml, knowledge: Knowledge) -> NewOrder:
    where = f"sample_orders.toml, [{kind}]"
    require_known(kind, list(OrderKind), where, "kind of order")
    for member in table:
        require_known(member, _MEMBERS, where, "member")
    resource = table.get("resource", "ServiceRequest")
    require_known(resource, _RESOURCES, where, "resource")
    entry = _first_code(table, knowledge)
    text = table.get("text") or (entry.label if entry else "")
    require(bool(text), where, "has neither a text nor a code of the value sets to take one from")
    return NewOrder(resource, (Coding(entry.system, entry.code),) if entry else (), text)


def _first_code(table: Toml, knowledge: Knowledge) -> CodeEntry | None:
    """The first code of the concept with these attributes; a site's value sets may hold none."""
    wanted = table.get("having", {}).items()
    codes = (entry for entry in knowledge.codes.entries if entry.concept == table.get("concept"))
    return next((entry for entry in codes if not entry.is_prefix and wanted <= entry.attributes.items()), None)
