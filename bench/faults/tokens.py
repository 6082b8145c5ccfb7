"""Tokens that must not be let in: forged, altered, out of date, meant for others; made from a seed."""

from __future__ import annotations

import base64
import hmac
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from bench.faults.measure import Measure, main
from cds_service.trust.admission import client_key_sets
from cds_service.trust.client_jwt import Refused, TokenCheck
from cds_service.trust.clients import Client
from cds_service.trust.replay_store import MemoryReplayStore

ISSUER = "https://ehr.example.org"
TENANT = "north"
JWKS_URL = "https://ehr.example.org/keys?set=1"
ADDRESS = "https://cds.example.org/cds-services/failed-esi"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_DAY = 86_400

Key = ECKey | RSAKey
Json = dict[str, Any]


@dataclass(frozen=True)
class Ring:
    """The keys of a client, one for each recommended algorithm, and those of somebody else with the same ids."""

    es: ECKey = field(default_factory=lambda: ECKey.generate_key("P-384", {"kid": "k/+es=", "use": "sig"}))
    rs: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "rs", "use": "sig", "alg": "RS384"}))
    unpinned_rs: RSAKey = field(init=False)  # the same key for any algorithm
    other_es: ECKey = field(default_factory=lambda: ECKey.generate_key("P-384", {"kid": "k/+es=", "use": "sig"}))
    other_rs: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "rs", "use": "sig"}))

    signatures: dict[tuple[int, str, bytes], bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Make the RSA key once more, without what it says it is for."""
        bare = {name: value for name, value in self.rs.as_dict(private=True).items() if name != "alg"}
        object.__setattr__(self, "unpinned_rs", RSAKey.import_key(bare))

    def sign(self, head: Json | bytes, body: Json | bytes, key: Key, algorithm: str) -> str:
        """A token signed with one of these keys; the same text is signed once, for signing takes the longest."""

        def signer(text: bytes) -> bytes:
            known = (id(key), algorithm, text)
            if known not in self.signatures:
                self.signatures[known] = JWSRegistry.algorithms[algorithm].sign(text, key)
            return self.signatures[known]

        return seal(head, body, signer)

    def public(self) -> list[Json]:
        """The client's key set."""
        return [dict(key.as_dict(private=False)) for key in (self.es, self.rs)]

    def of(self, algorithm: str) -> Key:
        """The client's key for an algorithm."""
        return self.es if algorithm == "ES384" else self.rs

    def other(self, algorithm: str) -> Key:
        """Somebody else's key for an algorithm."""
        return self.other_es if algorithm == "ES384" else self.other_rs


def claims(now: int, **more: Any) -> Json:
    """The claims of a good token."""
    good = {"iss": ISSUER, "aud": ADDRESS, "iat": now, "exp": now + 300, "jti": "good", "tenant": TENANT}
    return {**good, **more}


def header(key: Key, algorithm: str, **more: Any) -> Json:
    """The header of a good token."""
    return {"alg": algorithm, "kid": key.kid, "typ": "JWT", "jku": JWKS_URL, **more}


def b64(plain: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def seal(head: Json | bytes, body: Json | bytes, signer: Callable[[bytes], bytes]) -> str:
    """A token of any header and payload, as JSON objects or as bytes, with any signature."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
    text = ".".join(map(b64, parts))
    return f"{text}.{b64(signer(text.encode()))}"


@dataclass(frozen=True)
class Forger:
    """Makes tokens that are all wrong; `now` is the moment for which they are made."""

    ring: Ring
    now: int
    random: random.Random

    def good(self, algorithm: str, **more: Any) -> str:
        """A token that is right: what the others are made from."""
        key = self.ring.of(algorithm)
        return self.ring.sign(header(key, algorithm), claims(self.now, **more), key, algorithm)

    def signed(self, algorithm: str, *, head: Json | None = None, **more: Any) -> str:
        """A token with the client's signature; members that are Ellipsis are left out."""
        key = self.ring.of(algorithm)
        written = [header(key, algorithm, **(head or {})), claims(self.now, **more)]
        return self.ring.sign(
            *({k: v for k, v in members.items() if v is not ...} for members in written), key, algorithm
        )

    def raw(self, algorithm: str, body: bytes, head: bytes | None = None) -> str:
        """A token with the client's signature over any bytes."""
        key = self.ring.of(algorithm)
        return self.ring.sign(head if head is not None else header(key, algorithm), body, key, algorithm)

    def altered(self, algorithm: str, head: Json, body: Json) -> str:
        """A good token whose parts were changed after it was signed."""
        _, _, signature = self.good(algorithm).split(".")
        parts = [{**header(self.ring.of(algorithm), algorithm), **head}, {**claims(self.now), **body}]
        return ".".join([*(b64(json.dumps(part).encode()) for part in parts), signature])


Make = Callable[[Forger, str], str]


def _flipped(part: int) -> Make:
    def make(forger: Forger, algorithm: str) -> str:
        parts = forger.good(algorithm).split(".")
        at = forger.random.randrange(len(parts[part]))
        sign_there = forger.random.choice(_ALPHABET.replace(parts[part][at], ""))
        parts[part] = parts[part][:at] + sign_there + parts[part][at + 1 :]
        return ".".join(parts)

    return make


def _cut(forger: Forger, algorithm: str) -> str:
    good = forger.good(algorithm)
    return good[: forger.random.randrange(len(good))]


def _without_part(forger: Forger, algorithm: str) -> str:
    parts = forger.good(algorithm).split(".")
    parts[forger.random.randrange(3)] = ""
    return ".".join(parts)


def _dots(forger: Forger, algorithm: str) -> str:
    good = forger.good(algorithm)
    return forger.random.choice([f"{good}.", f".{good}", f"{good}.{good}", good.replace(".", ".."), f"{good}.e30.e30"])


def _foreign_sign(forger: Forger, algorithm: str) -> str:
    """A sign that base64url does not have, at any place: some decoders pass over it."""
    good = forger.good(algorithm)
    at = forger.random.randrange(len(good) + 1)
    return good[:at] + forger.random.choice("=+/\n\t !,;~\u00e9\u2028\x00") + good[at:]


def _spare_bits(forger: Forger, algorithm: str) -> str:
    """The last sign of a signature with its unused bits set: another text of the same bytes, RS384 only."""
    good = forger.good("RS384")
    last = _ALPHABET.index(good[-1])
    return good[:-1] + _ALPHABET[last | forger.random.randrange(1, 16)]


def _spliced(forger: Forger, algorithm: str) -> str:
    one, other = forger.good(algorithm).split("."), forger.good(algorithm, jti="other", tenant="south").split(".")
    return ".".join(forger.random.choice([[one[0], other[1], one[2]], [one[0], one[1], other[2]]]))


def _none(forger: Forger, algorithm: str) -> str:
    name = forger.random.choice(["none", "None", "NONE", "nOnE", "", " none", "none\u0000"])
    _, payload, signature = forger.good(algorithm).split(".")
    head = b64(json.dumps(header(forger.ring.of(algorithm), name)).encode())
    return f"{head}.{payload}.{forger.random.choice(['', signature])}"


def _symmetric(forger: Forger, algorithm: str) -> str:
    """Signed by HMAC with what everybody knows: the public key in one of its forms."""
    key, name = forger.ring.of(algorithm), forger.random.choice(["HS256", "HS384", "HS512"])
    public = key.public_key
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key.as_dict(private=False)).encode(),
        key.thumbprint().encode(),
        b"secret",
    ]
    secret = forger.random.choice(forms)
    return seal(header(key, name), claims(forger.now), lambda text: hmac.digest(secret, text, f"sha{name[2:]}"))


