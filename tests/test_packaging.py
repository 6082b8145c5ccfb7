"""What a user installs: the wheel holds everything, and the demo runs from it in a fresh environment."""

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_pathway_the_value_sets_the_fixtures_and_the_notices(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    medicine = {str(p.relative_to(ROOT)) for kind in ("toml", "md") for p in (ROOT / "hooks").rglob(f"*.{kind}")}
    stories = {f"cds_service/fixtures/{p.relative_to(ROOT / 'fixtures')}" for p in (ROOT / "fixtures").rglob("*.json")}
    assert medicine <= names
    assert stories <= names
    assert {"cds_service/py.typed", "cds_service/protocol/dialects.toml"} <= names
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names}
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_the_demo_runs_from_the_wheel_and_the_lock_in_a_fresh_environment(wheel, tmp_path):
    """As the Dockerfile installs it: everything by its hash, and nothing that is not locked."""
    venv.create(tmp_path / "venv", with_pip=True)
    pip = [tmp_path / "venv" / "bin" / "python", "-m", "pip"]
    lock = ["--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements.lock")]
    for options in (["install", "--no-deps", *lock], ["install", "--no-deps", "--no-index", str(wheel)], ["check"]):
        subprocess.run([*pip, *options], check=True, capture_output=True, cwd=tmp_path)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CDS_")}
    demo = [tmp_path / "venv" / "bin" / "cds-service", "demo"]
    done = subprocess.run(demo, capture_output=True, text=True, cwd=tmp_path, env=clean, timeout=120, check=True)
    assert "[WARNING] Prior L5-S1 ESI" in done.stdout
    assert "[ Order updated MRI ]" in done.stdout


def test_the_pinned_libraries_are_the_ones_that_work_together():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "fhir-core>=1.1.12,<1.2" in project["dependencies"]
    assert "fhir.resources>=8.3,<9" in project["dependencies"]
