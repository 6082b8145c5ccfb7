"""compose.yaml fits together: names, ports, health, and commands that exist."""

import re

import pytest
import yaml

from cds_service.cli import main
from cds_service.settings import Settings
from tests.generated import ROOT

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
FHIR = "http://fhir:8080/fhir"  # as the containers know it


def test_there_is_the_service_a_fhir_server_and_a_loader():
    assert set(SERVICES) == {"service", "fhir", "stories"}
    assert set(COMPOSE) == {"name", "services"}
    assert re.fullmatch(r"hapiproject/hapi:v\d+\.\d+\.\d+-\d+", SERVICES["fhir"]["image"])
    assert SERVICES["fhir"]["environment"]["hapi.fhir.fhir_version"] == "R4"


@pytest.mark.parametrize("name", SERVICES)
def test_every_member_is_one_that_compose_knows(name):
    known = {"build", "image", "environment", "ports", "read_only", "tmpfs", "healthcheck", "command", "restart",
             "depends_on"}  # fmt: skip
    assert set(SERVICES[name]) <= known
    assert set(SERVICES[name].get("depends_on", {})) <= set(SERVICES)


def test_ports_are_open_to_this_machine_only_and_are_those_that_are_listened_on():
    assert SERVICES["service"]["ports"] == ["127.0.0.1:8000:8000"]
    assert SERVICES["fhir"]["ports"] == ["127.0.0.1:8080:8080"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "CDS_PORT=8000" in dockerfile
    assert "EXPOSE 8000" in dockerfile


def test_the_service_is_checked_as_its_image_is():
    program = SERVICES["service"]["healthcheck"]["test"][-1]
    assert program in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert SERVICES["stories"]["depends_on"]["service"] == {"condition": "service_healthy"}


def test_the_settings_are_settings_and_allow_the_server_that_is_loaded(monkeypatch):
    environment = SERVICES["service"]["environment"]
    assert {name.removeprefix("CDS_").lower() for name in environment} <= set(Settings.model_fields)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings().fhir_servers == (FHIR,)


def test_the_loader_runs_a_command_that_exists_and_waits_for_the_server():
    group, command, *options = SERVICES["stories"]["command"]
    load = main.commands[group].commands[command]
    given = load.make_context(command, list(options)).params
    assert given["base"] == FHIR
    assert given["name"] is None
    assert given["wait"] >= 120
    assert SERVICES["stories"]["image"] == SERVICES["service"]["image"]
