"""Key sets: which keys count, when they are read again, and what a key server can do to us."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import orjson
import pytest
from joserfc.jwk import ECKey
from pytest_httpserver import HTTPServer
from werkzeug import Response

from bench.faults.tokens import JWKS_URL, b64, claims, header
from cds_service.trust import key_sets
from cds_service.trust.admission import client_key_sets
from cds_service.trust.client_jwt import Reason
from cds_service.trust.key_sets import KeySetUnavailable, UnusableKey, find_key, key_set_reader, read_key, usable_keys
from tests.registered import NORTH, NOW, RING, forger, reason, token_check

ES = RING.es.as_dict(private=False)
RS = RING.rs.as_dict(private=False)


def rsa(bits):
    """A key of that length, as far as its members tell."""
    return {"kty": "RSA", "kid": "k", "e": "AQAB", "n": b64((2**bits - 1).to_bytes(bits // 8))}


UNUSABLE = {
    "no object": ("key", "not a JSON Web Key"),
    "symmetric": ({"kty": "oct", "k": "c2VjcmV0", "kid": "k"}, "kinds EC and RSA"),
    "Edwards": ({"kty": "OKP", "crv": "Ed25519", "x": "c2VjcmV0", "kid": "k"}, "kinds EC and RSA"),
    "private EC": (RING.es.as_dict(private=True), "a private key"),
    "private RSA": (RING.rs.as_dict(private=True), "a private key"),
    "no kid": ({**ES, "kid": ""}, "no kid"),
    "for encryption": ({**ES, "use": "enc"}, "not for signatures"),
    "no point of the curve": ({**ES, "x": ES["y"]}, "members are no key"),
    "half a key": ({name: ES[name] for name in ("kty", "crv", "kid", "x")}, "members are no key"),
    "numbers for texts": ({**ES, "x": 7}, "members are no key"),
    "bitcoin's curve": (ECKey.generate_key("secp256k1", {"kid": "k"}).as_dict(private=False), "curve"),
    "1024 bits": (rsa(1024), "2048 to 8192"),
    "16384 bits": (rsa(16_384), "2048 to 8192"),
}


@pytest.mark.parametrize(("jwk", "why"), UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_key_that_proves_nothing_is_as_good_as_not_there(jwk, why):
    with pytest.raises(UnusableKey, match=why):
        read_key(jwk)
    assert [key.kid for key in usable_keys([jwk, RS])] == ["rs"]


def test_a_key_is_for_its_own_algorithms_alone():
    keys = usable_keys([ES, RS])
    assert find_key(keys, ES["kid"], "ES384").kid == ES["kid"]
    assert find_key(keys, ES["kid"], "ES256") is None  # another curve
    assert find_key(keys, ES["kid"], "RS384") is None  # another kind
    assert find_key(keys, "rs", "RS256") is None  # the key says RS384
    assert find_key(keys, "RS", "RS384") is None  # ids are compared to the letter


class KeyServer:
    """Answers with a key set, and counts."""

    def __init__(self, *keys):
        self.keys = list(keys)
        self.asked = []
        self.is_down = False

    def __call__(self, url):
        self.asked.append(url)
        if self.is_down:
            raise KeySetUnavailable("down")
        return self.keys


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def server():
    return KeyServer(ES, RS)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def known(server, clock):
    return replace(client_key_sets([NORTH], server), clock=clock)


def test_a_set_is_read_once_and_kept(known, server, clock):
    for _ in range(100):
        assert known.find("north", "rs", "RS384")
    assert server.asked == [JWKS_URL]
    clock.now += 601
    assert known.find("north", "rs", "RS384")
    assert len(server.asked) == 2


def test_ten_thousand_unknown_ids_ask_once(known, server):
    assert known.find("north", "rs", "RS384")
    assert len(server.asked) == 1
    for number in range(10_000):
        assert known.find("north", f"unknown-{number}", "RS384") is None
    assert len(server.asked) == 1


def test_an_unknown_id_asks_again_after_a_minute(known, server, clock):
    assert known.find("north", "rs", "RS384")
    clock.now += 61
    for number in range(10_000):
        assert known.find("north", f"unknown-{number}", "RS384") is None
    assert len(server.asked) == 2


def test_a_new_key_is_found_and_an_old_one_is_gone(known, server, clock):
    fresh = ECKey.generate_key("P-384", {"kid": "fresh"}).as_dict(private=False)
    assert known.find("north", "rs", "RS384")
    server.keys = [ES, fresh]
    assert known.find("north", "fresh", "ES384") is None
    clock.now += 60
    assert known.find("north", "fresh", "ES384")
    assert known.find("north", "rs", "RS384") is None


def test_the_last_good_set_serves_while_none_can_be_read_but_not_for_ever(known, server, clock):
    assert known.find("north", "rs", "RS384")
    server.is_down = True
    for _ in range(23):
        clock.now += 3600
        assert known.find("north", "rs", "RS384")
    assert len(server.asked) == 24
    clock.now += 3601
    assert known.find("north", "rs", "RS384") is None
    server.is_down = False
    clock.now += 60
    assert known.find("north", "rs", "RS384")


def test_the_first_set_is_tried_again_sooner(known, server, clock):
    server.is_down = True
    for _ in range(100):
        assert known.find("north", "rs", "RS384") is None
    assert len(server.asked) == 1
    clock.now += 5
    server.is_down = False
    assert known.find("north", "rs", "RS384")


def test_keys_at_hand_are_never_asked_for(server, clock):
    given = client_key_sets([replace(NORTH, jwks_url=None, keys=(RS,))], server)
    clock.now += 1e9
    assert given.find("north", "rs", "RS384")
    assert given.find("north", "unknown", "RS384") is None
    assert server.asked == []


def test_many_threads_ask_once(known, server):
    reached, found = threading.Barrier(8), []

    def slow(url):
        time.sleep(0.05)
        return server(url)

    slowly = replace(known, fetch=slow)

    def find():
        reached.wait()
        found.append(slowly.find("north", "rs", "RS384"))

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1
    assert len(found) == 8
    assert all(found)


def test_who_has_a_key_does_not_wait_for_another_to_be_read(known, clock):
    assert known.find("north", "rs", "RS384")
    clock.now += 601
    with known.sets["north"].lock:  # somebody else is reading
        assert known.find("north", "rs", "RS384")


# --- over HTTP ---


@pytest.fixture
def served(httpserver):
    httpserver.expect_request("/keys").respond_with_json({"keys": [ES, RS]})
    return httpserver


def test_a_set_is_fetched_without_anything_of_the_environment(served, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine localhost login eve password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert key_set_reader()(served.url_for("/keys")) == [ES, RS]
    (request, _) = served.log[0]
    assert "Authorization" not in request.headers
    assert request.headers["Accept-Encoding"] == "identity"


FAULTS = {
    "404": lambda _: Response(status=404),
    "500": lambda _: Response(orjson.dumps({"keys": [ES]}), status=500),
    "a redirect": lambda _: Response(status=302, headers={"Location": "/keys"}),
    "a page": lambda _: Response("<html>"),
    "a list": lambda _: Response("[]"),
    "no keys": lambda _: Response("{}"),
    "keys of the wrong kind": lambda _: Response('{"keys": {}}'),
    "too much": lambda _: Response(b" " * 300_000 + orjson.dumps({"keys": [ES]})),
    "a compressed answer": lambda _: Response(b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", FAULTS.values(), ids=FAULTS)
def test_an_answer_that_is_no_key_set_is_none(served, answer):
    served.expect_request("/fault").respond_with_handler(answer)
    with pytest.raises(KeySetUnavailable):
        key_set_reader()(served.url_for("/fault"))
    assert [request.path for request, _ in served.log] == ["/fault"]


def test_an_answer_that_never_ends_is_cut_off(served, monkeypatch):
    monkeypatch.setattr(key_sets, "_PATIENCE_MS", 200)
    ends = threading.Event()

    def drip(_):
        def body():
            while not ends.wait(0.05):
                yield b" "

        return Response(body())

    served.expect_request("/drip").respond_with_handler(drip)
    with pytest.raises(KeySetUnavailable):
        key_set_reader()(served.url_for("/drip"))
    ends.set()


def test_where_nobody_answers_there_is_no_key_set():
    with pytest.raises(KeySetUnavailable, match="ConnectionError"):
        key_set_reader()("http://127.0.0.1:9/keys")


@pytest.fixture
def canary():
    """A server that nobody has a reason to ask."""
    with HTTPServer() as server:
        yield server


def test_a_token_never_says_where_keys_are_fetched(served, canary):
    client = replace(NORTH, jwks_url=served.url_for("/keys"))
    key_sets_of_north = client_key_sets([client], key_set_reader())
    check = replace(token_check(RING), clients=[client], key_sets=key_sets_of_north)
    tokens, evil = forger(RING), RING.other_es
    elsewhere = canary.url_for("/keys")
    addresses = [
        elsewhere,
        f"{client.jwks_url}@{canary.host}:{canary.port}/keys",
        elsewhere.replace("//", "//user@"),
    ]
    for member in ("jku", "x5u", "kid", "jwk", "iss", "url"):
        for address in addresses:
            value = {**evil.as_dict(private=False), "jku": address} if member == "jwk" else address
            jku = {"jku": client.jwks_url}
            by_evil = header(evil, "ES384", **(jku | {member: value}))
            assert reason(check, tokens.ring.sign(by_evil, claims(NOW), evil, "ES384"))
            assert reason(check, tokens.signed("ES384", head=jku, **{member: address})) in {
                None,
                Reason.ISSUER,
                Reason.USED,
            }
            signed = reason(check, tokens.signed("ES384", head=jku | {member: value}, jti=f"{member} {address}"))
            assert signed is {"jku": Reason.JKU, "kid": Reason.NO_KEY}.get(member)
    assert canary.log == []
    assert [request.path for request, _ in served.log] == ["/keys"]
