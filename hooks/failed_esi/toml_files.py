"""Reading a pathway file, and the words with which a mistake in one is refused."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from cds_service.service import KnowledgeError

Toml = Mapping[str, Any]


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file, its decimal numbers exact. Raises KnowledgeError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KnowledgeError(f"{path.name}: cannot be read: {error}") from error


def hash_of(paths: Iterable[Path], *settings: str) -> str:
    """SHA-256 of the names and contents of files, and of settings; the same on every machine."""
    found = hashlib.sha256("\0".join(settings).encode())
    for path in sorted(paths, key=lambda path: (path.name, str(path))):
        found.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return found.hexdigest()


def require(condition: bool, where: str, problem: str) -> None:
    """Raise KnowledgeError, saying where and what, unless the condition holds."""
    if not condition:
        raise KnowledgeError(f"{where}: {problem}.")


def require_known(name: object, known: Collection[str], where: str, what: str) -> None:
    """Raise KnowledgeError, with the nearest name that exists, unless this one does."""
    if name not in known:  # the nearest name is searched only then: it takes long
        require(False, where, f"{what} {name!r} does not exist{_nearest(str(name), known)}")


def _nearest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{close[0]}"?' if close else f"; known are: {', '.join(sorted(known))}"