def _other_algorithm(forger: Forger, algorithm: str) -> str:
    """The header says another algorithm than the signature is of."""
    names = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA", "ES256K"]
    name = forger.random.choice([name for name in names if name != algorithm])
    key = forger.ring.of(algorithm)
    return forger.ring.sign(header(key, name), claims(forger.now), key, algorithm)


def _not_agreed(forger: Forger, _: str) -> str:
    """Rightly signed with the client's RSA key, by an algorithm that key and client are not for."""
    name = forger.random.choice(["RS256", "RS512", "PS256", "PS384", "PS512"])
    return forger.ring.sign(header(forger.ring.rs, name), claims(forger.now), forger.ring.unpinned_rs, name)


def _by_somebody_else(forger: Forger, algorithm: str) -> str:
    key = forger.ring.other(algorithm)
    return forger.ring.sign(header(key, algorithm), claims(forger.now), key, algorithm)


def _brings_its_key(forger: Forger, algorithm: str) -> str:
    """Signed with a key that the header itself brings or points to."""
    key = forger.ring.other(algorithm)
    jwk, chain = dict(key.as_dict(private=False)), ["MIIB"]
    brought = forger.random.choice(
        [
            {"jwk": jwk},
            {"jwk": jwk, "jku": ...},
            {"jku": "https://evil.example.org/keys"},
            {"x5u": "https://evil.example.org/chain.pem", "x5c": chain},
            {"kid": "../../../../dev/null"},
            {"kid": "k' UNION SELECT 'key"},
            {"kid": "https://evil.example.org/keys#1"},
        ]
    )
    head = {k: v for k, v in header(key, algorithm, **brought).items() if v is not ...}
    return forger.ring.sign(head, claims(forger.now), key, algorithm)


