"""A PostgreSQL of the tests' own, where its programs are installed: in a folder that goes with it, on no network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

NEEDED = "needs the programs of PostgreSQL (initdb, pg_ctl)"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


@contextmanager
def cluster(binaries: Path) -> Iterator[str]:
    """Run a server; gives the address of its first database. It refuses to run as root, and takes another user then."""
    folder = Path(mkdtemp(prefix="cds-pg-", dir="/tmp"))
    account = _account()
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
    run = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}

    def call(*command: str) -> None:
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # a pipe would stay open in the server
        subprocess.run([str(binaries / command[0]), *command[1:]], cwd=folder, check=True, **silent, **run)

    data = str(folder / "data")
    try:
        call("initdb", "--pgdata", data, "--username=cds", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        options = f"-c listen_addresses='' -k {folder}"
        call("pg_ctl", "--pgdata", data, "--wait", "--log", str(folder / "log"), "--options", options, "start")
        try:
            yield f"postgresql://cds@/postgres?host={folder}"
        finally:
            call("pg_ctl", "--pgdata", data, "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]
