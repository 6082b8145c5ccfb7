"""What is installed from others: declared in pyproject.toml, pinned with hashes in the locks, listed for a release.

python -m tests.supply lock [--upgrade]    write both locks; pins stay as they are unless they have to change
python -m tests.supply sbom FILE           write the bill of materials (CycloneDX JSON) of the image
python -m tests.supply floors              print the lowest version of everything that is declared
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCK, BUILD_LOCK = ROOT / "requirements.lock", ROOT / "requirements-build.lock"
DEVELOPERS = frozenset({"test", "mutation", "lock"})  # extras that are no part of the image
_UV = ["uv", "pip", "compile", "--universal", "--generate-hashes", "--no-header", "--quiet", "--python-version", "3.11"]
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pinned:
    """One package of a lock."""

    requirement: Requirement
    hashes: frozenset[str]

    @property
    def version(self) -> Version:
        """The one version. Raises ValueError when the package is not pinned."""
        (pin,) = self.requirement.specifier
        if pin.operator != "==" or pin.version.endswith("*"):
            raise ValueError(f"{self.requirement} is not pinned")
        return Version(pin.version)


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that are named."""
    table = project()["project"]
    lists = [table["dependencies"], *(table["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(line) for lines in lists for line in lines]


def image_extras() -> list[str]:
    """The extras that the image has: all but those for developers."""
    return sorted(set(project()["project"]["optional-dependencies"]) - DEVELOPERS)


def locked(path: Path = LOCK) -> dict[str, Pinned]:
    """The packages of a lock, by their normal names. Raises ValueError at a line that is no package."""
    text = re.sub(r"^\s*#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    pins = [_pinned(line) for line in text.splitlines() if line.strip()]
    return {canonicalize_name(pin.requirement.name): pin for pin in pins}


def _pinned(line: str) -> Pinned:
    return Pinned(Requirement(_HASH.sub("", line)), frozenset(_HASH.findall(line)))


def floor(requirement: Requirement) -> Version | None:
    """The lowest version that a requirement allows."""
    bounds = [Version(part.version) for part in requirement.specifier if part.operator in {">=", "==", "~="}]
    return max(bounds, default=None)


def security_floors() -> dict[str, Version]:
    """Below these versions a hole is known."""
    rows = tomllib.loads((ROOT / "docs/floors.toml").read_text(encoding="utf-8"))["floors"]
    return {canonicalize_name(name): Version(row["version"]) for name, row in rows.items()}


def below_floors(floors: Mapping[str, Version], asked: list[Requirement], pins: Mapping[str, Pinned]) -> Iterator[str]:
    """What lies below a floor, or what a floor is about that nobody uses, a line each."""
    lowest = {canonicalize_name(requirement.name): floor(requirement) for requirement in asked}
    for name, least in floors.items():
        if name not in lowest and name not in pins:
            yield f"{name} is neither declared nor locked; take its floor away"
        if name in lowest and (lowest[name] or Version("0")) < least:
            yield f"pyproject.toml allows {name} {lowest[name]}; {least} is the floor"
        if name in pins and pins[name].version < least:
            yield f"the lock has {name} {pins[name].version}; {least} is the floor"


def constraints() -> str:
    """The lowest version of everything that is declared, as pip takes it."""
    floors = [(requirement.name, floor(requirement)) for requirement in declared(*image_extras())]
    return "\n".join(f"{name}=={least}" for name, least in floors if least)


def write_sbom(path: Path) -> None:
    """List what the image installs, as CycloneDX JSON; the same for the same lock."""
    options = ["--pyproject", "pyproject.toml", "--mc-type", "application", "--of", "JSON", "--output-reproducible"]
    # It warns that the lock does not say which package asked for which.
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "cyclonedx_py",
        "requirements",
        LOCK.name,
        *options,
        "-o",
        str(path.resolve()),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, cwd=ROOT)


def write_locks(*options: str) -> None:
    """Pin what the image installs and what its wheel is built with."""
    extras = [part for extra in image_extras() for part in ("--extra", extra)]
    build = "\n".join(project()["build-system"]["requires"])
    compile_ = [sys.executable, "-m", *_UV, *options]
    subprocess.run([*compile_, *extras, "pyproject.toml", "-o", LOCK.name], check=True, cwd=ROOT)
    subprocess.run([*compile_, "-", "-o", BUILD_LOCK.name], input=build, text=True, check=True, cwd=ROOT)


def main(command: str, *arguments: str) -> None:
    """Do what the command says."""
    if command == "lock":
        write_locks(*arguments)
    elif command == "sbom":
        write_sbom(Path(*arguments))
    else:
        sys.stdout.write(f"{constraints()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
