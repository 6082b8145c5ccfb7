"""The clients file: what it says, what is wrong with it, and what each client then gets."""

from __future__ import annotations

import io
from time import time

import orjson
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from bench.faults.replay import services_of
from bench.faults.tokens import ADDRESS, ISSUER, JWKS_URL, claims, header
from cds_service.app import create_app
from cds_service.cli import main
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.replay import answer_again, kept_call
from cds_service.ledger.tables import entries, feedback
from cds_service.protocol.dialect import DialectError
from cds_service.service import KnowledgeError
from cds_service.settings import Settings, SettingsError, read_settings
from cds_service.trust.client_jwt import Reason
from cds_service.trust.clients import OPEN, ClientsError, read_clients
from tests.chart import esi, hook_request, score
from tests.conftest import TODAY
from tests.registered import RING, bearer, clients_file, forger

SERVICE = "/cds-services/failed-esi"
FAILED = hook_request(esi("2026-03-16"), score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b"))
PUBLIC = ADDRESS.removesuffix(SERVICE)
PLAIN = f'issuer = "{ISSUER}"\njwks_url = "{JWKS_URL}"\n'


@pytest.fixture
def read(tmp_path):
    def text(content, public_url=PUBLIC, **more):
        path = tmp_path / "clients.toml"
        path.write_text(content, encoding="utf-8")
        return read_clients(path, public_url, **more)

    return text


def test_a_table_is_a_client(read):
    (client,) = read(f"""
[north-hospital]
{PLAIN}
tenants = ["north"]
audience = ["cds"]
algorithms = ["ES384"]
fhir_servers = ["https://ehr.example.org/fhir/R4"]
dialect = "epic"
profile = "clinical"
silent = true
location = "North Hospital"
rate = 50
concurrency = 4
[north-hospital.prefetch]
observations = "flowsheets"
[north-hospital.codes]
repeat-imaging = "7700142"
""")
    assert (client.id, client.issuer, client.jwks_url) == ("north-hospital", ISSUER, JWKS_URL)
    assert (client.tenants, client.audience, client.algorithms) == (("north",), ("cds",), ("ES384",))
    assert (client.dialect, client.profile, client.silent, client.location) == (
        "epic",
        "clinical",
        True,
        "North Hospital",
    )
    assert (client.rate, client.concurrency) == (50, 4)
    assert (client.prefetch, client.codes) == ({"observations": "flowsheets"}, {"repeat-imaging": "7700142"})


def test_little_is_required(read):
    (client,) = read(f"[north]\n{PLAIN}")
    assert client.algorithms == ("ES384", "RS384")
    assert (client.tenants, client.audience, client.fhir_servers, client.silent) == ((), (), (), False)


def test_keys_may_stand_in_the_file_or_in_one_beside_it(read, tmp_path):
    (tmp_path / "keys.json").write_bytes(orjson.dumps({"keys": RING.public()}))
    (beside,) = read(f'[north]\nissuer = "{ISSUER}"\njwks_file = "keys.json"\n')
    assert [key["kid"] for key in beside.keys] == ["k/+es=", "rs"]
    members = "\n".join(f'{name} = "{value}"' for name, value in RING.public()[0].items())
    (inside,) = read(f'[north]\nissuer = "{ISSUER}"\n[[north.keys]]\n{members}\n')
    assert inside.keys == (RING.public()[0],)


def key_table(jwk):
    members = "\n".join(f'{name} = "{value}"' for name, value in jwk.items())
    return f'[north]\nissuer = "{ISSUER}"\n[[north.keys]]\n{members}\n'


SANDBOX = {
    "kty": "EC", "crv": "P-384", "kid": "example-kid",
    "x": "46SDH7Znh821wblCBglA61sNE9ZrHYKKt3qRtRTmSXyOI_FIGBLWrWa0GPUkDCEk",
    "y": "XMcRuuoGW7CXjQdy-F5i3FeBE0x9hPLdeFdSoDd3ELmx404tLX0VRRcqzAsPhXcI",
}  # fmt: skip

FAULTS = {
    "nothing": ("", "clients.toml: no client is in it; `cds-service client add` writes one"),
    "no TOML": ("[north", "cannot be read as TOML"),
    "no table": ('issuer = "x"', "issuer stands outside a table"),
    "no name": (f'["a client"]\n{PLAIN}', r"\[a client\] is no name for a client"),
    "our own name": (f"[open]\n{PLAIN}", r"\[open\] is no name for a client"),
    "a slip": (f'[north]\n{PLAIN}jwks_uri = "x"', r"\[north\] jwks_uri: not a key; did you mean jwks_url\?"),
    "an unknown key": (f'[north]\n{PLAIN}"# x" = 1', "not a key; see the README"),
    "the name as a key": (f'[north]\n{PLAIN}id = "x"', r"\[north\] id: not a key"),
    "no issuer": (f'[north]\njwks_url = "{JWKS_URL}"', r"\[north\] issuer: it is missing; give the `iss`"),
    "no keys": (f'[north]\nissuer = "{ISSUER}"', "jwks_url: give either jwks_url or the keys"),
    "both kinds of keys": (f'[north]\n{PLAIN}keys = [{{kty = "EC"}}]', "not both"),
    "keys over http": ('[north]\nissuer = "i"\njwks_url = "http://127.0.0.1/k"', "jwks_url: not an https address"),
    "a FHIR server over http": (f'[north]\n{PLAIN}fhir_servers = ["http://127.0.0.1/f"]', "fhir_servers: not an https"),
    "a user in an address": ('[north]\nissuer = "i"\njwks_url = "https://a@b.example/k"', "jwks_url: not an https address"),
    "none": (f'[north]\n{PLAIN}algorithms = ["none"]', "algorithms: none is not one of ES256"),
    "HMAC": (f'[north]\n{PLAIN}algorithms = ["ES384", "HS256"]', "algorithms: HS256 is not one of"),
    "no algorithm": (f"[north]\n{PLAIN}algorithms = []", r"\[north\] algorithms: .*at least 1"),
    "a text for a list": (f'[north]\n{PLAIN}audience = "cds"', r"\[north\] audience: Input should be a valid tuple"),
    "a text for a switch": (f'[north]\n{PLAIN}silent = "yes"', r"\[north\] silent: Input should be a valid boolean"),
    "a rate of nothing": (f"[north]\n{PLAIN}rate = 0", r"\[north\] rate: .*greater than or equal to 1"),
    "an empty tenant": (f'[north]\n{PLAIN}tenants = [""]', r"\[north\] tenants.0: "),
    "a private key": (key_table(RING.es.as_dict(private=True)), r"\[north\] keys\[0\]: a private key: its owner has to"),
    "a published key": (key_table(SANDBOX), r"\[north\] keys\[0\]: its private half is published"),
    "a file that is not there": ('[north]\nissuer = "i"\njwks_file = "k"', "jwks_file: k cannot be read: No such file"),
    "a file of something else": ('[north]\nissuer = "i"\njwks_file = "clients.toml"', "clients.toml cannot be read: not JSON"),
    "the same client twice": (f"[a]\n{PLAIN}[b]\n{PLAIN}", r"\[b\] tenants: \[a\] has the same issuer"),
    "the same tenant twice": (
        f'[a]\n{PLAIN}tenants = ["x", "y"]\n[b]\n{PLAIN}tenants = ["y"]', r"\[b\] tenants: \[a\] has the same issuer",
    ),
    "one without tenants": (f'[a]\n{PLAIN}tenants = ["x"]\n[b]\n{PLAIN}', r"\[b\] tenants: \[a\] has the same issuer"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_is_named_with_its_table_and_key(read, content, message):
    with pytest.raises(ClientsError, match=message) as error:
        read(content)
    assert "clients.toml" in str(error.value)


def test_without_a_public_address_each_client_needs_an_audience(read):
    with pytest.raises(ClientsError, match="audience: it is missing; set CDS_PUBLIC_URL, or list"):
        read(f"[north]\n{PLAIN}", public_url=None)
    assert read(f'[north]\n{PLAIN}audience = ["cds"]', public_url=None)


def test_development_takes_http_on_this_machine_and_published_keys(read):
    assert read('[a]\nissuer = "i"\njwks_url = "http://127.0.0.1:1/k"', insecure=True)
    assert read(key_table(SANDBOX), insecure=True)
    with pytest.raises(ClientsError, match="not an https address"):
        read('[a]\nissuer = "i"\njwks_url = "http://192.0.2.1/k"', insecure=True)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ClientsError, match=r"none\.toml: cannot be read"):
        read_clients(tmp_path / "none.toml", PUBLIC)


# --- the application ---


@pytest.fixture
def start(tmp_path):
    """The application with one client."""

    def started(more="", **settings):
        path = clients_file(tmp_path, RING, more)
        given = {"public_url": PUBLIC, "log_level": "warning", "data": tmp_path, **settings}
        return create_app(settings=Settings(clients=path, **given), today=lambda: TODAY).test_client()

    return started


@pytest.fixture
def token():
    """A fresh token of the client, right now."""
    made = iter(range(1_000_000))

    def mint(**more):
        return forger(RING, int(time())).good("ES384", **{"jti": f"call-{next(made)}", **more})

    return mint


def test_a_client_is_answered(start, token):
    answer = start().post(SERVICE, json=FAILED, headers=bearer(token()))
    assert answer.status_code == 200
    assert answer.get_json()["cards"]


def test_nobody_else_is_and_all_are_told_the_same(start, token):
    client = start()
    good = token()
    assert client.post(SERVICE, json=FAILED, headers=bearer(good)).status_code == 200
    tokens = [
        None,
        "x",
        good,
        token(aud="https://other.example.org"),
        token(tenant="south"),
        token(iss="x"),
        token(exp=1),
    ]
    answers = [client.post(SERVICE, json=FAILED, headers=bearer(one) if one else {}) for one in tokens]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.data for answer in answers}) == 1
    assert len({tuple(answer.headers.items()) for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"
    assert answers[0].get_json() == {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "login",
                "details": {"text": "This service answers its registered clients only."},
            }
        ],
    }