def _altered_claims(forger: Forger, algorithm: str) -> str:
    change = forger.random.choice(
        [
            {"jti": "fresh"},
            {"exp": forger.now + 3000},
            {"tenant": "south"},
            {"sub": "admin"},
            {"iat": forger.now + 1},
            {"aud": [ADDRESS]},
        ]
    )
    return forger.altered(algorithm, {}, change)


def _claim(name: str, *values: Any) -> Make:
    """Rightly signed, with one claim that is wrong."""

    def make(forger: Forger, algorithm: str) -> str:
        value = forger.random.choice(values)
        return forger.signed(algorithm, **{name: value(forger) if callable(value) else value})

    return make


def _times(**offsets: int) -> Make:
    """Rightly signed, with times so many seconds from now."""
    return lambda forger, algorithm: forger.signed(algorithm, **{n: forger.now + o for n, o in offsets.items()})


def _headed(**members: Any) -> Make:
    """Rightly signed, with header members that are wrong."""
    return lambda forger, algorithm: forger.signed(algorithm, head=members)


def _lived(forger: Forger, algorithm: str) -> str:
    """Out of date by minutes to years, in either direction."""
    away = forger.random.choice([1, -1]) * forger.random.randrange(361, 40 * 365 * _DAY)
    return forger.signed(algorithm, iat=forger.now + away, exp=forger.now + away + 300)


def _written(*bodies: bytes) -> Make:
    """Rightly signed bytes that are no JSON object, or none that everybody reads alike."""

    def make(forger: Forger, algorithm: str) -> str:
        good = json.dumps(claims(forger.now)).encode()
        return forger.raw(algorithm, forger.random.choice(bodies).replace(b"GOOD", good[1:-1]))

    return make


def _twice_in_the_header(forger: Forger, algorithm: str) -> str:
    good = json.dumps(header(forger.ring.of(algorithm), algorithm)).encode()
    return forger.raw(algorithm, json.dumps(claims(forger.now)).encode(), b'{"alg": "none", ' + good[1:])


def _other_serialization(forger: Forger, algorithm: str) -> str:
    protected, payload, signature = forger.good(algorithm).split(".")
    written = json.dumps({"protected": protected, "payload": payload, "signature": signature})
    return forger.random.choice([written, b64(written.encode()), f"{protected}.{payload}.{signature}.{b64(b'x')}.tag"])


