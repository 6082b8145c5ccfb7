"""The commands of `cds-service`. Exit codes: 0 done, 1 the answer is no, 2 wrong usage or unreadable input."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
import orjson

from cds_service.answer import answer
from cds_service.app import load_services, local_day
from cds_service.arrangement import load_dialect
from cds_service.check.client import Client, NoAnswer
from cds_service.check.look import Outcome, results
from cds_service.check.probes import check_service
from cds_service.check.report import report_json, report_text
from cds_service.commands.audit import audit
from cds_service.commands.clients import client
from cds_service.commands.feedback import feedback
from cds_service.commands.firing import fire_request, post_json
from cds_service.commands.jwt import jwt
from cds_service.commands.ledger import ledger, replay
from cds_service.commands.sandbox import sandbox
from cds_service.commands.serving import require_callers, tell_callers
from cds_service.commands.shared import (
    Day,
    fail,
    loaded_services,
    local_today,
    opened_ledger,
    pretty,
    read_environment,
    read_file,
    scenario_named,
)
from cds_service.commands.tokens import Tokens, token_options
from cds_service.protocol.dialect_input import accept
from cds_service.protocol.errors import CdsError
from cds_service.scenarios import UnknownScenario, find_scenario, scenarios
from cds_service.service import KnowledgeError, Service
from cds_service.terminal import cards_text, explanation_text
from cds_service.trust.limits import read_json


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
            fail(f"{error.format_message()} `{asked} --help` shows how it is used.")
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
@click.option("--insecure", is_flag=True, default=None, help="Without a clients file, listen beyond this machine.")
def serve(**given: Any) -> None:
    """Run the service; the first line on stdout says where it listens.

    Example: cds-service serve --port 8000
    """
    from cds_service.serve import Server  # gunicorn exists on Unix only; the other commands run anywhere

    settings = read_environment().model_copy(update={name: value for name, value in given.items() if value is not None})
    loaded_services(settings)
    require_callers(settings)
    opened_ledger(settings).engine.dispose()
    _require_free(settings.host, settings.port)
    tell_callers(settings)
    Server(settings).run()


@main.command()
def demo() -> None:
    """Start the service on a free port, fire a scenario over HTTP and print the card.

    Example: cds-service demo
    """
    service = loaded_services(read_environment())[0]
    scenario = find_scenario(service.demo, [service.id])
    with _running_service() as url:
        click.echo(f"The service listens on {url} for this demonstration.")
        click.echo(f"Story: {scenario.story}\n")
        click.echo(f"POST {url}/cds-services/{service.id}")
        body, milliseconds = post_json(url, service.id, scenario.request(local_today()), Tokens())
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
    settings = read_environment()
    service = loaded_services(settings)[0]
    day = today or local_day(settings.timezone)
    dialect = load_dialect(settings, [service])
    try:
        body = accept(read_json(read_file(request_file), settings.max_depth), dialect)
        answered = answer(service, body, day)
    except CdsError as error:
        fail(f"{request_file}: {error.status}: {error.text} {error.where}: {error.advice}")
    explanation = answered.explanation(day)
    click.echo(pretty(explanation) if as_json else explanation_text(explanation))


@main.command()
@click.argument("what", metavar="WHAT")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Base address of the service.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as it came.")
@token_options
def fire(what: str, url: str, as_json: bool, tokens: Tokens) -> None:
    """Post a scenario, or a request file, to a running service; print cards and timing.

    WHAT is a name from `cds-service fixtures` or the path of a JSON file.

    Example: cds-service fire failed-and-reordered --url http://127.0.0.1:8000
    """
    service = loaded_services(read_environment())[0]
    request = _request_named(what, service)
    fire_request(url, service, request, tokens, as_json=as_json)


@main.command()
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was seen as JSON.")
@click.option("--origin", default="https://ehr.example.org", show_default=True, help="Web origin to ask from.")
@token_options
def check(url: str, as_json: bool, origin: str, tokens: Tokens) -> None:
    """Check a running CDS service, ours or another, against CDS Hooks; exits 1 when it breaks a rule.

    It sends hook requests about made-up patients, and feedback on the cards it got.

    Example: cds-service check http://127.0.0.1:8000
    """
    base = url.rstrip("/").removesuffix("/cds-services")
    _require_address(base)
    try:
        found = results(check_service(Client(base, origin, tokens.headers), local_today()))
    except NoAnswer as error:
        fail(f"{url}: {error}; start a service with `cds-service serve`.")
    click.echo(pretty(report_json(base, found)) if as_json else report_text(base, found))
    sys.exit(any(result.outcome is Outcome.FAILED for result in found))


@main.group(invoke_without_command=True)
@click.pass_context
def fixtures(context: click.Context) -> None:
    """List the scenarios; `fixtures show NAME` prints a request.

    Example: cds-service fixtures
    """
    if context.invoked_subcommand is None:
        found = scenarios([service.id for service in loaded_services(read_environment())])
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
    service = loaded_services(read_environment())[0]
    click.echo(pretty(scenario_named(name, service).request(today or local_today())))


@main.group()
def knowledge() -> None:
    """The pathway files."""


@knowledge.command("check")
def knowledge_check() -> None:
    """Load and cross-check the pathway files; exits 1 and says what is wrong when they do not fit together.

    Example: cds-service knowledge check
    """
    try:
        services = load_services(read_environment())
        for service in services:
            for line in service.check():
                click.echo(f"{service.id}: {line}")
    except KnowledgeError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


for group in (sandbox, client, jwt, ledger, replay, audit, feedback):
    main.add_command(group)


def _require_free(host: str, port: int) -> None:
    """End the command when nothing can listen there; the server itself would try for a while first."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return
    except OSError as error:
        fail(f"{host}:{port}: cannot listen there: {error.strerror}. Choose another with --host or --port.")


def _require_address(url: str) -> None:
    """End the command when this is no address of the web."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        fail(f"{url}: not the address of a service; write it as http://127.0.0.1:8000.")


def _request_named(what: str, service: Service) -> Mapping[str, Any]:
    try:
        return find_scenario(what, [service.id]).request(local_today())
    except UnknownScenario:
        if not Path(what).exists():
            fail(f"{what}: neither a scenario (see `cds-service fixtures`) nor a file.")
    try:
        request = orjson.loads(read_file(Path(what)))
    except orjson.JSONDecodeError as error:
        fail(f"{what}: not JSON: line {error.lineno}, column {error.colno}.")
    if not isinstance(request, dict):
        fail(f"{what}: a hook request is a JSON object.")
    return request


@contextmanager
def _running_service() -> Iterator[str]:
    """The real service in a process of its own, on a free port, with a ledger that goes with it."""
    command = [sys.executable, "-m", "cds_service", "serve", "--host", "127.0.0.1", "--port", "0"]
    with (
        TemporaryDirectory(prefix="cds-service-") as folder,
        subprocess.Popen(  # noqa: S603
            command,
            env={**os.environ, "CDS_DATA": folder, "CDS_DATABASE_URL": "", "CDS_CLIENTS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("listening on "):
                fail("The service did not start; `cds-service serve` shows why.")
            yield line.removeprefix("listening on ").strip()
        finally:
            process.terminate()