@pytest.mark.parametrize("path", [SERVICE, f"{SERVICE}/feedback"])
def test_a_client_is_held_to_its_own_limits(start, token, path):
    client = start("rate = 2", cors_origins=("https://ehr.example.org",))
    for _ in range(50):  # in one second or in several: at some point more than two are in one
        headers = {**bearer(token()), "Origin": "https://ehr.example.org"}
        refused = client.post(path, json={}, headers=headers)
        if refused.status_code != 400:
            break
    assert (refused.status_code, refused.get_json()["issue"][0]["code"]) == (429, "throttled")
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["Access-Control-Allow-Origin"] == "https://ehr.example.org"


def test_who_calls_is_asked_before_anything_is_read(start):
    class Unread(io.BytesIO):
        def read(self, *_):
            raise AssertionError("the body was read")

        readline = readinto = read

    client = start()
    environment = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = client.post(SERVICE, input_stream=Unread(), content_type="text/plain", environ_overrides=environment)
    assert answer.status_code == 401
    assert client.post("/cds-services/other", json={}).status_code == 401


def test_discovery_health_and_preflight_ask_for_no_token(start):
    client = start(cors_origins=("https://ehr.example.org",))
    assert client.get("/cds-services").status_code == 200
    assert client.get("/livez").status_code == 200
    asked = {"Origin": "https://ehr.example.org", "Access-Control-Request-Method": "POST"}
    assert client.options(SERVICE, headers=asked).headers["Access-Control-Allow-Origin"] == "https://ehr.example.org"


