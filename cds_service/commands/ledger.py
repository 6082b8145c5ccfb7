"""The ledger at the command line: is it as it was written, and is an answer given again the one that left?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from cds_service.app import load_services
from cds_service.commands.shared import fail, opened_ledger, pretty, read_environment
from cds_service.ledger.capsule import Capsule
from cds_service.ledger.chain import Span, verify
from cds_service.ledger.database import LedgerError, LedgerUnavailable, upgrade_database
from cds_service.ledger.replay import NotReplayable, Replayed, answer_again, kept_call
from cds_service.ledger.upkeep import back_up
from cds_service.service import KnowledgeError, Service
from cds_service.terminal import explanation_text

_LONG = 20_000  # entries; checking fewer takes a moment


class Anchor(click.ParamType[tuple[int, str]]):
    """The number and hash of an entry, as the log and `ledger anchor` show them."""

    name = "NUMBER:HASH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, str]:
        """Parse the anchor."""
        if isinstance(value, tuple):
            return value
        number, _, digest = value.partition(":")
        if not number.isdecimal() or len(digest) != 64:
            self.fail(f"{value!r} is not an anchor; write it as `cds-service ledger anchor` does.", param, ctx)
        return int(number), digest.lower()


@click.group()
def ledger() -> None:
    """What was decided and what became of it: checked, copied, kept no longer than it should be."""


@ledger.command("verify")
@click.option("--anchor", "anchors", type=Anchor(), multiple=True, help="What an entry was; can be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def verify_ledger(anchors: tuple[tuple[int, str], ...], as_json: bool) -> None:
    """Find any record that was altered, put in or taken out; exits 1 and names each.

    Whoever can write the whole database can chain it anew: only anchors that are kept elsewhere tell that.

    Example: cds-service ledger verify --anchor 120:1f0c...
    """
    opened = opened_ledger(read_environment())
    try:
        with opened.reading() as connection:
            span = Span.read(connection)
            faults = list(verify(connection, dict(anchors), lambda number: _tell(number, span.entries)))
    except LedgerUnavailable as error:
        _unreadable(error)
    found = {
        "entries": span.entries, "first": span.first, "last": span.last, "anchor": str(span.end), "faults": faults,
    }  # fmt: skip
    click.echo(pretty(found) if as_json else _report(found))
    sys.exit(bool(faults))


@ledger.command()
def anchor() -> None:
    """Print number and hash of the last entry, to be kept elsewhere.

    Example: cds-service ledger anchor
    """
    try:
        click.echo(opened_ledger(read_environment()).last())
    except LedgerUnavailable as error:
        _unreadable(error)


@ledger.command("expire")
def expire_sealed() -> None:
    """Delete capsules and comments whose time is over; the running service does so once a day.

    Example: cds-service ledger expire
    """
    try:
        count = opened_ledger(read_environment()).expire(datetime.now(UTC))
    except LedgerUnavailable as error:
        _unreadable(error)
    click.echo(f"{count} deleted")


@ledger.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
def backup(target: Path) -> None:
    """Copy a ledger in SQLite to a file while the service runs; the secret is not in it.

    To restore it, stop the service and put the file in the place of ledger.db, without ledger.db-wal beside it.

    Example: cds-service ledger backup /backups/ledger.db
    """
    opened = opened_ledger(read_environment())
    try:
        back_up(opened.engine, target)
    except LedgerError as error:
        fail(str(error))
    click.echo(f"{target}: written; keep the secret as well: without it capsules cannot be opened")


@ledger.command()
def upgrade() -> None:
    """Make the tables in PostgreSQL, or bring them to this version; SQLite is brought there by itself.

    Example: cds-service ledger upgrade
    """
    settings = read_environment()
    try:
        upgrade_database(settings.database_url, settings.data_folder).dispose()
    except LedgerError as error:
        fail(str(error))
    click.echo("The tables are those of this version.")


@click.command()
@click.argument("name", metavar="ID")
@click.option("--explain", is_flag=True, help="Print the whole decision instead of the answer.")
def replay(name: str, explain: bool) -> None:
    """Give an answer again from its capsule; exits 0 when it is the one that left, to the letter, and else 1.

    ID is the number of an entry or the uuid of a card. Nothing is asked over a network. Capsules are kept with
    CDS_LEDGER=capsule.

    Example: cds-service replay 17
    """
    opened = opened_ledger(read_environment())
    try:
        kept = kept_call(opened, name)
        replayed = answer_again(kept, _services_of, opened.software)
    except LedgerUnavailable as error:
        _unreadable(error)
    except (NotReplayable, KnowledgeError) as error:
        fail(str(error))
    click.echo(_shown(replayed, explain=explain), nl=explain or sys.stdout.isatty())
    for line in replayed.differences or ("identical",):
        click.echo(f"entry {kept.record['number']} of {kept.record['at']}: {line}", err=True)
    sys.exit(bool(replayed.differences))


def _services_of(capsule: Capsule) -> Mapping[str, Service]:
    then = {"profile": capsule.profile, "public_url": capsule.public_url, "emergency_url": capsule.emergency_url}
    return {service.id: service for service in load_services(read_environment().model_copy(update=then))}


def _shown(replayed: Replayed, *, explain: bool) -> str | bytes:
    if not explain:
        return replayed.body
    return explanation_text(replayed.explanation) if replayed.explanation else "The call was refused."


def _tell(number: int, count: int) -> None:
    if count >= _LONG:
        click.echo(f"\r{number:,} of {count:,}", nl=number >= count, err=True)


def _report(found: Mapping[str, Any]) -> str:
    lines = [f"entries: {found['entries']:,}"]
    if found["entries"]:
        lines.append(f"from {found['first']} to {found['last']}")
    lines.append(f"anchor: {found['anchor']}")
    return "\n".join([*lines, *(found["faults"] or ["Every entry is as it was written."])])


def _unreadable(error: LedgerUnavailable) -> NoReturn:
    fail(f"The ledger cannot be read or written now ({error}); see CDS_DATA and CDS_DATABASE_URL.")
