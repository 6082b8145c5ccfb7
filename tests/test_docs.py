"""Documentation that cannot rot."""

import re
import tomllib
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from cds_service.cli import main
from cds_service.scenarios import scenarios
from cds_service.settings import Settings
from tests.conftest import TODAY
from tests.generated import GENERATED, ROOT, replaced
from tests.postman import PATH, postman

README = (ROOT / "README.md").read_text(encoding="utf-8")
FOREIGN = {"mutants", "node_modules"}  # copies of the tree by mutation testing, packages of others
PAGES = [
    p
    for p in ROOT.rglob("*.md")
    if not any(part[0] == "." or part in FOREIGN for part in p.relative_to(ROOT).parts[:-1])
]


@pytest.mark.parametrize(("name", "marker"), GENERATED)
def test_a_generated_part_is_up_to_date(name, marker):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert f"<!-- {marker}:begin -->" in text
    assert replaced(text, marker, GENERATED[(name, marker)]()) == text, "run: make docs"


def test_the_postman_collection_is_up_to_date():
    assert PATH.read_text(encoding="utf-8") == postman(), "run: make postman"


def test_a_request_of_the_postman_collection_gets_its_saved_answer(client):
    calls = [item for folder in orjson.loads(postman())["item"] for item in folder["item"] if item["response"]]
    assert len(calls) >= 7
    for item in calls:
        raw = re.sub(r"{{day-(\d+)}}", lambda m: str(TODAY - timedelta(days=int(m[1]))), item["request"]["body"]["raw"])
        path = item["request"]["url"]["raw"].removeprefix("{{baseUrl}}")
        answer = client.post(path, data=raw, content_type="application/json")
        saved = item["response"][0]
        assert (answer.status_code, answer.get_json()) == (saved["code"], orjson.loads(saved["body"])), item["name"]


def test_every_setting_stands_in_the_readme():
    assert all(f"`CDS_{name.upper()}`" in README for name in Settings.model_fields)


def test_every_command_in_the_readme_exists():
    for command in re.findall(r"^(?:  )?cds-service (\w+)", README, re.MULTILINE):
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


def test_the_commands_of_the_readme_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)|`make (\w+)`", README, re.MULTILINE)
    assert targets
    for target in map("".join, targets):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_version_in_the_readme_is_that_of_the_pathway():
    about = tomllib.loads((ROOT / "hooks/failed_esi/pathway.toml").read_text(encoding="utf-8"))["about"]
    assert f"`{about['version']}`, status *{about['status']}*" in README


def test_every_scenario_stands_in_its_readme():
    text = (ROOT / "fixtures/README.md").read_text(encoding="utf-8")
    assert [s.name for s in scenarios(["failed-esi"]) if s.name not in text] == []


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs/decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_the_image_needs_is_there():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "USER 65532" in text
    assert "HEALTHCHECK" in text
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split())


def test_the_bare_python_floor_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 or newer" in README
    assert "(3, 11)" in Path(ROOT / "Makefile").read_text(encoding="utf-8")
