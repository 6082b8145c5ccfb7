"""Who is let in: a registered client with its token, or everybody while there is no clients file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from cds_service.protocol.errors import NotRemembered, Unauthorized
from cds_service.settings import Settings
from cds_service.trust.client_jwt import Caller, Refused, TokenCheck
from cds_service.trust.clients import OPEN, Client, read_clients
from cds_service.trust.key_sets import Fetch, KeySet, KeySets, key_set_reader, usable_keys
from cds_service.trust.replay_store import ReplayStoreUnavailable, open_replay_store

log = structlog.get_logger()


@dataclass(frozen=True)
class Admission:
    """The door of this installation. Addresses come from the settings, never from a request."""

    tokens: TokenCheck | None = None
    public_url: str = ""

    def let_in(self, authorization: str | None, *paths: str) -> Caller:
        """Who calls; `paths` are those of the endpoint. Raises Unauthorized and NotRemembered."""
        if self.tokens is None:
            return Caller(OPEN)
        try:
            return self.tokens.accept(authorization, [f"{self.public_url}{path}" for path in paths])
        except Refused as refused:
            log.warning("token refused", reason=refused.reason.name.lower(), client=refused.client)
            raise Unauthorized from None
        except ReplayStoreUnavailable as error:
            log.error("replay store unavailable", error=str(error))
            raise NotRemembered from None


def read_all_clients(settings: Settings) -> tuple[Client, ...]:
    """The clients of the settings; OPEN when there is no clients file. Raises ClientsError."""
    if settings.clients is None:
        return (OPEN,)
    return read_clients(settings.clients, settings.public_url, insecure=settings.insecure)


def admission(settings: Settings, clients: Sequence[Client]) -> Admission:
    """Who is let in by these settings. Raises ReplayStoreError."""
    if settings.clients is None:
        return Admission()
    key_sets = client_key_sets(clients, key_set_reader(settings.ca_bundle), published=settings.insecure)
    return Admission(TokenCheck(clients, key_sets, open_replay_store(settings)), settings.public_url or "")


def client_key_sets(clients: Sequence[Client], fetch: Fetch, *, published: bool = False) -> KeySets:
    """The key sets of clients, those that are given ready for use."""
    given = {client.id: KeySet(client.jwks_url, usable_keys(client.keys, published=published)) for client in clients}
    return KeySets(given, fetch, published=published)
