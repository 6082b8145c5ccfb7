"""GET /cds-services: one entry for every hook of every service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cds_service.service import Service


def discovery_json(services: Iterable[Service]) -> dict[str, Any]:
    """List the services; a list and not a table by id, because one id may answer several hooks."""
    return {"services": [_entry(service, hook) for service in services for hook in service.hooks]}


def _entry(service: Service, hook: str) -> dict[str, Any]:
    members: dict[str, Any] = {
        "hook": hook,
        "id": service.id,
        "title": service.title,
        "description": service.hooks[hook],
        "usageRequirements": service.usage_requirements,
        "prefetch": dict(service.prefetch),
    }
    return {name: value for name, value in members.items() if value}  # nothing empty, as everywhere
