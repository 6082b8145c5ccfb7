"""The public keys of clients: fetched from the registered address alone, kept, and asked for anew within limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import orjson
import requests
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry
from urllib3.exceptions import HTTPError

from cds_service.fhir.deadline import Deadline, guarded_session, kept, read_within

# CDS Hooks 2.0.1, "JWT Signing Algorithm": neither `none` nor any symmetric algorithm.
ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# Their private halves are published, in the source of the public sandbox and in the specification: they prove nothing.
PUBLISHED = frozenset(
    {
        "s9fOe-KDYD1myZ8YCzleUqJQgrYZL49kVijBxhnZvZc",
        "WUEVfFenRfMtdDhwPUzCCfmqEN45h61hdHclwVoqfes",
        "-UtOymI2Z0XB5SZogEZu3s5oMyQ4YaewHtR9huroTQs",
    }
)  # thumbprints, RFC 7638
_KINDS: Mapping[object, type[ECKey] | type[RSAKey]] = {"EC": ECKey, "RSA": RSAKey}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CURVES = frozenset({"P-256", "P-384", "P-521"})
_RSA_BITS = range(2048, 8193)  # RFC 7518, 3.3: at least 2048; more than 8192 costs time and gives nothing

_FRESH = 600.0  # seconds after which a set is read again
_USABLE = 86_400.0  # seconds for which the last good set serves while it cannot be read
_PAUSE = 60.0  # seconds between two attempts, whatever they are for
_FIRST_PAUSE = 5.0  # while none has been read yet
_PATIENCE_MS = 2000
_MOST_BYTES = 262_144

log = structlog.get_logger()

Jwk = Mapping[str, Any]
Key = ECKey | RSAKey


class UnusableKey(ValueError):
    """A key that no token is checked with; the message says why."""


class KeySetUnavailable(Exception):
    """A key set could not be read; the message says why, and holds nothing of the answer."""


def read_key(jwk: object, *, published: bool = False) -> Key:
    """A public key that signatures can be checked with. Raises UnusableKey.

    `published` takes keys whose private half is known to everybody.
    """
    if not isinstance(jwk, dict) or jwk.get("kty") not in _KINDS:
        raise UnusableKey("not a JSON Web Key of the kinds EC and RSA")
    if _PRIVATE & jwk.keys():
        raise UnusableKey("a private key: its owner has to replace it, and give only the public half away")
    if not isinstance(jwk.get("kid"), str) or not jwk["kid"]:
        raise UnusableKey("it has no kid")
    if jwk.get("use", "sig") != "sig":
        raise UnusableKey("it is not for signatures (use)")
    try:
        key = _KINDS[jwk["kty"]].import_key(jwk)
        bits = key.public_key.key_size
    except (JoseError, ValueError, TypeError, OverflowError):
        raise UnusableKey("its members are no key") from None
    if isinstance(key, RSAKey) and bits not in _RSA_BITS:
        raise UnusableKey("an RSA key has 2048 to 8192 bits")
    if isinstance(key, ECKey) and key.curve_name not in _CURVES:
        raise UnusableKey("its curve is not P-256, P-384 or P-521")
    if not published and key.thumbprint() in PUBLISHED:
        raise UnusableKey("its private half is published, so it proves nothing; CDS_INSECURE takes it, for development")
    return key


def usable_keys(jwks: Iterable[object], *, published: bool = False) -> tuple[Key, ...]:
    """The keys of a set that can be used; the others are as good as not there (RFC 7517, 5)."""
    found = []
    for jwk in jwks:
        try:
            found.append(read_key(jwk, published=published))
        except UnusableKey:
            continue
    return tuple(found)


def find_key(keys: Iterable[Key], kid: str, algorithm: str) -> Key | None:
    """The key of that id, if the algorithm is one that it is for."""
    return next((key for key in keys if key.kid == kid and _is_for(key, algorithm)), None)


def _is_for(key: Key, algorithm: str) -> bool:
    try:
        JWSRegistry.algorithms[algorithm].check_key(key)  # kind, curve, `use` and `alg` of the key
    except JoseError:
        return False
    return True


@dataclass
class KeySet:
    """The keys of one client as they were last read; given ones, without an address, are never read again."""

    url: str | None
    keys: tuple[Key, ...] = ()
    read_at: float = -math.inf
    tried_at: float = -math.inf
    lock: Lock = field(default_factory=Lock)

    def may_try(self, now: float) -> bool:
        """Whether the last attempt is long enough ago, however many tokens ask for another."""
        return now - self.tried_at >= (_FIRST_PAUSE if self.read_at == -math.inf else _PAUSE)


Fetch = Callable[[str], list[object]]


@dataclass(frozen=True)
class KeySets:
    """The key sets of all clients, by client id; made once, shared by the threads of a worker."""

    sets: Mapping[str, KeySet]
    fetch: Fetch
    clock: Callable[[], float] = time.monotonic
    published: bool = False

    def find(self, client: str, kid: str, algorithm: str) -> Key | None:
        """The key of a client. Reads its set when that is due or does not hold the key: one thread, within limits."""
        known = self.sets[client]
        key = find_key(known.keys, kid, algorithm)
        if known.url is None:
            return key
        if key is None or self.clock() - known.read_at > _FRESH:
            self._read_again(client, known, has_key=key is not None)
        is_usable = self.clock() - known.read_at <= _USABLE
        return find_key(known.keys, kid, algorithm) if is_usable else None

    def _read_again(self, client: str, known: KeySet, *, has_key: bool) -> None:
        """Read the set, unless somebody just did; who has a key already does not wait for others."""
        if known.url is None or not known.lock.acquire(blocking=not has_key):
            return
        try:
            if known.may_try(self.clock()):
                known.tried_at = self.clock()
                known.keys = usable_keys(self.fetch(known.url), published=self.published)
                known.read_at = known.tried_at
                log.info("key set read", client=client, keys=len(known.keys))
        except KeySetUnavailable as error:
            log.warning("key set not read", client=client, reason=str(error))
        finally:
            known.lock.release()


def key_set_reader(ca_bundle: Path | None = None) -> Fetch:
    """What fetches a key set: no redirect, no proxy, no cookie, two seconds and 256 KiB at most."""
    session = guarded_session(4, ca_bundle)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "cds-service"}

    def fetch(url: str) -> list[object]:
        """The JWKs at an address. Raises KeySetUnavailable."""
        deadline = Deadline.after(_PATIENCE_MS)
        try:
            with (
                kept(deadline),
                session.get(
                    url, headers=headers, timeout=deadline.remaining, allow_redirects=False, stream=True
                ) as response,
            ):
                if response.status_code != 200:
                    raise KeySetUnavailable(f"status {response.status_code}")
                found = orjson.loads(read_within(response, _MOST_BYTES))
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise KeySetUnavailable(type(error).__name__) from None
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list):
            raise KeySetUnavailable("no JSON Web Key Set")
        return keys

    return fetch
