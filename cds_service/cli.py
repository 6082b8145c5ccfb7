"""The commands of `cds-service`. Exit codes: 0 done, 1 the answer is no, 2 wrong usage or unreadable input."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
import orjson
import requests

from cds_service.answer import answer
from cds_service.app import load_dialects, load_services, local_day
from cds_service.check.client import Client, NoAnswer, open_session
from cds_service.check.look import Outcome, results
from cds_service.check.probes import check_service
from cds_service.check.report import report_json, report_text
from cds_service.fhir.client import FhirClient, FhirError, FhirRefusal, outcome_text
from cds_service.fhir.evidence import objects
from cds_service.protocol.dialect import DialectError
from cds_service.protocol.dialect_input import accept
from cds_service.protocol.errors import CdsError
from cds_service.sandbox import (
    filled_in,
    hook_request,
    patient_id_in,
    patient_query,
    queries,
    transaction,
    without_conditions,
)
from cds_service.scenarios import Scenario, UnknownScenario, find_scenario, scenarios
from cds_service.service import KnowledgeError, Service
from cds_service.settings import Settings, SettingsError, read_settings
from cds_service.terminal import cards_text, explanation_text
from cds_service.trust.limits import read_json

_TIMEOUT = 30  # seconds; for a tester, not for an EHR
_FIRST_YEAR, _LAST_YEAR = 1900, 2200  # further away, the look-back would leave the calendar
_CONDITIONS_REFUSED = frozenset({400, 412, 413, 422})  # so do servers that take few conditions in one transaction


class Day(click.ParamType[date]):
    """A calendar day, YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse the day."""
        try:
            day = value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day; write it as YYYY-MM-DD.", param, ctx)
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            self.fail(f"{value!r} is not between {_FIRST_YEAR} and {_LAST_YEAR}.", param, ctx)
        return day


class Commands(click.Group):
    """The commands; wrong usage is one line on stderr and exit code 2, as every other failure."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run a command and end the process."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(2)
        except click.UsageError as error:
            asked = error.ctx.command_path if error.ctx else "cds-service"
            _fail(f"{error.format_message()} `{asked} --help` shows how it is used.")
        except click.Abort:
            sys.exit(130)  # interrupted, as a shell counts it
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cds-service")
def main() -> None:
    """A CDS Hooks service. `cds-service COMMAND --help` shows each command with an example."""


