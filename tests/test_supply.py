"""What others wrote: declared, pinned with hashes, above the floors, listed for a release."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import orjson
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.supply import (
    BUILD_LOCK,
    LOCK,
    ROOT,
    Pinned,
    below_floors,
    constraints,
    declared,
    floor,
    image_extras,
    locked,
    project,
    security_floors,
    write_sbom,
)

PINS = locked()
ADVICE = "run: make lock"


@pytest.mark.parametrize("path", [LOCK, BUILD_LOCK], ids=lambda path: path.name)
def test_every_package_of_the_lock_is_pinned_with_hashes(path):
    pins = locked(path)
    assert len(pins) > 3
    assert [name for name, pin in pins.items() if not pin.version or len(pin.hashes) < 1] == []
    assert not re.search(r"https?:|^-|@", path.read_text(encoding="utf-8"), re.MULTILINE), "no place to install from"


@pytest.mark.parametrize("line", ["flask>=3", "flask", "flask==3.*", "flask==3.1.3,!=3.1.4"])
def test_what_is_not_pinned_is_noticed(line):
    with pytest.raises(ValueError, match=r"not pinned|values to unpack"):
        assert Pinned(Requirement(line), frozenset()).version


def test_the_lock_holds_what_is_declared():
    asked = [r for r in declared(*image_extras()) if r.marker is None or r.marker.evaluate()]
    missing = [
        str(r) for r in asked if (pin := PINS.get(canonicalize_name(r.name))) is None or pin.version not in r.specifier
    ]
    assert missing == [], ADVICE
    build = locked(BUILD_LOCK)
    assert all(build[r.name].version in r.specifier for r in map(Requirement, project()["build-system"]["requires"])), (
        ADVICE
    )


def test_the_image_installs_what_is_locked_and_nothing_else():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"pip (?:install|wheel) (.*?)(?: &&|$)", text, re.MULTILINE)
    assert len(installs) == 4
    assert all("--no-deps" in options for options in installs)
    from_locks = [options for options in installs if ".lock" in options]
    assert len(from_locks) == 2
    assert all("--require-hashes" in options and "--only-binary :all:" in options for options in from_locks)
    assert "pip check" in text


def test_what_is_imported_is_declared():
    sources = [p for folder in ("cds_service", "hooks") for p in (ROOT / folder).rglob("*.py")]
    nodes = [node for p in sources for node in ast.walk(ast.parse(p.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"cds_service", "hooks"}
    known = {canonicalize_name(r.name) for r in declared(*image_extras())}
    whose = packages_distributions()
    owners = {name: {canonicalize_name(owner) for owner in whose.get(name, ())} for name in foreign}
    assert {name: found for name, found in owners.items() if not found & (known | {"pydantic-core"})} == {}


def test_everything_declared_for_the_image_has_a_lowest_version():
    assert [r.name for r in declared(*image_extras()) if floor(r) is None] == []
    assert "werkzeug==3.1.6" in constraints().splitlines()


def test_no_version_below_a_security_floor_can_be_installed():
    assert list(below_floors(security_floors(), declared("test", *image_extras()), PINS)) == []


@pytest.mark.parametrize(
    ("asked", "pins", "told"),
    [
        ("flask>=3", {"flask": "3.1.3"}, "allows flask 3"),
        ("flask", {}, "allows flask None"),
        ("flask>=3.1.3", {"flask": "3.1.2"}, "lock has flask 3.1.2"),
        ("gunicorn>=23", {}, "neither declared nor locked"),
    ],
)
def test_a_version_below_a_floor_is_noticed(asked, pins, told):
    locked_ = {name: Pinned(Requirement(f"{name}=={version}"), frozenset()) for name, version in pins.items()}
    (line,) = below_floors({"flask": Version("3.1.3")}, [Requirement(asked)], locked_)
    assert told in line


def test_the_bill_of_materials_equals_the_lock(tmp_path):
    write_sbom(tmp_path / "sbom.json")
    bill = orjson.loads((tmp_path / "sbom.json").read_bytes())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "cds-service"
    listed = {
        canonicalize_name(part["name"]): (
            part["version"],
            {item["content"] for reference in part["externalReferences"] for item in reference["hashes"]},
        )
        for part in bill["components"]
    }
    assert listed == {name: (str(pin.version), set(pin.hashes)) for name, pin in PINS.items()}
