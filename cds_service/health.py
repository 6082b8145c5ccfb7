"""Whether this process should get calls; what a FHIR server or a client does has no part in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cds_service.protocol.errors import NotReady

Check = Callable[[], bool]


@dataclass
class Readiness:
    """What must hold, by name; and whether the process is going away."""

    checks: Mapping[str, Check]
    is_draining: bool = False

    def require(self) -> None:
        """Raise NotReady, naming every check that fails."""
        failed = [name for name, holds in self.checks.items() if not holds()]
        if self.is_draining:
            failed.append("draining")
        if failed:
            raise NotReady(failed)


def has_room(folder: Path, megabytes: int) -> bool:
    """Whether the disk of a folder has at least so much room left; not when it cannot be asked."""
    try:
        return shutil.disk_usage(folder).free >= megabytes * 1_000_000
    except OSError:
        return False
