"""The requests of real clients in fixtures/clients: one folder for each client, answered in its dialect."""

from __future__ import annotations

from typing import Any

from cds_service.app import create_app
from cds_service.scenarios import Scenario, scenarios
from cds_service.settings import Settings

DIALECTS = {
    "epic": "epic",
    "v1": "v1",
    "cerner": "cerner",
    "bahmni": "bahmni",
    "sandbox": "sandbox",
    "crd_generator": "crd-generator",
    "pama": "default",
}


def client_scenarios() -> tuple[Scenario, ...]:
    """Every exchange of every client."""
    return scenarios([f"clients/{client}" for client in DIALECTS])


def name_of(scenario: Scenario) -> str:
    """The client and the shape of its request."""
    return f"{scenario.folder.parent.name}/{scenario.name}"


def answered_in_dialect(scenario: Scenario) -> dict[str, Any]:
    """The status and body that the client gets on the day of the story."""
    client = scenario.folder.parent
    site = client / "site.toml"
    settings = Settings(
        dialect=DIALECTS[client.name],
        dialect_file=site if site.exists() else None,
        fhir_servers=(),
        fhir_loopback=False,
        log_level="error",
    )
    app = create_app(settings=settings, today=lambda: scenario.today)
    response = app.test_client().post("/cds-services/failed-esi", json=scenario.request())
    return {"status": response.status_code, "body": response.get_json()}