def test_errors_carry_cors_headers_for_listed_origins_alone(start):
    listed = start(cors_origins=("https://ehr.example.org",))
    answer = listed.post(SERVICE, headers={"Origin": "https://ehr.example.org"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, "https://ehr.example.org")
    for origin in ("https://ehr.example.org", "null", "https://evil.example.org"):
        assert "Access-Control-Allow-Origin" not in start().post(SERVICE, headers={"Origin": origin}).headers
        assert "Access-Control-Allow-Origin" not in start().options(SERVICE, headers={"Origin": origin}).headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.org"},
        {"Host": "cds.example.org", "X-Forwarded-Host": "evil.example.org"},
        {"Forwarded": "host=evil.example.org;proto=https", "X-Forwarded-Proto": "http"},
        {"Host": "other.example.org/cds-services/failed-esi?"},
    ],
)
def test_what_a_request_says_of_its_host_makes_no_difference(start, token, headers):
    client = start()
    assert client.post(SERVICE, json=FAILED, headers=bearer(token()) | headers).status_code == 200
    host = headers.get("Host", "evil.example.org")
    elsewhere = token(aud=f"https://{host.partition('/')[0]}{SERVICE}".replace("cds.example.org", "evil.example.org"))
    assert client.post(SERVICE, json=FAILED, headers=bearer(elsewhere) | headers).status_code == 401


