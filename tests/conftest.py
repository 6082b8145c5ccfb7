"""Shared fixtures: the service as it ships, an application whose day is that of the stories, and short-cuts."""

from __future__ import annotations

from datetime import date
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, text

import hooks
import tests.data_folder  # noqa: F401 - before anything reads the settings
from cds_service.answer import Answer, answer
from cds_service.app import create_app
from cds_service.service import Service, Site
from cds_service.settings import Settings
from hooks.failed_esi.knowledge import Knowledge, read_knowledge
from tests import postgres
from tests.chart import FAILED
from tests.fhir_server import FakeFhirServer, serving

pytest_plugins = ["tests.hazards"]

TODAY = date(2026, 6, 1)
_NUMBERS = count()

# A slow machine is no failure: times are measured in bench/, never asserted.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server of our own."""
    pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    binaries = postgres.programs()
    if binaries is None:
        pytest.skip(postgres.NEEDED)
    with postgres.cluster(binaries) as url:
        yield create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")


@pytest.fixture
def postgres_url(postgres_server):
    """An empty database in it."""
    name = f"ledger{next(_NUMBERS)}"
    with postgres_server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return postgres_server.url.set(database=name, drivername="postgresql").render_as_string()


@pytest.fixture(scope="session")
def service() -> Service:
    return hooks.SERVICES[0](Site())


@pytest.fixture(scope="session")
def knowledge() -> Knowledge:
    return read_knowledge()


@pytest.fixture(scope="session")
def app():
    return create_app(settings=Settings(log_level="error"), today=lambda: TODAY)


@pytest.fixture(scope="session")
def patient_app():
    """An application with time enough for a slow machine; deadlines are tested with one of their own."""
    return create_app(settings=Settings(log_level="error", deadline_ms=5000, max_wait_ms=10_000), today=lambda: TODAY)


@pytest.fixture
def fhir():
    """A FHIR server of ours that holds the chart of one patient."""
    with serving(FakeFhirServer(list(FAILED))) as server:
        yield server


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def call(client):
    """Post a hook request to the service over HTTP in-process."""

    def post(body: Any, **more: Any):
        return client.post("/cds-services/failed-esi", json=body, **more)

    return post


@pytest.fixture(scope="session")
def ask(service):
    """Answer a hook request without HTTP."""

    def run(body: Any, today: date = TODAY) -> Answer:
        return answer(service, body, today)

    return run


@pytest.fixture(scope="session")
def decide(ask):
    """The decision of a hook request, as `explain --json` shows it."""

    def run(body: Any, today: date = TODAY) -> dict[str, Any]:
        return ask(body, today).explanation(today)["decision"]

    return run


@pytest.fixture(scope="session")
def cards_of(ask):
    """The ids of the cards that a hook request gets."""

    def run(body: Any, today: date = TODAY) -> list[str]:
        return [advised.card.id for advised in ask(body, today).advice.cards]

    return run
