"""Tokens: what is let in, what is not, and that nobody is told why."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import jwt as pyjwt
import pytest
from joserfc import jwt as jose
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

from bench.faults.tokens import ADDRESS, FORGERIES, ISSUER, JWKS_URL, b64, claims, forgeries, header, seal
from cds_service.trust.client_jwt import LONGEST_LIFE, Reason, Step, Token, is_signed
from cds_service.trust.key_sets import ALGORITHMS, read_key
from cds_service.trust.replay_store import MemoryReplayStore
from tests.registered import NORTH, NOW, RING, forger, reason, token_check

ES, RS = "ES384", "RS384"
MANY = 10_000


@pytest.fixture
def check():
    return token_check(RING)


@pytest.fixture
def tokens():
    return forger(RING)


# The key and the two tokens that the CDS Hooks specification prints; the header is the same in both.
PRINTED_KEY = {
    "kty": "EC",
    "use": "sig",
    "crv": "P-384",
    "kid": "example-kid",
    "x": "46SDH7Znh821wblCBglA61sNE9ZrHYKKt3qRtRTmSXyOI_FIGBLWrWa0GPUkDCEk",
    "y": "XMcRuuoGW7CXjQdy-F5i3FeBE0x9hPLdeFdSoDd3ELmx404tLX0VRRcqzAsPhXcI",
    "alg": "ES384",
}
_HEAD = (
    "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6ImV4YW1wbGUta2lkIiwiamt1IjoiaHR0cHM6Ly9maGlyLWVoci5leGFtcGxl"
    "LmNvbS9qd2tfdXJpIn0"
)
PRINTED = {
    "1.0": f"{_HEAD}.eyJpc3MiOiJodHRwczovL2ZoaXItZWhyLmV4YW1wbGUuY29tLyIsInN1YiI6ImNsaWVudF9pZCIsImF1ZCI6Imh0dHBzOi8"
    "vY2RzLmV4YW1wbGUub3JnL2Nkcy1zZXJ2aWNlcy9zb21lLXNlcnZpY2UiLCJleHAiOjE0MjI1Njg4NjAsImlhdCI6MTMxMTI4MDk3MCwianRpIj"
    "oiZWUyMmIwMjEtZTFiNy00NjExLWJhNWItOGVlYzZhMzNhYzFlIiwidGVuYW50IjoiMmRkZDZjM2EtOGU5YS00NGM2LWEzMDUtNTIxMTFhZDMwM"
    "mEyIn0.CUFPkplnWd6YGIvzoHolWCQBDsCL8QtTWKGg_QFpS169WrqDGzktRi-_we6-6rVzbjerU27ZKww_SW0-b9RTz-dPJNcqsueMio8r6EqX"
    "UXhbLm_ch3XFSbDlGHDl_tqo",
    "2.0.1": f"{_HEAD}.eyJpc3MiOiJodHRwczovL2ZoaXItZWhyLmV4YW1wbGUuY29tLyIsImF1ZCI6Imh0dHBzOi8vY2RzLmV4YW1wbGUub3JnL"
    "2Nkcy1zZXJ2aWNlcy9zb21lLXNlcnZpY2UiLCJleHAiOjE0MjI1Njg4NjAsImlhdCI6MTMxMTI4MDk3MCwianRpIjoiZWUyMmIwMjEtZTFiNy00"
    "NjExLWJhNWItOGVlYzZhMzNhYzFlIiwidGVuYW50IjoiMmRkZDZjM2EtOGU5YS00NGM2LWEzMDUtNTIxMTFhZDMwMmEyIn0.d1WfLjGRKlcWB94"
    "l9do4cM8REXeYJLL6SGUBO8VHZhfM8mwKYP70EMxJ67War4TQblEpaQrp11wx5p7oPFm2ETYgCicS84vXWEIYTdjooZdooCSDf2L8-i4awdoUwi"
    "Eb",
}
PRINTED_CLIENT = replace(
    NORTH,
    id="printed",
    issuer="https://fhir-ehr.example.com/",
    tenants=("2ddd6c3a-8e9a-44c6-a305-52111ad302a2",),
    jwks_url="https://fhir-ehr.example.com/jwk_uri",
)


@pytest.mark.parametrize("version", PRINTED)
def test_the_tokens_printed_in_the_specification_verify(version):
    key = read_key(PRINTED_KEY, published=True)
    token = Token.parse(f"Bearer {PRINTED[version]}")
    assert (token.claims["iss"], token.claims["exp"]) == ("https://fhir-ehr.example.com/", 1422568860)
    assert ("sub" in token.claims) is (version == "1.0")
    assert is_signed(token.text, key, ES)
    other = next(text for name, text in PRINTED.items() if name != version)
    assert not is_signed(".".join([*token.text.split(".")[:2], other.split(".")[2]]), key, ES)


@pytest.mark.parametrize("version", PRINTED)
def test_the_printed_tokens_live_for_years_and_are_refused_for_that_alone(version, monkeypatch):
    key_set = type("Printed", (), {"public": lambda _: [PRINTED_KEY]})()
    check = token_check(key_set, PRINTED_CLIENT, clock=lambda: 1_400_000_000)
    address = "https://cds.example.org/cds-services/some-service"
    assert reason(check, PRINTED[version], address) is Reason.LIFETIME
    monkeypatch.setattr("cds_service.trust.client_jwt.LONGEST_LIFE", 4 * 366 * 86_400.0)
    assert reason(check, PRINTED[version], address) is Reason.NO_KEY  # its private half is printed beside it
    published = replace(check, key_sets=replace(check.key_sets, published=True, clock=lambda: time.monotonic() + 100))
    assert reason(published, PRINTED[version], address) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_asymmetric_algorithm_can_be_agreed(algorithm):
    curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}.get(algorithm)
    parameters = {"kid": "k", "alg": algorithm}
    key = ECKey.generate_key(curve, parameters) if curve else RSAKey.generate_key(2048, parameters)
    ring = replace(RING)
    client = replace(NORTH, algorithms=(algorithm,))
    check = token_check(type("One", (), {"public": lambda _: [key.as_dict(private=False)]})(), client)
    assert reason(check, ring.sign(header(key, algorithm), claims(NOW), key, algorithm)) is None


GOOD = {
    "as Epic writes it": {"nbf": NOW - 300, "exp": NOW + 900, "sub": "client-id"},
    "with a list of one audience": {"aud": [ADDRESS]},
    "with a list that names us twice": {"aud": [ADDRESS, f"{ADDRESS}/"]},
    "with a slash at the end": {"aud": f"{ADDRESS}/"},
    "with claims nobody asked for": {"fhirContext": [{"a": 1}], "x": {"y": None}},
    "with times in fractions": {"iat": NOW - 0.5, "exp": NOW + 300.5},
    "with the longest life": {"exp": NOW + int(LONGEST_LIFE)},
    "just about to begin": {"iat": NOW + 60, "nbf": NOW + 60, "exp": NOW + 120},
    "just about to end": {"iat": NOW - 300, "exp": NOW - 59},
}


@pytest.mark.parametrize("more", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("algorithm", [ES, RS])
def test_a_good_token_is_let_in(check, tokens, algorithm, more):
    assert reason(check, tokens.good(algorithm, **more)) is None


TOLERATED = {
    "no jku": {"jku": ...},
    "members nobody knows": {"x-vendor": "1", "cty": "JWT"},
    "a typ in small letters": {"typ": "jwt"},
    "a key of its own, which is not looked at": {"jwk": RING.other_es.as_dict(private=False)},
    "an address of certificates, which is not asked": {"x5u": "https://evil.example.org/chain.pem", "x5c": ["MIIB"]},
}


@pytest.mark.parametrize("head", TOLERATED.values(), ids=TOLERATED)
def test_a_header_may_hold_more_than_is_needed(check, tokens, head):
    assert reason(check, tokens.signed(ES, head=head)) is None


def test_a_scheme_is_read_in_any_case(check, tokens):
    assert check.client_of(f"bearer {tokens.good(ES)}", [ADDRESS]) is NORTH


def _hmac(secret, name="HS256"):
    return seal(header(RING.rs, name), claims(NOW), lambda text: hmac.digest(secret, text, f"sha{name[2:]}"))


def _swapped(algorithm, name):
    head, payload, signature = forger(RING).good(algorithm).split(".")
    named = json.loads(base64.urlsafe_b64decode(f"{head}==")) | {"alg": name}
    return f"{b64(json.dumps(named).encode())}.{payload}.{signature}"


def _pem():
    return RING.rs.as_pem(private=False)


_F = forger(RING)
BAD = {
    "nothing": ("", Reason.NO_TOKEN),
    "a word": ("token", Reason.NO_JWT),
    "two parts": (_F.good(ES).rpartition(".")[0], Reason.NO_JWT),
    "five parts, as encrypted tokens have": (_F.good(ES) + ".e30.e30", Reason.NO_JWT),
    "the JSON form of a signature": (json.dumps({"payload": "e30", "signatures": []}), Reason.NO_JWT),
    "padding": (_F.good(ES).replace(".", "=."), Reason.NO_JWT),
    "the other base64": (b64(b'{"alg":"ES384","kid":"???>>>","typ":"JWT"}').replace("_", "/") + ".e30.e30", Reason.NO_JWT),
    "a line break inside": (_F.good(ES)[:20] + "\n" + _F.good(ES)[20:], Reason.NO_JWT),
    "alg none without signature": (_swapped(ES, "none").rpartition(".")[0] + ".", Reason.ALGORITHM),
    "alg NONE with signature": (_swapped(ES, "NONE"), Reason.ALGORITHM),
    "HMAC with the public key": (_hmac(_pem()), Reason.ALGORITHM),
    "HMAC with nothing": (_hmac(b""), Reason.ALGORITHM),
    "alg that nobody has": (_swapped(RS, "RS1"), Reason.ALGORITHM),
    "alg of the wrong kind": (_F.signed(ES, head={"alg": ["ES384"]}), Reason.ALGORITHM),
    "RS256 with the key of RS384": (_F.ring.sign(header(RING.rs, "RS256"), claims(NOW), RING.unpinned_rs, "RS256"),
                                     Reason.NOT_AGREED),
    "ES384 said of an RS384 signature": (_swapped(RS, ES), Reason.NO_KEY),
    "crit": (_F.signed(ES, head={"crit": ["x"], "x": 1}), Reason.CRITICAL),
    "an unencoded payload (b64)": (_F.signed(ES, head={"b64": False, "crit": ["b64"]}), Reason.CRITICAL),
    "no kid": (_F.signed(ES, head={"kid": ...}), Reason.KID),
    "a kid that is a path": (_F.signed(ES, head={"kid": "../../dev/null"}), Reason.NO_KEY),
    "a kid without end": (_F.signed(ES, head={"kid": "k" * 256}), Reason.KID),
    "jku elsewhere": (_F.signed(ES, head={"jku": "https://evil.example.org/keys"}), Reason.JKU),
    "jku that begins like ours": (_F.signed(ES, head={"jku": f"{JWKS_URL}.evil.example.org"}), Reason.JKU),
    "a key in its header": (_F.ring.sign(header(RING.other_es, ES, jwk=dict(RING.other_es.as_dict(private=False))),
                                          claims(NOW), RING.other_es, ES), Reason.SIGNATURE),
    "signed by somebody else": (_F.ring.sign(header(RING.other_rs, RS), claims(NOW), RING.other_rs, RS), Reason.SIGNATURE),
    "no signature": (_F.good(RS).rpartition(".")[0] + ".", Reason.SIGNATURE),
    "a signature in DER": (seal(header(RING.es, ES), claims(NOW), lambda _: b"0\x06\x02\x01\x01\x02\x01\x01"),
                           Reason.SIGNATURE),
    "a signature of zeros": (seal(header(RING.es, ES), claims(NOW), lambda _: bytes(96)), Reason.SIGNATURE),
    "expired": (_F.signed(ES, iat=NOW - 400, exp=NOW - 61), Reason.EXPIRED),
    "exp in the year 5138": (_F.signed(ES, exp=99_999_999_999), Reason.LIFETIME),
    "exp not a number (NaN)": (_F.raw(ES, json.dumps(claims(NOW, exp=float("nan"))).encode()), Reason.NO_JWT),
    "exp of 1e999": (_F.raw(ES, json.dumps(claims(NOW)).replace(str(NOW + 300), "1e999").encode()), Reason.NO_JWT),
    "exp of 400 digits": (_F.signed(ES, exp=10**400), Reason.NO_JWT),
    "exp of 19 digits": (_F.signed(ES, exp=10**18), Reason.NO_TIME),
    "exp as text": (_F.signed(ES, exp=str(NOW + 300)), Reason.NO_TIME),
    "exp true": (_F.signed(ES, exp=True, iat=0), Reason.NO_TIME),
    "exp twice": (_F.raw(ES, b'{"exp": 1, ' + json.dumps(claims(NOW)).encode()[1:]), Reason.NO_JWT),
    "not yet": (_F.signed(ES, nbf=NOW + 61), Reason.NOT_YET),
    "issued tomorrow": (_F.signed(ES, iat=NOW + 86_400, exp=NOW + 86_700), Reason.ISSUED_LATER),
    "another audience too": (_F.signed(ES, aud=[ADDRESS, "https://other.example.org"]), Reason.AUDIENCE),
    "the sibling service": (_F.signed(ES, aud=f"{ADDRESS}-other"), Reason.AUDIENCE),
    "no audience in a list": (_F.signed(ES, aud=[]), Reason.AUDIENCE),
    "another issuer": (_F.signed(ES, iss="https://evil.example.org"), Reason.ISSUER),
    "the issuer with a slash": (_F.signed(ES, iss=f"{ISSUER}/"), Reason.ISSUER),
    "another tenant": (_F.signed(ES, tenant="south"), Reason.TENANT),
    "jti empty": (_F.signed(ES, jti=""), Reason.JTI),
    "jti a number": (_F.signed(ES, jti=7), Reason.JTI),
    "jti of a million characters": (_F.signed(ES, jti="x" * 1_000_000), Reason.TOO_LONG),
    "deep": (_F.raw(ES, b'{"x": ' + b"[" * 2900 + b"]" * 2900 + b"}"), Reason.NO_JWT),
    "a list of claims": (_F.raw(ES, json.dumps([claims(NOW)]).encode()), Reason.NO_JWT),
    "not UTF-8": (_F.raw(ES, json.dumps(claims(NOW)).encode("utf-16")), Reason.NO_JWT),
}  # fmt: skip


@pytest.mark.parametrize(("token", "why"), BAD.values(), ids=BAD)
def test_a_bad_token_is_refused_for_what_is_bad(check, token, why):
    assert reason(check, token) is why


def test_the_table_of_bad_tokens_is_as_long_as_it_should_be_and_reaches_every_step():
    assert len(BAD) >= 38
    assert {why.step for _, why in BAD.values()} == set(Step)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic eDp5", "Token abc", "Bearerabc"])
def test_without_a_token_nobody_is_let_in(check, authorization):
    with pytest.raises(Exception, match="no header") as refused:
        check.client_of(authorization, [ADDRESS])
    assert refused.value.reason is Reason.NO_TOKEN


@pytest.fixture(scope="module")
def many():
    return list(forgeries(RING, NOW, MANY))


def test_of_ten_thousand_forged_tokens_none_is_let_in(check, many):
    let_in = [forged for forged in many if reason(check, forged.token) is None]
    assert let_in == []
    assert Counter(forged.kind for forged in many).keys() == FORGERIES.keys()
    assert len(many) == MANY
    assert reason(check, forger(RING).good(ES)) is None


# What the libraries let in that we refuse. They check signature and dates; the rest is for each installation to say.
LEFT_TO_US = {
    "jku elsewhere": "they ignore jku, as they should: it must not steer anything",
    "typ wrong": "they do not look at typ",
    "typ missing": "they do not look at typ",
    "b64": "true is the usual form, which nobody needs to ask for",
    "member twice in the header": "the last one counts for json.loads",
    "member twice": "the last one counts for json.loads",
    "audience with another": "one of several is enough for them",
    "ends before it begins": "they hold each time against the clock, not one against the other",
    "lives too long": "they know no longest life",
    "lives for ever": "they know no longest life",
    "jti too long": "they know no length",
    "jti huge": "joserfc stops at 128 kB, PyJWT nowhere",
    "tenant": "a claim of CDS Hooks alone",
    "not UTF-8": "json.loads guesses among encodings, and passes over a byte order mark",
    "numbers nobody has": "json.loads takes NaN and Infinity",
}
# Where the two differ: PyJWT lets these in, joserfc does not.
PYJWT_ALONE = {
    "exp as text": "int() is applied to what should be a number",
    "iat as text": "int() is applied to what should be a number",
    "nbf as text": "int() is applied to what should be a number",
    "jti empty": "a required claim may be empty",
}


@pytest.fixture
def pyjwt_lets_in(monkeypatch):
    """The same question to PyJWT, as its documentation shows it, at the same moment."""
    moment = datetime.fromtimestamp(NOW, UTC)
    monkeypatch.setattr("jwt.api_jwt.datetime", type("Still", (datetime,), {"now": staticmethod(lambda tz: moment)}))
    keys = {key["kid"]: pyjwt.PyJWK(key, ES if key["kty"] == "EC" else RS) for key in RING.public()}
    required = {"require": ["iss", "aud", "exp", "iat", "jti"]}

    def asked(token):
        try:
            key = keys[pyjwt.get_unverified_header(token)["kid"]]
            pyjwt.decode(token, key, [ES, RS], required, audience=ADDRESS, issuer=ISSUER, leeway=60)
        except (pyjwt.PyJWTError, KeyError):
            return False
        return True

    return asked


@pytest.fixture
def joserfc_lets_in():
    """The same question to joserfc alone, as its documentation shows it."""
    keys = KeySet([read_key(key) for key in RING.public()])
    wanted = {"iss": ISSUER, "aud": ADDRESS}
    options = {name: {"essential": True} | ({"value": wanted[name]} if name in wanted else {})
               for name in ("iss", "aud", "exp", "iat", "jti")}  # fmt: skip
    registry = jose.JWTClaimsRegistry(now=NOW, leeway=60, **options)

    def asked(token):
        try:
            registry.validate(jose.decode(token, keys, [ES, RS]).claims)
        except (JoseError, RecursionError):  # the latter for `deep`, which we refuse before joserfc sees it
            return False
        return True

    return asked


def test_two_libraries_agree_or_the_difference_is_explained(many, pyjwt_lets_in, joserfc_lets_in):
    seen = [(forged.kind, pyjwt_lets_in(forged.token), joserfc_lets_in(forged.token)) for forged in many]
    assert {kind for kind, one, other in seen if one and other} == LEFT_TO_US.keys()
    assert {kind for kind, one, other in seen if one is not other} == PYJWT_ALONE.keys()
    assert not [kind for kind, one, other in seen if other and not one]
    assert pyjwt_lets_in(forger(RING).good(RS))
    assert joserfc_lets_in(forger(RING).good(RS))


def test_a_token_counts_once_and_only_its_owner_can_use_it_up(check, tokens):
    for algorithm in (ES, RS):
        text = tokens.good(algorithm, jti=algorithm)
        forged = tokens.ring.sign(header(RING.of(algorithm), algorithm), claims(NOW, jti=algorithm),
                                  RING.other(algorithm), algorithm)  # fmt: skip
        assert reason(check, forged) is Reason.SIGNATURE
        assert reason(check, text) is None
        assert reason(check, text) is Reason.USED
        assert reason(check, tokens.good(algorithm, jti=algorithm, exp=NOW + 60)) is Reason.USED
        assert reason(check, tokens.good(algorithm, jti=f"{algorithm}-other")) is None


def test_the_twin_of_an_elliptic_signature_is_the_same_token(check, tokens):
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    text, _, signature = tokens.good(ES).rpartition(".")
    plain = base64.urlsafe_b64decode(signature)
    twin = plain[:48] + (order - int.from_bytes(plain[48:])).to_bytes(48)
    assert reason(check, f"{text}.{b64(twin)}") is None
    assert reason(check, f"{text}.{signature}") is Reason.USED


def test_the_clock_may_be_anywhere_within_a_day_and_only_the_life_of_the_token_lets_it_in():
    text, moment = forger(RING).good(ES), [0]
    check = token_check(RING, clock=lambda: moment[0])
    for away in range(-86_400, 86_401, 15):
        moment[0] = NOW + away
        check = replace(check, replays=MemoryReplayStore(check.clock))
        assert (reason(check, text) is None) is (-60 <= away < 360), away


def test_two_clients_of_one_issuer_are_told_apart_by_their_tenants(tokens):
    south = replace(NORTH, id="south", tenants=("south", "east"))
    check = token_check(RING, NORTH, south)
    assert check.client_of(f"Bearer {tokens.good(ES, jti='1')}", [ADDRESS]) is NORTH
    assert check.client_of(f"Bearer {tokens.good(ES, jti='2', tenant='east')}", [ADDRESS]) is south
    assert reason(check, tokens.good(ES, jti="3", tenant="west")) is Reason.TENANT


def test_an_audience_that_was_agreed_takes_the_place_of_the_address(tokens):
    check = token_check(RING, replace(NORTH, audience=("sand_man",)))
    assert reason(check, tokens.good(ES, aud="sand_man")) is None
    assert reason(check, tokens.good(ES, jti="2")) is Reason.AUDIENCE


def test_without_tenants_any_is_taken(tokens):
    check = token_check(RING, replace(NORTH, tenants=()))
    assert reason(check, tokens.good(ES, tenant="wherever")) is None
    assert reason(check, tokens.signed(ES, tenant=..., jti="2")) is None


def test_keys_at_hand_have_no_address_that_jku_could_differ_from(tokens):
    client = replace(NORTH, jwks_url=None, keys=tuple(RING.public()))
    assert reason(token_check(RING, client), tokens.signed(ES, head={"jku": "https://ehr.example.org/other"})) is None
