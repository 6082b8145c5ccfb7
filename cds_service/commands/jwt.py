"""`cds-service jwt`: tokens for local tests."""

from __future__ import annotations

from pathlib import Path

import click

from cds_service.commands.shared import fail
from cds_service.trust.client_jwt import LONGEST_LIFE
from cds_service.trust.minting import Minter, MintingError, make_key_pair, read_private_key


@click.group()
def jwt() -> None:
    """Tokens for local tests."""


@jwt.command()
@click.option("--issuer", required=True, help="The `iss`, as in the clients file.")
@click.option("--audience", required=True, help="The `aud`: the address that is called, or what was agreed.")
@click.option("--tenant", help="The `tenant`. [default: none]")
@click.option("--key", "path", type=click.Path(path_type=Path), default=Path("dev-key.json"), show_default=True)
@click.option("--minutes", type=click.IntRange(1, int(LONGEST_LIFE // 60)), default=5, show_default=True)
def mint(issuer: str, audience: str, tenant: str | None, path: Path, minutes: int) -> None:
    """Print a token for one call. The key pair is made if there is none.

    Example: cds-service jwt mint --issuer dev --audience https://cds.example.org/cds-services/ID
    """
    try:
        if not path.exists():
            public = make_key_pair(path)
            click.echo(f"cds-service: made {path}; its public half is {public}, for jwks_file of a client.", err=True)
        click.echo(Minter(read_private_key(path), issuer, tenant, minutes).token(audience))
    except MintingError as error:
        fail(f"{error}.")
