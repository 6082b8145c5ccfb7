"""A registered client with its keys, and an application that lets in nobody else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from bench.faults.tokens import ADDRESS, ISSUER, JWKS_URL, TENANT, Forger, Ring
from cds_service.trust.admission import client_key_sets
from cds_service.trust.client_jwt import Reason, Refused, TokenCheck
from cds_service.trust.clients import Client
from cds_service.trust.replay_store import MemoryReplayStore

NOW = 1_780_272_000  # 2026-06-01
RING = Ring()  # made once: its keys take longer than most tests
NORTH = Client(id="north", issuer=ISSUER, tenants=(TENANT,), jwks_url=JWKS_URL)


def forger(ring: Ring, now: int = NOW) -> Forger:
    """Makes tokens of the client, good and bad."""
    return Forger(ring, now, random.Random(1))


def token_check(ring: Ring, *clients: Client, clock: Callable[[], float] = lambda: NOW) -> TokenCheck:
    """The check of tokens, with keys that are at hand and a clock that stands still."""
    known = clients or (NORTH,)
    key_sets = client_key_sets(known, lambda _: ring.public())
    return TokenCheck(known, key_sets, MemoryReplayStore(clock), clock)


def reason(check: TokenCheck, token: str, *addresses: str) -> Reason | None:
    """Why a token is refused; None when it is let in."""
    try:
        check.client_of(f"Bearer {token}", addresses or (ADDRESS,))
    except Refused as refused:
        return refused.reason
    return None


def clients_file(folder: Path, ring: Ring, more: str = "") -> Path:
    """A clients file with one client whose keys stand beside it."""
    (folder / "north.jwks.json").write_bytes(orjson.dumps({"keys": ring.public()}))
    path = folder / "clients.toml"
    table = {"issuer": ISSUER, "tenants": [TENANT], "jwks_file": "north.jwks.json"}
    lines = [f"{key} = {orjson.dumps(value).decode()}" for key, value in table.items()]
    path.write_text("\n".join(["[north]", *lines, more, ""]), encoding="utf-8")
    return path


def bearer(token: str) -> dict[str, Any]:
    """The headers of a call with a token."""
    return {"Authorization": f"Bearer {token}"}