@main.command()
@click.option("--host", help="Address to listen on. [default: CDS_HOST, else 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 picks a free one. [default: CDS_PORT, else 8000]")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes. [default: CDS_WORKERS, else 1]")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Run the service; the first line on stdout says where it listens.

    Example: cds-service serve --port 8000
    """
    from cds_service.serve import Server  # gunicorn exists on Unix only; the other commands run anywhere

    given = {"host": host, "port": port, "workers": workers}
    settings = _settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    _services(settings)
    _require_free(settings.host, settings.port)
    Server(settings).run()


@main.command()
def demo() -> None:
    """Start the service on a free port, fire a scenario over HTTP and print the card.

    Example: cds-service demo
    """
    service = _services(_settings())[0]
    scenario = find_scenario(service.demo, [service.id])
    with _running_service() as url:
        click.echo(f"The service listens on {url} for this demonstration.")
        click.echo(f"Story: {scenario.story}\n")
        click.echo(f"POST {url}/cds-services/{service.id}")
        body, milliseconds = _post(url, service.id, scenario.request(_today()))
        click.echo(f"200 in {milliseconds:.0f} ms\n")
        click.echo(cards_text(body["cards"]))
    click.echo("\nTo keep it running: cds-service serve. More stories: cds-service fixtures.")


@main.command()
@click.argument("request_file", metavar="REQUEST.json", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
@click.option("--today", type=Day(), help="Decide as if it were this day. [default: today]")
def explain(request_file: Path, as_json: bool, today: date | None) -> None:
    """Print the whole decision for one hook request, without a server; also why there is no card.

    Example: cds-service explain request.json --today 2026-06-01
    """
    settings = _settings()
    service = _services(settings)[0]
    day = today or local_day(settings.timezone)
    dialect = load_dialects(settings, [service]).of(None)
    try:
        body = accept(read_json(_read_file(request_file), settings.max_depth), dialect)
        answered = answer(service, body, day)
    except CdsError as error:
        _fail(f"{request_file}: {error.status}: {error.text} {error.where}: {error.advice}")
    explanation = answered.explanation(day)
    click.echo(_pretty(explanation) if as_json else explanation_text(explanation))


@main.command()
@click.argument("what", metavar="WHAT")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Base address of the service.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as it came.")
def fire(what: str, url: str, as_json: bool) -> None:
    """Post a scenario, or a request file, to a running service; print cards and timing.

    WHAT is a name from `cds-service fixtures` or the path of a JSON file.

    Example: cds-service fire failed-and-reordered --url http://127.0.0.1:8000
    """
    service = _services(_settings())[0]
    request = _request_named(what, service)
    _fire(url, service, request, as_json=as_json)


@main.command()
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was seen as JSON.")
@click.option("--origin", default="https://ehr.example.org", show_default=True, help="Web origin to ask from.")
def check(url: str, as_json: bool, origin: str) -> None:
    """Check a running CDS service, ours or another, against CDS Hooks; exits 1 when it breaks a rule.

    It sends hook requests about made-up patients, and feedback on the cards it got.

    Example: cds-service check http://127.0.0.1:8000
    """
    base = url.rstrip("/").removesuffix("/cds-services")
    _require_address(base)
    try:
        found = results(check_service(Client(base, origin), _today()))
    except NoAnswer as error:
        _fail(f"{url}: {error}; start a service with `cds-service serve`.")
    click.echo(_pretty(report_json(base, found)) if as_json else report_text(base, found))
    sys.exit(any(result.outcome is Outcome.FAILED for result in found))


@main.group(invoke_without_command=True)
@click.pass_context
def fixtures(context: click.Context) -> None:
    """List the scenarios; `fixtures show NAME` prints a request.

    Example: cds-service fixtures
    """
    if context.invoked_subcommand is None:
        found = scenarios([service.id for service in _services(_settings())])
        width = max(len(scenario.name) for scenario in found)
        for scenario in found:
            click.echo(f"{scenario.name:<{width}}  {scenario.story}")


@fixtures.command()
@click.argument("name", metavar="NAME")
@click.option("--today", type=Day(), help="Roll the dates so that the story ends on this day. [default: today]")
def show(name: str, today: date | None) -> None:
    """Print the hook request of a scenario, its dates rolled so that the story ends today.

    Example: cds-service fixtures show failed-and-reordered > request.json
    """
    service = _services(_settings())[0]
    click.echo(_pretty(_scenario(name, service).request(today or _today())))


@main.group()
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
    service = _services(_settings())[0]
    chosen = scenarios([service.id]) if name is None else [_scenario(name, service)]
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
        _fail(f"{base}: {error}")
    sys.exit(1 if refused else 0)


@sandbox.command("fire")
@click.option("--fhir-server", "base", required=True, metavar="URL", help="Base URL of the FHIR server.")
@click.option("--patient", "patient_id", required=True, metavar="ID", help="Id of the patient there.")
@click.option("--order", "kind", metavar="KIND", help="Kind of the order that is drafted; a wrong one lists them all.")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Base address of the service.")
@click.option("--no-prefetch", is_flag=True, help="Send only where to ask; the service reads the chart itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as it came.")
def sandbox_fire(base: str, patient_id: str, kind: str | None, url: str, no_prefetch: bool, as_json: bool) -> None:
    """Draft an order for a patient of a FHIR server, fire it at a running service, print cards and timings.

    The prefetch is read from the FHIR server by the templates that the service shows at discovery.

    Example: cds-service sandbox fire --fhir-server http://localhost:8080/fhir --patient 1 --no-prefetch
    """
    service = _services(_settings())[0]
    orders = service.sample_orders
    if kind is not None and kind not in orders:
        _fail(f"--order {kind}: there is no such kind of order; there are: {', '.join(orders)}.")
    order = orders[kind] if kind else next(iter(orders.values()))
    try:
        server = FhirClient(base)
    except FhirError as error:
        _fail(f"{base}: {error}")
    prefetch = None if no_prefetch else _read_prefetch(server, _templates(url.rstrip("/"), service), patient_id)
    _fire(url, service, hook_request(patient_id, order, server.base, prefetch), as_json=as_json)


@main.group()
def knowledge() -> None:
    """The pathway files."""


@knowledge.command("check")
def knowledge_check() -> None:
    """Load and cross-check the pathway files; exits 1 and says what is wrong when they do not fit together.

    Example: cds-service knowledge check
    """
    try:
        services = load_services(_settings())
        for service in services:
            for line in service.check():
                click.echo(f"{service.id}: {line}")
    except KnowledgeError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _settings() -> Settings:
    try:
        return read_settings()
    except SettingsError as error:
        _fail(str(error))


def _services(settings: Settings) -> tuple[Service, ...]:
    try:
        services = load_services(settings)
        load_dialects(settings, services)
    except KnowledgeError as error:
        _fail(f"{error} `cds-service knowledge check` checks all files.")
    except DialectError as error:
        _fail(f"CDS_DIALECT_FILE: {error}.")
    return services


def _require_free(host: str, port: int) -> None:
    """End the command when nothing can listen there; the server itself would try for a while first."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return
    except OSError as error:
        _fail(f"{host}:{port}: cannot listen there: {error.strerror}. Choose another with --host or --port.")


