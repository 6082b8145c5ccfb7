"""Tokens as a client makes them, with a key of the tester's own: for local tests."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from cds_service.trust.key_sets import Key, find_key


class MintingError(Exception):
    """The key cannot be read or made; the message says what to do."""


@dataclass(frozen=True)
class Minter:
    """Signs tokens in the name of an issuer."""

    key: Key
    issuer: str
    tenant: str | None = None
    minutes: int = 5

    def token(self, audience: str) -> str:
        """A fresh token, good for one call."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": audience, "iat": now, "exp": now + 60 * self.minutes}
        claims |= {"jti": secrets.token_hex(16)} | ({"tenant": self.tenant} if self.tenant else {})
        algorithm = self.key.alg or next(name for name in ("ES384", "RS384", "ES256", "ES512") if self._is_for(name))
        header = {"alg": algorithm, "kid": self.key.kid, "typ": "JWT"}
        return jwt.encode(header, claims, self.key, algorithms=[algorithm])

    def _is_for(self, algorithm: str) -> bool:
        return find_key([self.key], self.key.kid or "", algorithm) is not None


def read_private_key(path: Path) -> Key:
    """A private key from a file that holds it as a JWK. Raises MintingError."""
    try:
        key = import_key(orjson.loads(path.read_bytes()))
        key.ensure_kid()
    except OSError as error:
        raise MintingError(f"{path}: cannot be read: {error.strerror}; `cds-service jwt mint` makes one") from None
    except (JoseError, ValueError, TypeError):
        key = None
    if not isinstance(key, ECKey | RSAKey) or not key.is_private:
        raise MintingError(f"{path}: not a private key as a JWK of the kinds EC and RSA")
    return key


def make_key_pair(path: Path) -> Path:
    """Make a key for ES384, readable by its owner alone, and its public half as a key set beside it; where that is.

    Raises MintingError.
    """
    key = ECKey.generate_key("P-384", {"kid": secrets.token_hex(8), "alg": "ES384", "use": "sig"})
    public = path.with_suffix(".public.json")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(orjson.dumps(key.as_dict(private=True), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        key_set = {"keys": [key.as_dict(private=False)]}
        public.write_bytes(orjson.dumps(key_set, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise MintingError(f"{path}: cannot be written: {error.strerror}") from None
    return public
