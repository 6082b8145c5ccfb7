"""Cards that stay away: put aside by this user, or seen in this encounter; and those that never do."""

import uuid
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import select

from cds_service.answer import answer
from cds_service.app import create_app
from cds_service.ledger.decisions import card_rows
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.tables import entries
from cds_service.scenarios import find_scenario, scenarios
from cds_service.settings import Settings
from tests.cds_service.test_ledger import alter
from tests.chart import score

PATH = "/cds-services/failed-esi"
FAILED = "failed-and-reordered"
CRITICAL = "red-flag-foot-drop"
STORIES = [story for story in scenarios(["failed-esi"]) if story.response()["body"].get("cards")]


class Site:
    """An installation, on the day of a story."""

    def __init__(self, folder, story=FAILED, **more):
        self.story = find_scenario(story, ["failed-esi"])
        self.settings = Settings(data=folder, log_level="info", **more)
        self.client = create_app(settings=self.settings, today=lambda: self.story.today).test_client()

    def request(self, hook="order-select", user="", encounter="", again=False, draft="", **prefetch):
        """The call of the story: another one each time, unless it is asked again."""
        body = self.story.request()
        body["hook"] = hook
        if not again:
            body["hookInstance"] = str(uuid.uuid4())
        if user:
            body["context"]["userId"] = user
        if encounter:
            body["context"]["encounterId"] = encounter
        for key, resource in prefetch.items():
            body["prefetch"][key]["entry"].append({"resource": resource})
        return redrafted(body, draft) if draft else body

    def fire(self, **changes):
        return self.client.post(PATH, json=self.request(**changes)).get_json()["cards"]

    def put_aside(self, card, at=None, outcome="overridden"):
        at = (at or datetime.now(UTC)).isoformat()
        told = {"card": card["uuid"], "outcome": outcome, "outcomeTimestamp": at}
        assert self.client.post(f"{PATH}/feedback", json={"feedback": [told]}).status_code == 200

    def last_record(self):
        with open_ledger(self.settings).reading() as connection:
            found = select(entries.c.record).order_by(entries.c.number.desc()).limit(1)
            return orjson.loads(connection.execute(found).scalar_one())


def redrafted(body, name):
    """The same request about drafts of other ids."""
    text = orjson.dumps(body).decode()
    for entry in body["context"]["draftOrders"]["entry"]:
        identity = entry["resource"]["id"]
        text = text.replace(f'"{identity}"', f'"{identity}{name}"').replace(f'/{identity}"', f'/{identity}{name}"')
    return orjson.loads(text)


def new_score(site):
    return score(9, site.story.today.isoformat(), "new-score")


class TestSnooze:
    @pytest.fixture
    def site(self, tmp_path):
        return Site(tmp_path, snooze_days=30)

    @pytest.fixture
    def aside(self, site):
        """The installation after its card was overridden."""
        (card,) = site.fire()
        site.put_aside(card)
        return site

    @pytest.mark.parametrize("changes", [{}, {"hook": "order-sign"}, {"encounter": "another"}, {"draft": "x"}])
    def test_an_overridden_card_stays_away(self, aside, changes):
        assert aside.fire(**changes) == []

    def test_it_is_on_record_and_in_the_log_that_it_was_withheld(self, aside, capfd):
        aside.fire()
        (card,) = aside.last_record()["cards"]
        assert (card["isShown"], card["withheld"]) == (False, "snoozed")
        line = orjson.loads(capfd.readouterr().err.splitlines()[-1])
        assert (line["cards"], line["withheld"]) == ([], ["FAILED-ESI-NEXT-TIER"])

    def test_it_returns_when_the_evidence_changes(self, aside):
        assert len(aside.fire(observations=new_score(aside))) == 1

    def test_it_returns_for_another_user(self, aside):
        assert len(aside.fire(user="Practitioner/another")) == 1

    def test_it_returns_for_another_patient(self, aside):
        body = aside.request()
        identity = body["context"]["patientId"]
        other = orjson.loads(orjson.dumps(body).replace(identity.encode(), b"somebody-else"))
        assert len(aside.client.post(PATH, json=other).get_json()["cards"]) == 1

    def test_it_returns_when_the_days_are_over(self, site):
        (card,) = site.fire()
        site.put_aside(card, datetime.now(UTC) - timedelta(days=30, minutes=1))
        assert len(site.fire()) == 1
        site.put_aside(card, datetime.now(UTC) - timedelta(days=29))
        assert site.fire() == []

    @pytest.mark.parametrize("outcome", ["accepted", None])
    def test_a_card_that_was_not_overridden_is_shown_again(self, site, outcome):
        (card,) = site.fire()
        if outcome:
            site.put_aside(card, outcome=outcome)
        assert len(site.fire()) == 1

    def test_feedback_in_quarantine_withholds_nothing(self, site):
        (card,) = site.fire()
        site.put_aside({"uuid": str(uuid.uuid4())})
        assert [shown["summary"] for shown in site.fire()] == [card["summary"]]

    def test_a_critical_card_is_always_shown(self, tmp_path):
        site = Site(tmp_path, CRITICAL, snooze_days=365)
        cards = site.fire()
        assert [card["indicator"] for card in cards] == ["critical"]
        site.put_aside(cards[0])
        assert len(site.fire()) == 1

    def test_it_is_off_unless_chosen(self, tmp_path):
        site = Site(tmp_path)
        (card,) = site.fire()
        site.put_aside(card)
        assert len(site.fire()) == 1


