"""What `serve` looks at before it listens: who may call, from where, and that it says so."""

from __future__ import annotations

from functools import cache

import click

from cds_service.app import load_services
from cds_service.arrangement import arrange
from cds_service.commands.shared import fail
from cds_service.protocol.dialect import DialectError
from cds_service.service import KnowledgeError
from cds_service.settings import Settings
from cds_service.trust.admission import admission, read_all_clients
from cds_service.trust.clients import ClientsError
from cds_service.trust.fhir_servers import is_this_machine
from cds_service.trust.replay_store import ReplayStoreError


def require_callers(settings: Settings) -> None:
    """Check the clients and all that was agreed with them; ends the command when something does not fit."""
    if settings.clients is None and not settings.insecure and not is_this_machine(settings.host):
        fail(
            f"{settings.host}: without a clients file the service answers whoever reaches it, so it listens on this "
            "machine only. Name a clients file with CDS_CLIENTS (`cds-service client add` writes one), or give "
            "--insecure (CDS_INSECURE=1) where no patient's data are."
        )
    try:
        clients = read_all_clients(settings)
        arrange(settings, clients, cache(lambda profile: load_services(settings, profile)))
        admission(settings, clients)
    except (ClientsError, KnowledgeError, DialectError, ReplayStoreError) as error:
        fail(str(error))


def tell_callers(settings: Settings) -> None:
    """Say loudly on stderr when anybody is answered, or more is taken than should be."""
    if settings.clients is None:
        where = "this machine only" if is_this_machine(settings.host) else f"{settings.host}, BEYOND THIS MACHINE"
        _say(f"OPEN DEVELOPMENT MODE: no clients file (CDS_CLIENTS), so whoever calls is answered. Listens on {where}.")
    elif settings.insecure:
        _say("INSECURE: takes key sets over http on this machine, and keys whose private half is published.")


def _say(text: str) -> None:
    click.echo(f"cds-service: {text} Not for patients' data.", err=True)
