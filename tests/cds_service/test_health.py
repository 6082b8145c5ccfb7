"""When an instance should get no calls."""

from pathlib import Path

import pytest

from cds_service.app import create_app
from cds_service.health import Readiness, has_room
from cds_service.protocol.errors import NotReady
from cds_service.settings import Settings


def test_every_check_that_fails_is_named_and_no_other():
    readiness = Readiness({"one": lambda: True, "two": lambda: False, "three": lambda: False})
    with pytest.raises(NotReady) as refused:
        readiness.require()
    assert refused.value.text == "Not ready: two, three."
    assert refused.value.status == 503


def test_a_process_that_goes_away_is_not_ready():
    readiness = Readiness({"one": lambda: True})
    readiness.require()
    readiness.is_draining = True
    with pytest.raises(NotReady, match="draining"):
        readiness.require()


def test_a_disk_without_room_or_without_an_answer_fails(tmp_path):
    assert has_room(tmp_path, 0)
    assert not has_room(tmp_path, 10**12)
    assert not has_room(Path("/nowhere/at/all"), 0)


def test_the_answer_names_the_check_and_no_path(tmp_path):
    app = create_app(settings=Settings(data=tmp_path, disk_floor_mb=10**12, log_level="error"))
    refused = app.test_client().get("/readyz")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.get_json()["issue"][0]["details"]["text"] == "Not ready: disk."
    assert str(tmp_path) not in refused.get_data(as_text=True)
    assert app.test_client().get("/livez").status_code == 200
