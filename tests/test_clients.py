"""Every client through HTTP in-process: the answer in its dialect is a contract."""

from __future__ import annotations

import pytest

from tests.clients import DIALECTS, answered_in_dialect, client_scenarios, name_of
from tests.generated import ROOT

ALL = client_scenarios()


@pytest.mark.parametrize("scenario", ALL, ids=name_of)
def test_the_answer_is_the_one_on_file(scenario):
    assert answered_in_dialect(scenario) == scenario.response()


def test_every_folder_is_a_client_and_every_shape_is_told():
    folders = {folder.name for folder in (ROOT / "fixtures/clients").iterdir() if folder.is_dir()}
    text = (ROOT / "fixtures/README.md").read_text(encoding="utf-8")
    assert folders == set(DIALECTS)
    assert [name_of(scenario) for scenario in ALL if f"`{name_of(scenario)}`" not in text] == []
    assert all(scenario.story.endswith(".") for scenario in ALL)


@pytest.mark.parametrize("scenario", [s for s in ALL if s.response()["status"] != 200], ids=name_of)
def test_a_refusal_says_what_to_do_and_repeats_no_value(scenario):
    body = scenario.response()["body"]
    assert body["resourceType"] == "OperationOutcome"
    assert body["issue"][0]["diagnostics"]
    assert scenario.request().get("context", {}).get("patientId", "no id") not in str(body)
