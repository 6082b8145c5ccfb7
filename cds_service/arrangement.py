"""What one client gets: the services of its profile, in its dialect, reading from its FHIR servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cds_service.fhir.server import FhirServers
from cds_service.protocol.dialect import Dialect, DialectError, read_dialect, site_terms
from cds_service.service import KnowledgeError, Service
from cds_service.settings import Settings
from cds_service.trust.clients import OPEN, Client


@dataclass(frozen=True)
class Arrangement:
    """All that differs between clients once they are let in."""

    client: Client
    services: Mapping[str, Service]  # by id
    dialect: Dialect
    servers: FhirServers  # with connections and threads of its own: a server that hangs holds up no other client


def arrange(
    settings: Settings, clients: Sequence[Client], services_of: Callable[[str], Sequence[Service]]
) -> dict[str, Arrangement]:
    """What every client gets, by its id; `services_of` gives those of a profile, which clients share.

    Raises KnowledgeError and DialectError, which name the client and what is wrong with its table.
    """
    return {client.id: _arrangement(settings, client, services_of) for client in clients}


def _arrangement(settings: Settings, client: Client, services_of: Callable[[str], Sequence[Service]]) -> Arrangement:
    try:
        services = {service.id: service for service in services_of(client.profile or settings.profile)}
    except KnowledgeError as error:
        if client.profile is None:
            raise
        raise KnowledgeError(f"the clients file, [{client.id}] profile: {error}") from None
    return Arrangement(client, services, _dialect(settings, client, services.values()), _servers(settings, client))


def load_dialect(settings: Settings, services: Iterable[Service]) -> Dialect:
    """How clients are answered of whom nothing else is known. Raises DialectError."""
    return read_dialect(settings.dialect, settings.dialect_file, _keys(services))


def _dialect(settings: Settings, client: Client, services: Iterable[Service]) -> Dialect:
    """The client's own dialect; of the settings' without one. Its terms replace those of the settings' file."""
    try:
        dialect = read_dialect(client.dialect) if client.dialect else load_dialect(settings, services)
        if client.prefetch is None and client.codes is None:
            return dialect
        tables = {"prefetch": client.prefetch or {}, "codes": client.codes or {}}
        return replace(dialect, terms=site_terms(tables, dialect.site_codes, _keys(services)))
    except DialectError as error:
        where = "CDS_DIALECT_FILE" if client is OPEN else f"the clients file, [{client.id}]"
        raise DialectError(f"{where}: {error}") from None


def _keys(services: Iterable[Service]) -> set[str]:
    return {key for service in services for key in service.prefetch}


def _servers(settings: Settings, client: Client) -> FhirServers:
    listed, loopback = client.fhir_servers, False
    if client is OPEN:
        listed, loopback = settings.fhir_servers, settings.fhir_loopback
    return FhirServers(listed, loopback, settings.max_body, settings.ca_bundle)
