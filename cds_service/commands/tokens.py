"""Options of the commands that call a protected service: a token, or the key to sign one for each call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cds_service.commands.shared import fail
from cds_service.trust.minting import Minter, MintingError, read_private_key


@dataclass(frozen=True)
class Tokens:
    """What a caller shows: nothing, one token for all calls, or a fresh one for each."""

    token: str | None = None
    minter: Minter | None = None
    audience: str | None = None

    def headers(self, address: str) -> dict[str, str]:
        """The headers of a call to an address."""
        token = self.minter.token(self.audience or address) if self.minter else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


_OPTIONS = (
    click.option("--token", metavar="TOKEN", help="Token to call with; - reads it from stdin. Most count once."),
    click.option(
        "--key", "key_file", type=click.Path(path_type=Path), help="Sign a token for each call with this JWK."
    ),
    click.option("--issuer", help="With --key: the `iss` of the tokens."),
    click.option("--tenant", help="With --key: the `tenant` of the tokens."),
    click.option("--audience", help="With --key: the `aud` of the tokens. [default: the address that is called]"),
)


def token_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options, and their outcome as its argument `tokens`."""

    @wraps(command)
    def run(**given: Any) -> None:
        named = {name: given.pop(name) for name in ("token", "key_file", "issuer", "tenant", "audience")}
        command(tokens=_tokens(**named), **given)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def read_token(token: str) -> str:
    """A token as it was given, or from stdin for "-"."""
    return sys.stdin.read().strip() if token == "-" else token  # noqa: S105 - the sign for stdin


def _tokens(
    token: str | None, key_file: Path | None, issuer: str | None, tenant: str | None, audience: str | None
) -> Tokens:
    if token and key_file:
        fail("--token and --key: give one of them; --key signs a token for each call.")
    if key_file is None:
        if issuer or tenant or audience:
            fail("--issuer, --tenant and --audience are about tokens that --key signs; name the key.")
        return Tokens(token=read_token(token)) if token else Tokens()
    if not issuer:
        fail("--key: --issuer is missing; give the `iss` that the service knows the key's owner by.")
    try:
        return Tokens(minter=Minter(read_private_key(key_file), issuer, tenant), audience=audience)
    except MintingError as error:
        fail(f"{error}.")
