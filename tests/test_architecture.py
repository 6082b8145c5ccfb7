"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGINE = sorted((ROOT / "cds_service").rglob("*.py"))
MEDICINE = sorted((ROOT / "hooks").rglob("*.py"))


def imports(path):
    """Every module that a file imports, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "", node.lineno)


def relative(path):
    return str(path.relative_to(ROOT))


def test_the_engine_imports_the_medicine_only_in_the_composition_root():
    users = {relative(p) for p in ENGINE for module, _ in imports(p) if module.partition(".")[0] == "hooks"}
    assert users == {"cds_service/app.py"}


@pytest.mark.parametrize("path", MEDICINE, ids=relative)
def test_the_medicine_knows_no_http_no_fhir_json_no_database_and_no_system(path):
    forbidden = {"flask", "requests", "fhir", "sqlalchemy", "os", "orjson", "json", "time", "logging", "structlog"}
    assert not {module for module, _ in imports(path)} & forbidden
    assert not {m for m, _ in imports(path) if m.partition(".")[0] in forbidden}
    assert not {
        m for m, _ in imports(path) if m in {"cds_service.fhir.reader", "cds_service.fhir.models", "cds_service.app"}
    }


@pytest.mark.parametrize("path", MEDICINE, ids=relative)
def test_the_medicine_has_no_clock(path):
    assert not re.search(r"\b(today|now|utcnow)\(\)", path.read_text(encoding="utf-8"))


def test_the_engine_knows_no_clinical_word():
    words = re.compile(r"\b(esi|epidural|injections?|pain|spine)\b", re.IGNORECASE)
    found = [f"{relative(p)}: {m[0]}" for p in ENGINE for m in words.finditer(p.read_text(encoding="utf-8"))]
    assert found == []


def test_fhir_resources_is_imported_in_one_place_and_only_as_r4b():
    users = {relative(p) for p in (*ENGINE, *MEDICINE) for module, _ in imports(p) if module.startswith("fhir.")}
    assert users == {"cds_service/fhir/models.py"}
    sources = [p for folder in ("cds_service", "hooks", "tests", "bench") for p in (ROOT / folder).rglob("*.py")]
    wrong = [
        f"{relative(p)}:{n}"
        for p in sources
        for m, n in imports(p)
        if m.startswith("fhir.resources") and "R4B" not in m
    ]
    assert wrong == []


def test_importing_the_medicine_loads_no_web_framework_and_no_fhir_library():
    program = "import hooks, sys; print(sorted({'flask', 'fhir', 'requests', 'gunicorn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_edge_catches_everything():
    broad = [
        f"{relative(path)}:{node.lineno}"
        for path in (*ENGINE, *MEDICINE)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    assert broad == []


def test_names_say_what_things_are():
    banned = re.compile(r"manager|helper|utils?$|handler$|process", re.IGNORECASE)
    names = [
        f"{relative(path)}: {node.name}"
        for path in (*ENGINE, *MEDICINE)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and banned.search(node.name)
        if node.name != "init_poolmanager"  # the name that requests gives it
    ]
    files = [relative(p) for p in (*ENGINE, *MEDICINE) if banned.search(p.stem)]
    assert names + files == []


def test_cpt_numbers_live_in_one_file():
    cpt = re.compile(
        r"(?<![\d.])(?:62[23]\d\d|644[789]\d|646[23]\d|636[5-9]\d|27096|64451|0275T|0232T|971[46]\d|9711\d|721[345]\d)(?![\d.])"
    )
    folder = ROOT / "hooks"
    holders = {
        relative(p)
        for p in folder.rglob("*")
        if p.suffix in {".py", ".toml", ".md"} and cpt.search(p.read_text(encoding="utf-8"))
    }
    assert holders == {"hooks/failed_esi/value_sets/cpt.toml"}
    assert not [relative(p) for p in ENGINE if cpt.search(p.read_text(encoding="utf-8"))]


def test_the_project_speaks_of_itself_alone():
    """No machine paths and no mention of places that a user does not have."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.split("\0")
    paths = [ROOT / name for name in tracked if name and not name.startswith("tests/test_architecture")]
    foreign = re.compile(r"(?<![\w.])(/work/|/root/|/farm/|/home/\w)|\.\./shared|\.library")
    found = [
        relative(p) for p in paths if p.is_file() and foreign.search(p.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert found == []
