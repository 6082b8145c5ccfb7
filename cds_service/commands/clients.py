"""`cds-service client`: set up who may call, and find out why somebody may not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from cds_service.commands.shared import fail, loaded_services, read_environment
from cds_service.commands.tokens import read_token
from cds_service.settings import Settings
from cds_service.trust.admission import client_key_sets
from cds_service.trust.client_jwt import LONGEST_LIFE, Refused, Step, Token, TokenCheck
from cds_service.trust.clients import Client, ClientsError, clients_in, read_clients
from cds_service.trust.key_sets import ALGORITHMS, Jwk, KeySetUnavailable, UnusableKey, key_set_reader, read_key
from cds_service.trust.replay_store import MemoryReplayStore

_FILE = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="The clients file. [default: CDS_CLIENTS, else clients.toml]",
)


@click.group()
def client() -> None:
    """The clients that may call: the tables of the clients file."""


@client.command()
@click.argument("name", metavar="NAME")
@click.option("--issuer", prompt="Issuer, the `iss` of its tokens", help="The `iss` of its tokens, to the letter.")
@click.option("--jwks-url", help="Address of its key set; asked for when there is no --jwks-file.")
@click.option("--jwks-file", help="File of its key set, seen from the clients file.")
@click.option("--audience", multiple=True, help="An `aud` of its tokens. [default: the addresses below CDS_PUBLIC_URL]")
@click.option("--tenant", "tenants", multiple=True, help="A `tenant` that is this client. [default: any]")
@click.option("--algorithm", "algorithms", multiple=True, type=click.Choice(ALGORITHMS), help="[default: ES384, RS384]")
@click.option("--fhir-server", "fhir_servers", multiple=True, help="Base URL of a FHIR server that may be asked.")
@click.option("--dialect", help="How it is spoken to. [default: CDS_DIALECT]")
@click.option("--profile", help="Policy profile. [default: CDS_PROFILE]")
@click.option("--location", help="Where it stands, for exports.")
@click.option("--silent", is_flag=True, help="Decide and record, show no card.")
@_FILE
def add(name: str, path: Path | None, **given: Any) -> None:
    """Add a client to the clients file, which is made if need be; print what to register at the EHR.

    Example: cds-service client add north --issuer https://ehr.example.org --jwks-url https://ehr.example.org/jwks
    """
    settings = read_environment()
    if not given["jwks_url"] and not given["jwks_file"]:
        given["jwks_url"] = click.prompt("Address of its key set (jwks_url)")
    file = _path(settings, path)
    before = _text(file) if file.exists() else ""
    table = _table(name, {key: value for key, value in given.items() if value})
    text = f"{before.rstrip()}\n\n{table}" if before.strip() else table
    clients = _checked(file, text, settings)
    _write(file, text)
    click.echo(f"[{name}] stands in {file}. The service reads it when it starts with CDS_CLIENTS={file}.\n")
    added = next(client for client in clients if client.id == name)
    click.echo("\n".join(_registration(settings, added)))


@client.command("list")
@_FILE
def list_clients(path: Path | None) -> None:
    """List the clients.

    Example: cds-service client list
    """
    for known in _clients(read_environment(), path):
        keys = known.jwks_url or f"{len(known.keys)} key(s) at hand"
        agreed = {"tenants": ", ".join(known.tenants), "dialect": known.dialect, "profile": known.profile}
        more = [f"{name} {value}" for name, value in agreed.items() if value] + ["silent"] * known.silent
        click.echo("  ".join([known.id, known.issuer, keys, ", ".join(known.algorithms), *more]))


@client.command("test")
@click.argument("name", metavar="NAME")
@click.option("--token", metavar="TOKEN", help="A token to check step by step; - reads it from stdin.")
@_FILE
def check_client(name: str, token: str | None, path: Path | None) -> None:
    """Read the key set of a client and show it; check a token step by step. Exits 1 when one of them is no good.

    A token is not used up by this. What is wrong with it is told here alone, and never to a caller.

    Example: cds-service client test north --token "$TOKEN"
    """
    settings = read_environment()
    known = next((known for known in _clients(settings, path) if known.id == name), None)
    if known is None:
        fail(f"{name}: there is no client of this name; `cds-service client list` lists them.")
    keys = _keys(settings, known)
    click.echo(f"Keys: {known.jwks_url or 'at hand'}")
    told = [_told(key, published=settings.insecure) for key in keys]
    click.echo("\n".join(f"  {line}" for _, line in told) or "  none")
    is_good = any(is_usable for is_usable, _ in told)
    if token is not None:
        is_good = _tell_token(settings, known, keys, read_token(token)) and is_good
    sys.exit(not is_good)


def _path(settings: Settings, given: Path | None) -> Path:
    return given or settings.clients or Path("clients.toml")


def _clients(settings: Settings, path: Path | None) -> tuple[Client, ...]:
    try:
        return read_clients(_path(settings, path), settings.public_url, insecure=settings.insecure)
    except ClientsError as error:
        fail(f"{error}.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: cannot be read: {error}.")


def _checked(path: Path, text: str, settings: Settings) -> tuple[Client, ...]:
    """The clients of the file as it would be; ends the command before anything is written."""
    try:
        return clients_in(text, path, settings.public_url, insecure=settings.insecure)
    except ClientsError as error:
        fail(f"{error}. Nothing was written.")


def _write(path: Path, text: str) -> None:
    """Replace the file whole, so that nobody reads half of it."""
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}.")


def _table(name: str, members: Mapping[str, Any]) -> str:
    """A table of TOML; its strings, lists and switches are written as those of JSON are."""
    lines = [
        f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}"
        for key, value in members.items()
    ]
    return "\n".join([f"[{name}]", *lines, ""])


def _addresses(settings: Settings) -> list[str]:
    """The addresses of the services and of their feedback."""
    found = [f"{settings.public_url}/cds-services/{service.id}" for service in loaded_services(settings)]
    return [*found, *(f"{address}/feedback" for address in found)]


def _registration(settings: Settings, known: Client) -> Iterator[str]:
    base = settings.public_url or "https://YOUR-ADDRESS"
    yield "Register at the EHR:"
    for service in loaded_services(settings):
        yield f"  service    {base}/cds-services/{service.id}  ({', '.join(service.hooks)}; FHIR R4)"
        yield f"  feedback   {base}/cds-services/{service.id}/feedback"
    yield f"  discovery  {base}/cds-services  (no token; the prefetch keys and their queries stand there)"
    yield "Every call carries `Authorization: Bearer` with a JWT:"
    yield f"  alg        {' or '.join(known.algorithms)}, with kid and typ JWT"
    yield f"  iss        {known.issuer}"
    yield f"  aud        {' or '.join(known.audience) or 'the address that is called'}"
    yield f"  exp        at most {LONGEST_LIFE / 60:.0f} minutes after iat"
    yield "  jti        another one in each call"
    if known.tenants:
        yield f"  tenant     {' or '.join(known.tenants)}"


def _keys(settings: Settings, known: Client) -> list[Any]:
    if known.jwks_url is None:
        return list(known.keys)
    try:
        return list(key_set_reader(settings.ca_bundle)(known.jwks_url))
    except KeySetUnavailable as error:
        click.echo(f"cds-service: {known.jwks_url}: no key set: {error}.", err=True)
        return []


def _told(jwk: Jwk, *, published: bool) -> tuple[bool, str]:
    """Whether a key is usable, and a line about it."""
    members = jwk if isinstance(jwk, dict) else {}
    line = "  ".join(str(members.get(name, "-"))[:60] for name in ("kid", "kty", "crv", "alg"))
    try:
        read_key(jwk, published=published)
    except UnusableKey as error:
        return False, f"{_plain(line)}  not used: {error}"
    return True, f"{_plain(line)}  used"


def _tell_token(settings: Settings, known: Client, keys: list[Any], token: str) -> bool:
    """Check a token as a call does, with a memory of its own; print every step up to the one that it fails."""
    key_sets = client_key_sets([known], lambda _: keys, published=settings.insecure)
    check, reason = TokenCheck([known], key_sets, MemoryReplayStore()), None
    click.echo("Token:")
    try:
        parsed = Token.parse(f"Bearer {token}")
        click.echo(f"  header  {json.dumps(parsed.header)}\n  claims  {json.dumps(parsed.claims)}")
        check.client_of(f"Bearer {token}", _addresses(settings))
    except Refused as refused:
        reason = refused.reason
    for step in Step:
        if reason and step is reason.step:
            click.echo(f"  {step:<10} NO: {reason.text}")
            return False
        click.echo(f"  {step:<10} ok")
    return True


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
