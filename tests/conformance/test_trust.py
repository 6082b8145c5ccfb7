"""Items about who may call: tokens of clients, their keys, and what a stranger is told."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from bench.faults.proxy import CONFIGURATION
from bench.faults.tokens import ADDRESS, ISSUER, JWKS_URL
from cds_service.app import create_app
from cds_service.settings import Settings
from cds_service.trust.admission import client_key_sets
from cds_service.trust.client_jwt import Reason, Token, is_signed
from cds_service.trust.clients import ClientsError, read_clients
from cds_service.trust.key_sets import read_key
from cds_service.trust.replay_store import open_replay_store
from tests.cds_service.test_client_jwt import PRINTED, PRINTED_KEY
from tests.chart import hook_request
from tests.conftest import TODAY
from tests.registered import NORTH, NOW, RING, bearer, clients_file, forger, reason, token_check

SERVICE = "/cds-services/failed-esi"
ES, RS = "ES384", "RS384"
EHR = "https://ehr.example.org"


@pytest.fixture
def check():
    return token_check(RING)


@pytest.fixture
def tokens():
    return forger(RING)


@pytest.fixture
def settings(tmp_path):
    public = ADDRESS.removesuffix(SERVICE)
    return Settings(clients=clients_file(tmp_path, RING), public_url=public, data=tmp_path, log_level="warning")


@pytest.fixture
def post(settings):
    client = create_app(settings=settings, today=lambda: TODAY).test_client()
    return lambda headers: client.post(SERVICE, json=hook_request(), headers=headers)


def test_item_57_who_is_not_known_gets_401_with_cors_headers(settings):
    client = create_app(settings=settings.model_copy(update={"cors_origins": (EHR,)})).test_client()
    answer = client.post(SERVICE, json=hook_request(), headers={"Origin": EHR})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, EHR)


def test_item_57_who_asks_too_often_gets_429_with_cors_headers(tmp_path):
    public, tokens = ADDRESS.removesuffix(SERVICE), forger(RING, int(time.time()))
    file = clients_file(tmp_path, RING, "rate = 1")
    asked = Settings(clients=file, public_url=public, data=tmp_path, log_level="error", cors_origins=(EHR,))
    client = create_app(settings=asked, today=lambda: TODAY).test_client()
    for number in range(50):
        headers = {"Origin": EHR, **bearer(tokens.good(ES, jti=f"often-{number}"))}
        answer = client.post(SERVICE, json=hook_request(), headers=headers)
        if answer.status_code != 200:
            break
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (429, EHR)


def test_item_64_feedback_needs_a_token_for_its_own_address_or_the_service(settings):
    client = create_app(settings=settings, today=lambda: TODAY).test_client()
    tokens = forger(RING, int(time.time()))
    sent = {"json": {"feedback": []}}
    assert client.post(f"{SERVICE}/feedback", **sent).status_code == 401
    for number, address in enumerate((f"{ADDRESS}/feedback", ADDRESS)):
        good = bearer(tokens.good(ES, aud=address, jti=f"feedback-{number}"))
        assert client.post(f"{SERVICE}/feedback", **sent, headers=good).status_code == 200
        assert client.post(f"{SERVICE}/feedback", **sent, headers=good).status_code == 401
    of_feedback = bearer(tokens.good(ES, aud=f"{ADDRESS}/feedback", jti="call"))
    assert client.post(SERVICE, json=hook_request(), headers=of_feedback).status_code == 401


def test_item_66_the_proxy_speaks_tls_1_2_and_newer_on_every_route():
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert re.findall(r"listen ([^;]+);", text) == ["443 ssl"]
    assert re.findall(r"ssl_protocols ([^;]+);", text) == ["TLSv1.2 TLSv1.3"]
    assert re.findall(r"location (/[^{]*) {\s+proxy_pass http://cds_service;", text) == ["/"]


def test_item_67_a_call_without_a_token_is_not_answered(post):
    assert post({}).status_code == 401
    assert post(bearer(forger(RING, int(time.time())).good(ES))).status_code == 200


def test_item_68_what_is_required_is_there_and_more_does_not_disturb(check, tokens):
    for name in ("iss", "aud", "exp", "iat", "jti"):
        assert reason(check, tokens.signed(ES, **{name: ...}))
    for name in ("alg", "kid", "typ"):
        assert reason(check, tokens.signed(ES, head={name: ...}))
    assert (
        reason(check, tokens.signed(ES, head={"jku": ..., "x": 1}, sub="client", nbf=NOW - 300, aud=[ADDRESS])) is None
    )


def test_item_69_the_audience_is_our_configured_address(check, tokens):
    assert reason(check, tokens.good(ES, aud=f"{ADDRESS}/", jti="slash")) is None
    assert reason(check, tokens.good(ES, aud="https://evil.example.org/cds-services/failed-esi")) is Reason.AUDIENCE
    typed_in = token_check(RING, replace(NORTH, audience=("sand_man",)))
    assert reason(typed_in, tokens.good(ES, aud="sand_man")) is None


def test_item_69_the_host_of_a_request_is_no_address_of_ours(post):
    host = {"Host": "evil.example.org"}
    tokens = forger(RING, int(time.time()))
    assert post(bearer(tokens.good(ES)) | host).status_code == 200
    there = tokens.good(ES, aud="https://evil.example.org/cds-services/failed-esi", jti="2")
    assert post(bearer(there) | host).status_code == 401


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS384", "HS512", "dir", "A256KW"])
def test_item_70_neither_none_nor_a_shared_secret_is_accepted(check, tokens, algorithm):
    assert reason(check, tokens.signed(ES, head={"alg": algorithm})) is Reason.ALGORITHM
    assert reason(check, tokens.good(ES)) is None
    assert reason(check, tokens.good(RS, jti="2")) is None


def test_item_71_issuers_and_key_addresses_are_listed_before_any_is_asked(tokens):
    asked = []
    sets = client_key_sets([NORTH], lambda url: asked.append(url) or RING.public())
    check = replace(token_check(RING), key_sets=sets)
    assert reason(check, tokens.good(ES, iss="https://evil.example.org")) is Reason.ISSUER
    assert reason(check, tokens.signed(ES, head={"jku": "https://evil.example.org/keys"})) is Reason.JKU
    assert asked == []
    assert reason(check, tokens.signed(ES, head={"jku": ...})) is None
    assert asked == [JWKS_URL]


def test_item_72_keys_are_found_by_an_opaque_kid_and_fetched_within_limits(tokens):
    asked = []
    check = replace(
        token_check(RING), key_sets=client_key_sets([NORTH], lambda url: asked.append(url) or RING.public())
    )
    assert any(sign in RING.es.kid for sign in "+/=")
    assert reason(check, tokens.good(ES)) is None
    for number in range(1000):
        assert reason(check, tokens.signed(ES, head={"kid": f"unknown-{number}"})) is Reason.NO_KEY
    assert len(asked) == 1
    for_encryption = client_key_sets([NORTH], lambda _: [{**key, "use": "enc"} for key in RING.public()])
    assert reason(replace(check, key_sets=for_encryption), tokens.good(ES, jti="2")) is Reason.NO_KEY


def test_item_73_the_order_of_the_checks(check, tokens):
    wrong = {
        "iss": ("x", Reason.ISSUER),
        "aud": ("x", Reason.AUDIENCE),
        "exp": (NOW - 100, Reason.EXPIRED),
        "tenant": ("x", Reason.TENANT),
    }
    names = list(wrong)
    for at, name in enumerate(names):
        body = {later: wrong[later][0] for later in names[at:]}
        assert reason(check, tokens.altered(ES, {}, body)) is wrong[name][1]
    used = tokens.good(ES)
    assert reason(check, used) is None
    assert reason(check, used[:-4] + "AAAA") is Reason.SIGNATURE
    assert reason(check, used) is Reason.USED


def test_item_73_a_jti_counts_once_in_all_workers(settings):
    one, other = open_replay_store(settings), open_replay_store(settings)
    assert one.claim(ISSUER, "1", time.time() + 900)
    assert not other.claim(ISSUER, "1", time.time() + 900)


def test_item_73_a_life_of_a_quarter_of_an_hour_is_not_too_long(check, tokens):
    assert reason(check, tokens.good(RS, nbf=NOW - 300, exp=NOW + 900)) is None


def test_item_74_a_stranger_is_told_no_reason_and_no_log_holds_the_token(post, capfd):
    tokens = forger(RING, int(time.time()))
    sent = [tokens.good(ES, aud="x"), tokens.good(ES, tenant="x"), tokens.good(ES)[:-4] + "AAAA", "nonsense"]
    answers = [post(bearer(token)) for token in sent] + [post({})]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.data for answer in answers}) == 1
    written = capfd.readouterr().err
    assert not [token for token in sent if token in written]
    assert written.count("token refused") == len(answers)


def test_item_75_a_published_key_is_refused_outside_development(tmp_path):
    members = "\n".join(f'{name} = "{value}"' for name, value in PRINTED_KEY.items())
    path = tmp_path / "clients.toml"
    path.write_text(f'[sandbox]\nissuer = "https://sandbox.cds-hooks.org"\n[[sandbox.keys]]\n{members}\n')
    with pytest.raises(ClientsError, match="its private half is published"):
        read_clients(path, "https://cds.example.org")
    assert read_clients(path, "https://cds.example.org", insecure=True)


@pytest.mark.parametrize("version", PRINTED)
def test_item_77_the_tokens_of_the_specification_verify(version):
    token = Token.parse(f"Bearer {PRINTED[version]}")
    assert is_signed(token.text, read_key(PRINTED_KEY, published=True), token.header["alg"])
    assert not is_signed(token.text[:-4] + "AAAA", read_key(PRINTED_KEY, published=True), token.header["alg"])
