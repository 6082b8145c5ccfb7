"""The secret of an installation, and what is derived from it: card ids, digests of identifiers, sealed data."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SECRET = re.compile(r"[0-9a-f]{64}")
_KEY_ID, _NONCE = 4, 12  # bytes before what is sealed; AES-GCM takes a nonce of 96 bits (NIST SP 800-38D, 8.2)


class SecretError(Exception):
    """The secret cannot be read or made, or does not open what was sealed; the message says what to do."""


@dataclass(frozen=True)
class Secrets:
    """Secrets of 32 bytes: the first is used, the others only open what they once sealed."""

    values: tuple[bytes, ...]

    def key(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose; from one key nothing follows about another."""
        return _derived(self.values[0], purpose)

    def digest(self, purpose: str, *parts: str | bytes) -> str:
        """A keyed hash of 32 hexadecimal digits: it tells same from different, and nothing else."""
        content = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
        return hmac.digest(self.key(purpose), content, hashlib.sha256).hex()[:32]

    def seal(self, purpose: str, plain: bytes) -> bytes:
        """Compress and encrypt: key id, nonce, AES-256-GCM."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self.key(purpose)).encrypt(nonce, zlib.compress(plain), purpose.encode())
        return _key_id(self.values[0]) + nonce + sealed

    def when_sealed(self, sealed: bytes) -> Secrets:
        """Only the secret that was used when this was sealed. Raises SecretError when it is not among ours."""
        for value in self.values:
            if _key_id(value) == sealed[:_KEY_ID]:
                return Secrets((value,))
        raise SecretError("it was sealed with a secret that is not in the file; add the old secret as a last line")

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """What was sealed. Raises SecretError when its secret is not among ours, or a bit of it was changed."""
        key = self.when_sealed(sealed).key(purpose)
        nonce, rest = sealed[_KEY_ID : _KEY_ID + _NONCE], sealed[_KEY_ID + _NONCE :]
        try:
            return zlib.decompress(AESGCM(key).decrypt(nonce, rest, purpose.encode()))
        except (InvalidTag, zlib.error):
            raise SecretError("what was sealed has been changed") from None


def read_secrets(path: Path) -> Secrets:
    """Read the file of secrets: one to a line, 64 hexadecimal digits, the one to use first. Raises SecretError."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"{path}: cannot be read: {error}") from None
    if not lines or not all(map(_SECRET.fullmatch, lines)):
        raise SecretError(
            f"{path}: not secrets of 64 hexadecimal digits, one to a line; `openssl rand -hex 32` makes one"
        )
    return Secrets(tuple(map(bytes.fromhex, lines)))


def make_secret(path: Path) -> None:
    """Write a new secret, readable by its owner alone, unless another one is there; nobody reads half of it."""
    if path.exists():
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # mode 0600
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{secrets.token_hex(32)}\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):  # who came first has made the one that counts
        os.link(name, path)
    os.unlink(name)


@cache
def _derived(value: bytes, purpose: str) -> bytes:
    return hmac.digest(value, purpose.encode(), hashlib.sha256)


def _key_id(value: bytes) -> bytes:
    return _derived(value, "key id")[:_KEY_ID]
