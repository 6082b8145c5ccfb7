"""Who may call: one TOML file, a table for each client, read and checked whole at the start."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from cds_service.trust.fhir_servers import is_this_machine
from cds_service.trust.key_sets import ALGORITHMS, UnusableKey, read_key

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s#@]*)?")
_Text = Annotated[str, Field(min_length=1, max_length=255)]


class ClientsError(ValueError):
    """The clients file cannot be used; the message names file, table and key, and says what to do."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Client:
    """A caller that is known by its tokens, and what was agreed with it: one table of the clients file."""

    id: str  # the name of its table
    issuer: Annotated[str, Field(max_length=255)] = ""  # the `iss` of its tokens, to the letter
    tenants: tuple[_Text, ...] = ()  # the `tenant` claims that are this client; none listed: whatever it is
    audience: tuple[_Text, ...] = ()  # the `aud` of its tokens; none listed: the addresses below CDS_PUBLIC_URL
    algorithms: Annotated[tuple[str, ...], Field(min_length=1)] = ("ES384", "RS384")
    jwks_url: str | None = None  # where its public keys are fetched; else they stand in `keys`
    keys: tuple[Mapping[str, Any], ...] = ()  # public keys as JWKs
    fhir_servers: tuple[str, ...] = ()  # base URLs; no other server is asked for this client
    dialect: str | None = None  # else CDS_DIALECT
    prefetch: Mapping[str, Any] | None = None  # our prefetch key = its keys, as in CDS_DIALECT_FILE
    codes: Mapping[str, Any] | None = None  # our code of a created order = its code, likewise
    profile: str | None = None  # else CDS_PROFILE
    silent: Annotated[bool, Field(strict=True)] = False  # decide and record, show no card
    location: _Text | None = None  # where it stands, for exports
    rate: Annotated[int | None, Field(strict=True, ge=1)] = None  # calls in a second, for the limits
    concurrency: Annotated[int | None, Field(strict=True, ge=1)] = None  # calls at once, for the limits


OPEN = Client(id="open")  # everybody, while there is no clients file
_KEYS = frozenset(field.name for field in fields(Client)) - {"id"} | {"jwks_file"}


def read_clients(path: Path, public_url: str | None, *, insecure: bool = False) -> tuple[Client, ...]:
    """Read the clients file. Raises ClientsError.

    `insecure` is for development: it takes http on this machine, and keys whose private half is published.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClientsError(f"{path.name}: cannot be read: {error}") from None
    return clients_in(text, path, public_url, insecure=insecure)


def clients_in(text: str, path: Path, public_url: str | None, *, insecure: bool = False) -> tuple[Client, ...]:
    """The clients of the text of a clients file that stands at `path`, or will. Raises ClientsError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClientsError(f"{path.name}: cannot be read as TOML: {error}") from None
    if not tables:
        raise ClientsError(f"{path.name}: no client is in it; `cds-service client add` writes one")
    clients = tuple(_client(path, name, table) for name, table in tables.items())
    for client in clients:
        for key, wrong in _faults(client, public_url, insecure=insecure):
            raise ClientsError(f"{path.name}: [{client.id}] {key}: {wrong}")
    _require_distinct(path.name, clients)
    return clients


def _client(path: Path, name: str, table: object) -> Client:
    where = f"{path.name}: [{name}]"
    if not isinstance(table, dict):
        raise ClientsError(f"{path.name}: {name} stands outside a table; every client is a [table] of its own")
    if not _NAME.fullmatch(name) or name == OPEN.id:
        raise ClientsError(f"{where} is no name for a client; use up to 64 letters, digits, - and _, and not 'open'")
    for key in sorted(table.keys() - _KEYS):
        close = difflib.get_close_matches(key, _KEYS, n=1)
        raise ClientsError(f"{where} {key}: not a key; {f'did you mean {close[0]}?' if close else 'see the README'}")
    members = {key: value for key, value in table.items() if key != "jwks_file"}
    if "jwks_file" in table:
        members["keys"] = [*table.get("keys", ()), *_keys_of_file(where, path.parent / str(table["jwks_file"]))]
    try:
        return Client(id=name, **members)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ClientsError(f"{where} {key}: {first['msg']}; the README shows how it is written") from None


def _keys_of_file(where: str, path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise ClientsError(f"{where} jwks_file: {path.name} cannot be read: {reason}") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ClientsError(f'{where} jwks_file: {path.name} is no JSON Web Key Set: {{"keys": [...]}}')
    return keys


def _faults(client: Client, public_url: str | None, *, insecure: bool) -> Iterator[tuple[str, str]]:
    """The keys of a table that are well-formed and yet cannot be used, each with what is wrong and what to do."""
    if not client.issuer.strip():
        yield "issuer", "it is missing; give the `iss` of the client's tokens"
    if unknown := [name for name in client.algorithms if name not in ALGORITHMS]:
        yield "algorithms", f"{unknown[0]} is not one of {', '.join(ALGORITHMS)}"
    if not public_url and not client.audience:
        yield "audience", "it is missing; set CDS_PUBLIC_URL, or list the `aud` of the client's tokens"
    if bool(client.jwks_url) is bool(client.keys):
        yield "jwks_url", "give either jwks_url or the keys themselves (keys, jwks_file), not both"
    for key, addresses in (("jwks_url", [client.jwks_url]), ("fhir_servers", client.fhir_servers)):
        for address in filter(None, addresses):
            if not is_usable_address(address, insecure=insecure):
                yield key, "not an https address; http is taken on this machine alone, with CDS_INSECURE"
    for number, jwk in enumerate(client.keys):
        try:
            read_key(jwk, published=insecure)
        except UnusableKey as error:
            yield f"keys[{number}]", str(error)


def is_usable_address(address: str, *, insecure: bool) -> bool:
    """Whether an address is https, or in development http on this machine."""
    if not _ADDRESS.fullmatch(address) or not address.isascii():
        return False
    url = urlsplit(address)
    return url.scheme == "https" or (insecure and is_this_machine(url.hostname or ""))


def _require_distinct(file: str, clients: Sequence[Client]) -> None:
    """No token may be of two clients: they differ in issuer, else each lists tenants of its own."""
    for one, other in combinations(clients, 2):
        is_told_apart = one.tenants and other.tenants and not set(one.tenants) & set(other.tenants)
        if one.issuer == other.issuer and not is_told_apart:
            raise ClientsError(
                f"{file}: [{other.id}] tenants: [{one.id}] has the same issuer; give each tenants of its own"
            )
