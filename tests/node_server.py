"""A FHIR server that others wrote, for tests: Medplum's engine in memory, started from tests/fhir_server_node."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parent / "fhir_server_node"
_OLDEST_NODE = (20, 19)
_INSTALL = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]


def why_not() -> str | None:
    """Why the server cannot run here, or None; its packages are installed when they are not there yet."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST_NODE:
        return f"node is {version.strip()}, and {'.'.join(map(str, _OLDEST_NODE))} or newer is needed"
    if (FOLDER / "node_modules/.package-lock.json").exists():
        return None
    try:
        done = subprocess.run(_INSTALL, cwd=FOLDER, capture_output=True, text=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        return "npm ci did not end in time"
    return f"npm ci failed: {done.stderr.strip()[-300:]}" if done.returncode else None


@contextmanager
def running() -> Iterator[str]:
    """The server on a free port of this machine; gives its base URL."""
    with subprocess.Popen(["node", "server.mjs"], cwd=FOLDER, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line.startswith("listening on "), "the FHIR server did not start; `make fhir-server` shows why"
            yield line.removeprefix("listening on ").strip()
        finally:
            process.terminate()
