"""`cds-service sandbox`: the stories in a real FHIR server, and orders for the patients there."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from cds_service.commands.firing import fire_request, request_json
from cds_service.commands.shared import fail, loaded_services, local_today, read_environment, scenario_named
from cds_service.commands.tokens import Tokens, token_options
from cds_service.fhir.client import FhirClient, FhirError, FhirRefusal
from cds_service.fhir.evidence import objects
from cds_service.sandbox import (
    filled_in,
    hook_request,
    patient_id_in,
    patient_query,
    queries,
    transaction,
    without_conditions,
)
from cds_service.scenarios import Scenario, scenarios
from cds_service.service import Service

_CONDITIONS_REFUSED = frozenset({400, 412, 413, 422})  # so do servers that take few conditions in one transaction


@click.group()
def sandbox() -> None:
    """The stories in a real FHIR server, and orders for the patients there."""


@sandbox.command()
@click.option("--fhir-server", "base", required=True, metavar="URL", help="Base URL of an R4 server you may write to.")
@click.option("--scenario", "name", metavar="NAME", help="One story by its name. [default: all]")
@click.option("--wait", type=click.IntRange(0), default=0, metavar="SECONDS", help="Wait for the server to start.")
def load(base: str, name: str | None, wait: int) -> None:
    """Put the patient of a scenario, and what the chart holds, into a FHIR server; print the patient id.

    The dates are rolled so that the story ends today. Loading again brings the same patient up to date. Exits 1 when
    the server refuses a story.

    Example: cds-service sandbox load --fhir-server http://localhost:8080/fhir --scenario failed-and-reordered
    """
    service = loaded_services(read_environment())[0]
    chosen = scenarios([service.id]) if name is None else [scenario_named(name, service)]
    refused = 0
    try:
        server = FhirClient(base)
        server.wait(wait)
        for scenario in chosen:
            try:
                identity = _load(server, scenario)
            except FhirRefusal as error:
                refused += 1
                click.echo(f"cds-service: {scenario.name}: {error}", err=True)
            else:
                click.echo(identity if name else f"{scenario.name}  {identity}")
    except FhirError as error:
        fail(f"{base}: {error}")
    sys.exit(1 if refused else 0)


@sandbox.command("fire")
@click.option("--fhir-server", "base", required=True, metavar="URL", help="Base URL of the FHIR server.")
@click.option("--patient", "patient_id", required=True, metavar="ID", help="Id of the patient there.")
@click.option("--order", "kind", metavar="KIND", help="Kind of the order that is drafted; a wrong one lists them all.")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Base address of the service.")
@click.option("--no-prefetch", is_flag=True, help="Send only where to ask; the service reads the chart itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as it came.")
@token_options
def sandbox_fire(
    base: str, patient_id: str, kind: str | None, url: str, no_prefetch: bool, as_json: bool, tokens: Tokens
) -> None:
    """Draft an order for a patient of a FHIR server, fire it at a running service, print cards and timings.

    The prefetch is read from the FHIR server by the templates that the service shows at discovery.

    Example: cds-service sandbox fire --fhir-server http://localhost:8080/fhir --patient 1 --no-prefetch
    """
    service = loaded_services(read_environment())[0]
    orders = service.sample_orders
    if kind is not None and kind not in orders:
        fail(f"--order {kind}: there is no such kind of order; there are: {', '.join(orders)}.")
    order = orders[kind] if kind else next(iter(orders.values()))
    try:
        server = FhirClient(base)
    except FhirError as error:
        fail(f"{base}: {error}")
    prefetch = None if no_prefetch else _read_prefetch(server, _templates(url.rstrip("/"), service, tokens), patient_id)
    fire_request(url, service, hook_request(patient_id, order, server.base, prefetch), tokens, as_json=as_json)


def _load(server: FhirClient, scenario: Scenario) -> str:
    """Write the transaction of a scenario; returns the id that the server gave the patient."""
    bundle = transaction(scenario, local_today())
    try:
        answer = server.transact(bundle)
    except FhirRefusal as error:
        if error.status not in _CONDITIONS_REFUSED:
            raise
        click.echo(f"{scenario.name}: {error} Looking up what is there, to send it again without conditions.", err=True)
        found = {query: identity for query in queries(bundle) if (identity := server.find(query))}
        answer = server.transact(without_conditions(bundle, found))
    identity = patient_id_in(answer) or server.find(patient_query(scenario))
    if identity is None:
        raise FhirRefusal("the server took the transaction and does not find its patient; does it index identifiers?")
    click.echo(f"{scenario.name}: {len(bundle['entry'])} resources", err=True)
    return identity


def _read_prefetch(server: FhirClient, templates: Mapping[str, str], patient_id: str) -> dict[str, Any]:
    """Read the prefetch as an EHR does; a query that fails leaves its key out, and says so."""
    started = time.perf_counter()
    read: dict[str, Any] = {}
    for key, template in templates.items():
        query = filled_in(template, patient_id)
        try:
            if query is None:
                raise FhirError("the template asks for what this request does not have.")
            read[key] = server.read(query)
        except FhirError as error:
            if (query or "").startswith("Patient/"):
                fail(f"{server.base}: {error}")
            click.echo(f"cds-service: {key} is not sent: {error}", err=True)
    milliseconds = (time.perf_counter() - started) * 1000
    click.echo(f"{len(read)} of {len(templates)} prefetch keys read in {milliseconds:.1f} ms", err=True)
    return read


def _templates(url: str, service: Service, tokens: Tokens) -> dict[str, str]:
    """The prefetch templates of a running service, from its discovery."""
    body = request_json("GET", f"{url}/cds-services", url, tokens)[0]
    entries = objects(body.get("services"))
    ours = [entry for entry in entries if entry.get("id") == service.id and entry.get("hook") == "order-select"]
    if not ours:
        fail(f"{url}: discovery shows no service '{service.id}' for order-select; is it this service?")
    return {str(key): str(template) for key, template in dict(ours[0].get("prefetch") or {}).items()}