def test_what_a_refused_token_says_reaches_no_log(start, token, capfd):
    client = start()
    canary = "canary-in-a-token"
    for text in (
        token(sub=canary, exp=1),
        token(iss=canary),
        token(tenant=canary),
        token(jti=canary, aud=canary),
        canary,
    ):
        assert client.post(SERVICE, json=FAILED, headers=bearer(text)).status_code == 401
        written = capfd.readouterr().err
        assert canary not in written
        assert text not in written
        line = orjson.loads(written.splitlines()[0])
        assert line["event"] == "token refused"
        assert line["reason"].upper() in Reason.__members__
        assert line.get("client") in {None, "north"}


def test_a_silent_client_is_decided_for_and_shown_nothing(start, token, capfd):
    answer = start("silent = true", log_level="info").post(SERVICE, json=FAILED, headers=bearer(token()))
    assert (answer.status_code, answer.get_json()) == (200, {"cards": []})
    line = next(line for line in map(orjson.loads, capfd.readouterr().err.splitlines()) if line["event"] == "answered")
    assert (line["cards"], line["client"], line["silent"]) == (["FAILED-ESI-NEXT-TIER"], "north", True)


def test_what_a_client_is_told_is_on_record_under_its_name_and_place(start, token, tmp_path):
    start('location = "North Hospital"\nsilent = true').post(SERVICE, json=FAILED, headers=bearer(token()))
    with open_ledger(Settings(data=tmp_path)).reading() as connection:
        record = orjson.loads(connection.execute(select(entries.c.record)).scalar())
    assert (record["client"], record["location"]) == ("north", "North Hospital")
    assert [card["isShown"] for card in record["cards"]] == [False]


def test_the_feedback_of_one_client_is_not_about_the_cards_of_another(start, token, tmp_path):
    south = '[south]\nissuer = "https://south.example.org"\njwks_file = "north.jwks.json"'
    client = start(south)
    card = client.post(SERVICE, json=FAILED, headers=bearer(token())).get_json()["cards"][0]["uuid"]
    sent = {"feedback": [{"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-06-01T00:00:00Z"}]}
    answers = [
        client.post(f"{SERVICE}/feedback", json=sent, headers=bearer(token(**who)))
        for who in ({"iss": "https://south.example.org"}, {})
    ]
    assert [(answer.status_code, answer.data) for answer in answers] == [(200, answers[0].data)] * 2
    with open_ledger(Settings(data=tmp_path)).reading() as connection:
        told = connection.execute(select(feedback.c.client, feedback.c.is_quarantined)).all()
    assert sorted(map(tuple, told)) == [("north", False), ("south", True)]


def test_a_client_is_answered_in_its_dialect_and_with_its_profile(start, token):
    mine = start('dialect = "v1"\nprofile = "six-a-year"', dialect="epic")
    card = mine.post(SERVICE, json=FAILED, headers=bearer(token())).get_json()["cards"][0]
    assert card["selectionBehavior"] == "at-most-one"
    assert "uuid" not in card
    of_the_settings = start(dialect="sandbox").post(SERVICE, json=FAILED, headers=bearer(token())).get_json()
    assert of_the_settings["cards"][0]["selectionBehavior"] == "at-most-one"


