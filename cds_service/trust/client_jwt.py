"""Whether a token is one of a client's: CDS Hooks 2.0.1, "Trusting CDS Clients", and what its libraries leave open."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any, NoReturn, TypeGuard

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from cds_service.protocol.errors import BadRequest
from cds_service.trust.clients import Client
from cds_service.trust.key_sets import ALGORITHMS, Key, KeySets
from cds_service.trust.limits import read_json
from cds_service.trust.replay_store import ReplayStore

LEEWAY = 60.0  # seconds that clocks may differ
LONGEST_LIFE = 3600.0  # seconds from `iat` to `exp`; an EHR's tokens live five to fifteen minutes
_LONGEST = 8192  # characters of a token, and of any of its parts
_LONGEST_ID = 255  # characters of kid and jti
_DEEPEST = 8
_YEAR_33658 = 1e12  # beyond any NumericDate, and small enough to reckon with


class Step(StrEnum):
    """What is looked at, in this order; the first five need neither key nor database."""

    FORM = "form"
    HEADER = "header"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    TIME = "time"
    TENANT = "tenant"
    KEY = "key"
    SIGNATURE = "signature"
    JTI = "jti"


class Reason(Enum):
    """Why a token is refused: for the operator's terminal in words, for the log by name, for the caller not at all."""

    NO_TOKEN = (Step.FORM, "there is no header `Authorization: Bearer ...`")
    TOO_LONG = (Step.FORM, f"it is longer than {_LONGEST} characters")
    NO_JWT = (Step.FORM, "it is not three parts in base64url, the first two JSON objects that name no member twice")
    ALGORITHM = (Step.HEADER, f"`alg` is not one of {', '.join(ALGORITHMS)}")
    KID = (Step.HEADER, "`kid` is not a text of 1 to 255 characters")
    TYP = (Step.HEADER, "`typ` is not JWT")
    CRITICAL = (Step.HEADER, "`crit` or `b64` asks for what is not done here")
    ISSUER = (Step.ISSUER, "no client has this `iss`")
    AUDIENCE = (Step.AUDIENCE, "`aud` names something else than this service alone")
    NO_TIME = (Step.TIME, "`exp` or `iat` is missing, or is not a number of seconds since 1970")
    ISSUED_LATER = (Step.TIME, "`iat` lies in the future")
    NOT_YET = (Step.TIME, "`nbf` lies in the future")
    EXPIRED = (Step.TIME, "`exp` has passed")
    LIFETIME = (Step.TIME, f"from `iat` to `exp` it is more than {LONGEST_LIFE / 60:.0f} minutes, or nothing at all")
    TENANT = (Step.TENANT, "`tenant` is not one that the client lists")
    JKU = (Step.KEY, "`jku` is not the address that is registered as jwks_url")
    NOT_AGREED = (Step.KEY, "`alg` is not one of the client's algorithms")
    NO_KEY = (Step.KEY, "the client's key set holds no key of this `kid` that is for this `alg`")
    SIGNATURE = (Step.SIGNATURE, "the signature is not by that key")
    JTI = (Step.JTI, "`jti` is not a text of 1 to 255 characters")
    USED = (Step.JTI, "a token of this issuer with this `jti` was here before")

    def __init__(self, step: Step, text: str) -> None:
        """Keep where it belongs and how it is told."""
        self.step = step
        self.text = text