def _require_address(url: str) -> None:
    """End the command when this is no address of the web."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        _fail(f"{url}: not the address of a service; write it as http://127.0.0.1:8000.")


def _today() -> date:
    return local_day(_settings().timezone)


def _request_named(what: str, service: Service) -> Mapping[str, Any]:
    try:
        return find_scenario(what, [service.id]).request(_today())
    except UnknownScenario:
        if not Path(what).exists():
            _fail(f"{what}: neither a scenario (see `cds-service fixtures`) nor a file.")
    try:
        request = orjson.loads(_read_file(Path(what)))
    except orjson.JSONDecodeError as error:
        _fail(f"{what}: not JSON: line {error.lineno}, column {error.colno}.")
    if not isinstance(request, dict):
        _fail(f"{what}: a hook request is a JSON object.")
    return request


def _scenario(name: str, service: Service) -> Scenario:
    try:
        return find_scenario(name, [service.id])
    except UnknownScenario:
        _fail(f"{name}: there is no scenario of this name; `cds-service fixtures` lists them.")


def _load(server: FhirClient, scenario: Scenario) -> str:
    """Write the transaction of a scenario; returns the id that the server gave the patient."""
    bundle = transaction(scenario, _today())
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
                _fail(f"{server.base}: {error}")
            click.echo(f"cds-service: {key} is not sent: {error}", err=True)
    milliseconds = (time.perf_counter() - started) * 1000
    click.echo(f"{len(read)} of {len(templates)} prefetch keys read in {milliseconds:.1f} ms", err=True)
    return read


def _templates(url: str, service: Service) -> dict[str, str]:
    """The prefetch templates of a running service, from its discovery."""
    body = _request("GET", f"{url}/cds-services", url)[0]
    entries = objects(body.get("services"))
    ours = [entry for entry in entries if entry.get("id") == service.id and entry.get("hook") == "order-select"]
    if not ours:
        _fail(f"{url}: discovery shows no service '{service.id}' for order-select; is it this service?")
    return {str(key): str(template) for key, template in dict(ours[0].get("prefetch") or {}).items()}


def _read_file(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        _fail(f"{path}: cannot be read: {error.strerror}.")


def _fire(url: str, service: Service, request: Mapping[str, Any], *, as_json: bool) -> None:
    body, milliseconds = _post(url.rstrip("/"), service.id, request)
    if as_json:
        click.echo(_pretty(body))
        return
    try:
        text, count = cards_text(body["cards"]), len(body["cards"])
    except (KeyError, TypeError, AttributeError, IndexError):
        _fail(f"{url}: the answer is not what CDS Hooks describes; --json prints it as it came.")
    click.echo(f"{text}\n200 in {milliseconds:.1f} ms, {count} card(s)")


def _post(url: str, service_id: str, request: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Post a hook request; ends the command when the service is not there or does not answer 200."""
    return _request("POST", f"{url}/cds-services/{service_id}", url, orjson.dumps(request))


def _request(method: str, address: str, url: str, body: bytes | None = None) -> tuple[dict[str, Any], float]:
    started = time.perf_counter()
    try:
        with open_session(url) as session:
            headers = {"Content-Type": "application/json"}
            response = session.request(method, address, data=body, headers=headers, timeout=_TIMEOUT)
        answered = response.json()
    except requests.JSONDecodeError:
        _fail(f"{url}: the answer is not JSON; is this a CDS Hooks service?")
    except (requests.RequestException, ValueError) as error:
        _fail(f"{url}: no answer ({type(error).__name__}); start one with `cds-service serve` or name it with --url.")
    if response.status_code != 200:
        _fail(f"{url}: {response.status_code}: {outcome_text(answered)}")
    if not isinstance(answered, dict):
        _fail(f"{url}: the answer is not what CDS Hooks describes.")
    return answered, (time.perf_counter() - started) * 1000


@contextmanager
def _running_service() -> Iterator[str]:
    """The real service in a process of its own, on a free port."""
    command = [sys.executable, "-m", "cds_service", "serve", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("listening on "):
                _fail("The service did not start; `cds-service serve` shows why.")
            yield line.removeprefix("listening on ").strip()
        finally:
            process.terminate()


def _pretty(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _fail(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    click.echo(f"cds-service: {' '.join(message.split())}", err=True)
    sys.exit(2)