@pytest.mark.parametrize("silent", ["true", "false"])
def test_what_a_client_was_told_can_be_told_again(start, token, tmp_path, silent):
    mine = f'dialect = "epic"\nprofile = "six-a-year"\nsilent = {silent}\n[north.prefetch]\nprocedures = "px"'
    sent = {**FAILED, "prefetch": {**FAILED["prefetch"], "px": FAILED["prefetch"]["procedures"]}}
    del sent["prefetch"]["procedures"]
    answer = start(mine, ledger="capsule").post(SERVICE, json=sent, headers=bearer(token()))
    ledger = open_ledger(Settings(data=tmp_path))
    call = kept_call(ledger, "1")
    again = answer_again(call, services_of, ledger.software)
    assert (again.body, again.differences) == (answer.data, ())
    assert bool(answer.get_json()["cards"]) is (silent == "false")
    assert call.capsule.profile == "six-a-year"


def test_an_audit_names_the_token_by_its_id(start, token, tmp_path, monkeypatch):
    start('profile = "six-a-year"').post(SERVICE, json=FAILED, headers=bearer(token(jti="call-of-monday")))
    monkeypatch.setenv("CDS_DATA", str(tmp_path))
    monkeypatch.setenv("CDS_CLIENTS", str(tmp_path / "clients.toml"))
    monkeypatch.setenv("CDS_PUBLIC_URL", PUBLIC)
    shown = CliRunner().invoke(main, ["audit", "export"])
    assert shown.exit_code == 0, shown.output
    assert "urn:ietf:params:oauth:jti:call-of-monday" in shown.stdout


def test_a_client_sends_prefetch_under_its_own_keys(start, token):
    renamed = {**FAILED, "prefetch": {**FAILED["prefetch"], "px": FAILED["prefetch"]["procedures"]}}
    del renamed["prefetch"]["procedures"]
    assert start().post(SERVICE, json=renamed, headers=bearer(token())).status_code == 412
    named = start('[north.prefetch]\nprocedures = "px"').post(SERVICE, json=renamed, headers=bearer(token()))
    assert named.get_json()["cards"]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ('dialect = "latin"', DialectError, r"the clients file, \[north\]: not one of default"),
        ('profile = "none"', KnowledgeError, r"the clients file, \[north\] profile: "),
        (
            '[north.prefetch]\nprocedure = "px"',
            DialectError,
            r"\[north\]: \[prefetch\] procedure is not one of our keys",
        ),
        ("[north.codes]\nrepeat-imaging = 7", DialectError, r"\[north\]: \[codes\] repeat-imaging is not a code"),
    ],
)
def test_what_a_client_cannot_get_stops_the_start(start, more, error, message):
    with pytest.raises(error, match=message):
        start(more)


def test_only_the_servers_of_the_client_are_asked(start, token, httpserver):
    asked = {**FAILED, "fhirServer": httpserver.url_for("/fhir")}
    asked["prefetch"] = {key: value for key, value in FAILED["prefetch"].items() if key != "procedures"}
    assert start().post(SERVICE, json=asked, headers=bearer(token())).status_code == 412
    assert httpserver.log == []
    mine = start(f'fhir_servers = ["{httpserver.url_for("/fhir")}"]', insecure=True)
    assert mine.post(SERVICE, json=asked, headers=bearer(token())).status_code == 412
    assert httpserver.log != []


def test_without_a_clients_file_everybody_is_the_open_client(client, call):
    assert call(FAILED).status_code == 200
    assert call(FAILED, headers=bearer("whatever")).status_code == 200
    assert OPEN.id == "open"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CDS_CORS_ORIGINS": "*"}, "CDS_CORS_ORIGINS: .*name the origins"),
        ({"CDS_FHIR_SERVERS": "https://a.example.org"}, "CDS_FHIR_SERVERS: .*every client lists its own"),
    ],
)
def test_with_a_clients_file_nothing_is_open_to_all(monkeypatch, tmp_path, variables, message):
    monkeypatch.setenv("CDS_CLIENTS", str(clients_file(tmp_path, RING)))
    assert read_settings().cors_origins == ()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        read_settings()


def test_a_token_signed_for_discovery_does_not_open_the_service(start, token):
    assert start().post(SERVICE, json=FAILED, headers=bearer(token(aud=f"{PUBLIC}/cds-services"))).status_code == 401


def test_a_token_of_another_key_of_the_same_id_is_refused_over_http(start):
    forged = RING.sign(header(RING.other_rs, "RS384"), claims(int(time())), RING.other_rs, "RS384")
    assert start().post(SERVICE, json=FAILED, headers=bearer(forged)).status_code == 401