class Refused(Exception):
    """A token is not accepted; `client` is whose it says to be, once the issuer is known."""

    client: str | None = None

    def __init__(self, reason: Reason) -> None:
        """Keep the reason."""
        super().__init__(reason.text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is well-formed; nothing in it is proved."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @classmethod
    def parse(cls, authorization: str | None) -> Token:
        """Read the value of an Authorization header. Raises Refused."""
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise Refused(Reason.NO_TOKEN)
        if len(text) > _LONGEST:
            raise Refused(Reason.TOO_LONG)
        parts = text.split(".")
        if len(parts) != 3:
            raise Refused(Reason.NO_JWT)
        token = cls(text, _object(parts[0]), _object(parts[1]))
        token._require_header()
        return token

    def _require_header(self) -> None:
        header = self.header
        if header.get("alg") not in ALGORITHMS:
            raise Refused(Reason.ALGORITHM)
        if not _is_id(header.get("kid")):
            raise Refused(Reason.KID)
        if str(header.get("typ")).upper() != "JWT":
            raise Refused(Reason.TYP)
        if not {"crit", "b64"}.isdisjoint(header):
            raise Refused(Reason.CRITICAL)


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that was let in, and the id of the token it showed: an audit names the call by it."""

    client: Client
    token_id: str = ""


@dataclass(frozen=True)
class TokenCheck:
    """The clients of this installation, their keys, and the tokens they used."""

    clients: Sequence[Client]
    key_sets: KeySets
    replays: ReplayStore
    clock: Callable[[], float] = time.time

    def client_of(self, authorization: str | None, addresses: Collection[str] = ()) -> Client:
        """The client whose token this is; see `accept`."""
        return self.accept(authorization, addresses).client

    def accept(self, authorization: str | None, addresses: Collection[str]) -> Caller:
        """Who presents a token; `addresses` are those of the endpoint that is called.

        A token is used up by this. Raises Refused, and ReplayStoreUnavailable when that cannot be remembered.
        """
        token = Token.parse(authorization)
        claims = token.claims
        candidates = [client for client in self.clients if client.issuer == claims.get("iss")]
        if not candidates:
            raise Refused(Reason.ISSUER)
        try:
            candidates = _addressed(candidates, claims.get("aud"), addresses)
            until = _end(claims, self.clock())
            client = _of_tenant(candidates, claims.get("tenant"))
            self._require_signature(token, client)
            self._use_up(claims, until)
        except Refused as refused:
            refused.client = candidates[0].id
            raise
        return Caller(client, claims["jti"])

    def _require_signature(self, token: Token, client: Client) -> None:
        algorithm = token.header["alg"]
        if client.jwks_url and token.header.get("jku", client.jwks_url) != client.jwks_url:
            raise Refused(Reason.JKU)
        if algorithm not in client.algorithms:
            raise Refused(Reason.NOT_AGREED)
        key = self.key_sets.find(client.id, token.header["kid"], algorithm)
        if key is None:
            raise Refused(Reason.NO_KEY)
        if not is_signed(token.text, key, algorithm):
            raise Refused(Reason.SIGNATURE)

    def _use_up(self, claims: Mapping[str, Any], until: float) -> None:
        """Take the token once: after its signature, so that nobody can use up the tokens of others."""
        if not _is_id(claims.get("jti")):
            raise Refused(Reason.JTI)
        if not self.replays.claim(claims["iss"], claims["jti"], until):
            raise Refused(Reason.USED)


def is_signed(text: str, key: Key, algorithm: str) -> bool:
    """Whether a token carries the signature of a key; of what else it says nothing is looked at."""
    try:
        jws.deserialize_compact(text, key, registry=_registry(algorithm))
    except (JoseError, ValueError):
        return False
    return True


@cache
def _registry(algorithm: str) -> jws.JWSRegistry:
    """One algorithm, and header members that nobody here knows: those are to be ignored (RFC 7515, 4)."""
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = _LONGEST
    return registry


def _addressed(candidates: Sequence[Client], audience: object, addresses: Collection[str]) -> list[Client]:
    """The clients whose agreed audience the token names, and nothing beside it."""
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        raise Refused(Reason.AUDIENCE)
    wanted = {name.rstrip("/") for name in named}
    found = [c for c in candidates if wanted <= {known.rstrip("/") for known in c.audience or addresses}]
    return found or _refuse(Reason.AUDIENCE)


def _end(claims: Mapping[str, Any], now: float) -> float:
    """When the token is over for every clock. Raises Refused when it is not for this moment."""
    issued, expires, begins = claims.get("iat"), claims.get("exp"), claims.get("nbf", 0)
    if not _is_moment(issued) or not _is_moment(expires) or not _is_moment(begins):
        raise Refused(Reason.NO_TIME)
    if issued > now + LEEWAY:
        raise Refused(Reason.ISSUED_LATER)
    if begins > now + LEEWAY:
        raise Refused(Reason.NOT_YET)
    if expires <= now - LEEWAY:
        raise Refused(Reason.EXPIRED)
    if not 0 < expires - issued <= LONGEST_LIFE:
        raise Refused(Reason.LIFETIME)
    return float(expires + LEEWAY)


def _of_tenant(candidates: Sequence[Client], tenant: object) -> Client:
    found = next((client for client in candidates if not client.tenants or tenant in client.tenants), None)
    return found or _refuse(Reason.TENANT)


def _refuse(reason: Reason) -> NoReturn:
    raise Refused(reason)


def _object(part: str) -> dict[str, Any]:
    """One part of a token as a JSON object: as strict as a request body, and no member named twice."""
    try:
        plain = urlsafe_b64decode(part.encode("ascii"))
        read_json(plain, _DEEPEST)
        found = json.loads(plain.decode(), object_pairs_hook=_distinct)
    except (BadRequest, ValueError):
        raise Refused(Reason.NO_JWT) from None
    if not isinstance(found, dict):
        raise Refused(Reason.NO_JWT)
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is named twice")
    return members


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID


def _is_moment(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _YEAR_33658