class TestOncePerEncounter:
    @pytest.fixture
    def site(self, tmp_path):
        return Site(tmp_path, once_per_encounter=True)

    @pytest.mark.parametrize("changes", [{}, {"hook": "order-sign"}, {"draft": "x"}])
    def test_a_card_is_shown_once_in_an_encounter(self, site, changes):
        assert len(site.fire()) == 1
        assert site.fire(**changes) == []
        (card,) = site.last_record()["cards"]
        assert (card["isShown"], card["withheld"]) == (False, "seen-in-encounter")

    def test_a_call_that_is_repeated_gets_what_it_got(self, site):
        first = site.fire(again=True)
        assert site.fire() == []
        assert site.fire(again=True) == first

    def test_a_card_that_was_withheld_was_not_seen(self, site, tmp_path):
        site.fire()
        assert [site.fire() for _ in range(2)] == [[], []]
        alter(tmp_path, "UPDATE cards SET is_shown = 0")
        assert len(site.fire()) == 1

    @pytest.mark.parametrize("changes", [{"encounter": "another"}, {"user": "Practitioner/another"}])
    def test_it_returns_elsewhere(self, site, changes):
        site.fire()
        assert len(site.fire(**changes)) == 1

    def test_it_returns_when_the_evidence_changes(self, site):
        site.fire()
        assert len(site.fire(observations=new_score(site))) == 1

    def test_without_an_encounter_it_is_shown(self, site):
        for _ in range(2):
            body = site.request()
            del body["context"]["encounterId"]
            assert len(site.client.post(PATH, json=body).get_json()["cards"]) == 1

    def test_a_critical_card_is_shown_again_at_order_sign(self, tmp_path):
        site = Site(tmp_path, CRITICAL, once_per_encounter=True)
        assert len(site.fire(encounter="e")) == 1
        assert site.fire(encounter="e") == []
        assert len(site.fire(encounter="e", hook="order-sign")) == 1
        assert len(site.fire(encounter="e", hook="order-sign")) == 1

    def test_it_is_off_unless_chosen(self, tmp_path):
        site = Site(tmp_path)
        assert [len(site.fire()) for _ in range(2)] == [1, 1]


def test_what_cannot_be_looked_up_is_shown(tmp_path):
    site = Site(tmp_path, once_per_encounter=True, snooze_days=30, without_ledger="answer")
    (card,) = site.fire()
    site.put_aside(card)
    assert site.fire() == []
    alter(tmp_path, "ALTER TABLE cards RENAME TO elsewhere")
    assert len(site.fire()) == 1


def test_no_call_asks_the_ledger_while_both_are_off(tmp_path, monkeypatch):
    site = Site(tmp_path)
    monkeypatch.setattr("cds_service.ledger.ledger.Ledger.reading", None)
    assert len(site.fire()) == 1


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("days", [0, 1])
def test_a_card_is_known_again_while_its_evidence_and_its_rules_are_the_same(service, story, days):
    """The day, the call and the ids of drafts change from call to call; what a card rests on does not."""
    ledger = open_ledger(Settings())
    first = answer(service, story.request(), story.today)
    body = {**redrafted(story.request(), "x"), "hookInstance": str(uuid.uuid4())}
    later = answer(service, body, story.today + timedelta(days=days))
    rows, again = (card_rows("open", each, (), ledger) for each in (first, later))
    if [advised.decision.rules for advised in first.advice.cards] != [a.decision.rules for a in later.advice.cards]:
        assert (story.name, days) == ("too-soon-day-13", 1)  # on day 14 the injection can be judged
        assert [row["same"] for row in rows] != [row["same"] for row in again]
    else:
        assert [row["same"] for row in rows] == [row["same"] for row in again]
        assert [row["same_encounter"] for row in rows] == [row["same_encounter"] for row in again]
    assert {row["uuid"] for row in rows}.isdisjoint(row["uuid"] for row in again)


def test_every_resource_that_a_card_rests_on_tells_it_apart(service):
    ledger = open_ledger(Settings())
    story = find_scenario(FAILED, ["failed-esi"])
    first = answer(service, story.request(), story.today)
    (row,) = card_rows("open", first, (), ledger)
    for reference in first.advice.cards[0].decision.evidence:
        body = story.request()
        for key in body["prefetch"].values():
            for entry in key.get("entry", ()) if isinstance(key, dict) else ():
                if f"{entry['resource']['resourceType']}/{entry['resource']['id']}" == reference:
                    entry["resource"]["note"] = [{"text": "changed"}]
        (changed,) = card_rows("open", answer(service, body, story.today), (), ledger)
        assert changed["same"] != row["same"], reference