_MANY = "x" * 300
FORGERIES: Mapping[str, Make] = {
    "header flipped": _flipped(0),
    "payload flipped": _flipped(1),
    "signature flipped": _flipped(2),
    "cut": _cut,
    "part missing": _without_part,
    "dots": _dots,
    "foreign sign": _foreign_sign,
    "spare bits": _spare_bits,
    "spliced": _spliced,
    "none": _none,
    "symmetric": _symmetric,
    "other algorithm": _other_algorithm,
    "algorithm not agreed": _not_agreed,
    "signed by somebody else": _by_somebody_else,
    "brings its key": _brings_its_key,
    "claims altered": _altered_claims,
    "jku elsewhere": _headed(jku="https://evil.example.org/keys"),
    "kid unknown": _headed(kid="unknown"),
    "kid missing": _headed(kid=...),
    "kid wrong kind": _headed(kid=7),
    "kid of another key": lambda forger, a: forger.signed(
        a, head={"kid": forger.ring.of("RS384" if a == "ES384" else "ES384").kid}
    ),
    "typ wrong": _headed(typ="at+jwt"),
    "typ missing": _headed(typ=...),
    "crit": _headed(crit=["exp"], exp=1),
    "b64": _headed(b64=True, crit=["b64"]),
    "member twice in the header": _twice_in_the_header,
    "issuer": _claim("iss", f"{ISSUER}/", ISSUER.upper(), "https://evil.example.org", f" {ISSUER}", "", None, [ISSUER]),
    "issuer missing": _claim("iss", ...),
    "audience": _claim(
        "aud",
        "https://cds.example.org/cds-services/other",
        "https://cds.example.org/cds-services",
        "https://cds.example.org",
        f"{ADDRESS}/feedback",
        f"{ADDRESS}?x=1",
        ADDRESS.upper(),
        ADDRESS.replace("https", "http"),
        "",
        [],
        [""],
    ),
    "audience of the wrong kind": _claim("aud", 7, {"url": ADDRESS}, [7], None, True),
    "audience missing": _claim("aud", ...),
    "audience with another": _claim("aud", [ADDRESS, "https://other.example.org"], ["sand_man", ADDRESS]),
    "out of date": _lived,
    "just expired": _times(iat=-400, exp=-61),
    "from the future": _times(iat=61, exp=300),
    "not yet": _times(nbf=61),
    "ends before it begins": _times(iat=30, exp=20),
    "lives too long": _times(exp=3601),
    "lives for ever": _claim("exp", 99_999_999_999, 10**11, 1e12, 10**40),
    "exp missing": _claim("exp", ...),
    "iat missing": _claim("iat", ...),
    "exp as text": _claim("exp", lambda forger: str(forger.now + 300)),
    "exp of the wrong kind": _claim("exp", None, True, [], {}, "soon"),
    "iat as text": _claim("iat", lambda forger: str(forger.now)),
    "iat of the wrong kind": _claim("iat", None, [], {}, "now"),
    "nbf as text": _claim("nbf", lambda forger: str(forger.now)),
    "nbf of the wrong kind": _claim("nbf", None, [], {}, "now"),
    "jti missing": _claim("jti", ...),
    "jti empty": _claim("jti", ""),
    "jti too long": _claim("jti", _MANY),
    "jti huge": _claim("jti", "x" * 9000),
    "jti of the wrong kind": _claim("jti", 7, None, ["good"], {"id": "good"}),
    "tenant": _claim("tenant", "south", "", "North", None, 7, ["north"], ...),
    "member twice": _written(
        b'{"exp": 1, GOOD}', b'{"aud": "x", GOOD}', b'{"jti": "x", GOOD}', b'{"tenant": "x", GOOD}'
    ),
    "no object": _written(b"[]", b"[{GOOD}]", b'"text"', b"7", b"null", b"true", b""),
    "no JSON": _written(b"{GOOD", b"{GOOD,}", b"{'iss': 1}", b"{GOOD} {}", b"// x\n{GOOD}"),
    "not UTF-8": _written(b'{GOOD, "x": "\xff"}', "{}".encode("utf-16"), b"\xef\xbb\xbf{GOOD}"),
    "numbers nobody has": _written(b'{GOOD, "x": NaN}', b'{GOOD, "x": -Infinity}'),
    "deep": _written(b'{GOOD, "x": ' + b"[" * 2000 + b"]" * 2000 + b"}"),
    "other serialization": _other_serialization,
}


@dataclass(frozen=True)
class Forgery:
    """A token that is wrong, and what is wrong with it."""

    kind: str
    token: str


def forgeries(ring: Ring, now: int, count: int, seed: int = 20_260_601) -> Iterator[Forgery]:
    """So many tokens that are wrong, of every kind in turn, with both algorithms."""
    forger = Forger(ring, now, random.Random(seed))
    kinds = list(FORGERIES.items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        yield Forgery(kind, make(forger, "RS384" if number // len(kinds) % 2 else "ES384"))


COUNT = 100_000
_NOW = 1_780_272_000


def run(scale: float = 1.0) -> list[Measure]:
    """Show forged tokens to the check of a client; the good ones beside them show that it can say yes."""
    ring = Ring()
    client = Client(id="north", issuer=ISSUER, tenants=(TENANT,), jwks_url=JWKS_URL)
    key_sets = client_key_sets([client], lambda _: ring.public())
    check = TokenCheck([client], key_sets, MemoryReplayStore(lambda: _NOW), lambda: _NOW)
    count = max(len(FORGERIES), int(COUNT * scale))
    forged = sum(_is_let_in(check, forgery.token) for forgery in forgeries(ring, _NOW, count))
    forger = Forger(ring, _NOW, random.Random(1))
    good = sum(_is_let_in(check, forger.good(name, jti=name)) for name in ("ES384", "RS384"))
    value, note = f"{forged} of {count:,}", f"{len(FORGERIES)} kinds; {good} of 2 good ones let in"
    return [Measure("forged tokens let in", "0 of 10,000", value, forged == 0 and good == 2, note)]


def _is_let_in(check: TokenCheck, token: str) -> bool:
    try:
        check.client_of(f"Bearer {token}", [ADDRESS])
    except Refused:
        return False
    return True


if __name__ == "__main__":
    main(run)
