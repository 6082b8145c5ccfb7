"""Items about feedback; tests/cds_service/test_feedback.py has every shape and every limit."""

import orjson
import pytest
from sqlalchemy import select

from cds_service.app import create_app
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.tables import entries
from cds_service.scenarios import find_scenario
from cds_service.settings import Settings

STORY = find_scenario("failed-and-reordered", ["failed-esi"])
SERVICE = "/cds-services/failed-esi"
AT = "2026-05-01T19:06:41Z"


@pytest.fixture
def client(tmp_path):
    app = create_app(settings=Settings(data=tmp_path, log_level="info"), today=lambda: STORY.today)
    return app.test_client()


@pytest.fixture
def card(client):
    (shown,) = client.post(SERVICE, json=STORY.request()).get_json()["cards"]
    return shown


@pytest.fixture
def stored(tmp_path):
    """What is on record about feedback."""

    def read():
        with open_ledger(Settings(data=tmp_path)).reading() as connection:
            found = connection.execute(select(entries.c.record).where(entries.c.kind == "feedback")).scalars()
            return [orjson.loads(record) for record in found]

    return read


def tell(client, *told):
    return client.post(f"{SERVICE}/feedback", json={"feedback": list(told)})


def overridden(card, **more):
    return {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": AT, **more}


def accepted(card):
    taken = [{"id": card["suggestions"][0]["uuid"]}]
    return {"card": card["uuid"], "outcome": "accepted", "acceptedSuggestions": taken, "outcomeTimestamp": AT}


def test_item_59_there_is_a_feedback_route(client, card):
    assert tell(client, accepted(card)).status_code == 200


def test_item_60_outcomes_suggestions_and_reasons_are_stored(client, card, stored):
    tell(client, accepted(card), overridden(card, overrideReason={"reason": card["overrideReasons"][0]}))
    first, second = stored()
    assert (first["outcome"], first["suggestions"]) == ("accepted", [card["suggestions"][0]["uuid"]])
    assert (second["outcome"], second["reason"]) == ("overridden", card["overrideReasons"][0]["code"])


def test_item_61_repeated_and_mixed_feedback_is_stored_once_and_never_changed(client, card, stored):
    tell(client, accepted(card), overridden(card))
    before = stored()
    tell(client, overridden(card), accepted(card), accepted(card))
    assert stored() == before
    assert len(before) == 2


def test_item_62_one_bad_entry_does_not_lose_the_others(client, card, stored):
    assert tell(client, {"outcome": "accepted"}, overridden(card), None).status_code == 200
    assert [record["card"] for record in stored()] == [card["uuid"]]
    assert client.post(f"{SERVICE}/feedback", json={"feedback": "none"}).status_code == 400


def test_item_63_the_shapes_that_known_clients_send_are_read(client, card, stored):
    reason = card["overrideReasons"][1]
    tell(
        client, overridden(card, overrideReasons={"reason": {**reason, "system": reason["system"].replace(":", ": ")}})
    )
    bare = overridden(card, overrideReason={"reason": {"code": reason["code"], "system": reason["system"]}})
    client.post(f"{SERVICE}/feedback", json={**bare, "outcomeTimestamp": "2026-05-02T19:06:41Z"})
    tell(client, {**overridden(card), "card": "123456"})
    assert [record.get("reason") for record in stored()] == [reason["code"], reason["code"], None]


@pytest.mark.parametrize(("data", "status"), [(b"[" * 100 + b"]" * 100, 400), (b" " * 5000, 413)])
def test_item_64_feedback_has_the_limits_of_the_service(data, status):
    client = create_app(settings=Settings(log_level="error", max_body=4096)).test_client()
    for path in (SERVICE, f"{SERVICE}/feedback"):
        assert client.post(path, data=data, content_type="application/json").status_code == status


def test_item_65_a_comment_stays_out_of_logs_and_records(client, card, stored, tmp_path, capfd):
    tell(client, overridden(card, overrideReason={"userComment": "Mrs Example waits"}))
    assert '"event": "feedback"' in (written := capfd.readouterr().err)
    assert list(stored()[0]["sealed"]) == ["comment"]
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert "Mrs Example" not in written
    assert b"Mrs Example" not in files
