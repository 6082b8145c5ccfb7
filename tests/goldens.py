"""Rewrite the expected responses of all scenarios and clients and print what changed: python -m tests.goldens."""

from __future__ import annotations

import difflib
import sys

import orjson

import tests.data_folder  # noqa: F401 - before anything reads the settings
from cds_service.app import create_app
from cds_service.scenarios import Scenario, scenarios
from cds_service.settings import Settings
from tests.clients import answered_in_dialect, client_scenarios


def answered(scenario: Scenario) -> dict[str, object]:
    """The status and body that the service gives on the day of the story."""
    app = create_app(settings=Settings(log_level="error"), today=lambda: scenario.today)
    response = app.test_client().post("/cds-services/failed-esi", json=scenario.request())
    return {"status": response.status_code, "body": response.get_json()}


def main() -> None:
    """Rewrite the files."""
    for scenario in scenarios(["failed-esi"]):
        rewrite(scenario, answered(scenario))
    for scenario in client_scenarios():
        rewrite(scenario, answered_in_dialect(scenario))


def rewrite(scenario: Scenario, answer: dict[str, object]) -> None:
    """Write the answer of one scenario, and what changed to the terminal."""
    path = scenario.folder / "response.json"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    after = orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n"
    if before != after:
        sys.stdout.writelines(
            difflib.unified_diff(before.splitlines(True), after.splitlines(True), scenario.name, scenario.name)
        )
        path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
