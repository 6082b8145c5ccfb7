"""`client`, `jwt` and the tokens that other commands call with."""

from __future__ import annotations

import stat
import time

import jwt as pyjwt
import orjson
import pytest
from click.testing import CliRunner

from bench.faults.tokens import ISSUER
from cds_service.app import create_app
from cds_service.cli import main
from cds_service.settings import Settings
from cds_service.trust.client_jwt import Step
from tests.registered import RING
from tests.served import in_a_thread

PUBLIC = "https://cds.example.org"
SERVICE = f"{PUBLIC}/cds-services/failed-esi"
SCENARIO = "failed-and-reordered"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDS_PUBLIC_URL", PUBLIC)
    return lambda *arguments, **more: CliRunner().invoke(main, [str(a) for a in arguments], **more)


@pytest.fixture
def mint(run):
    """A token of the tester, for our service unless told otherwise."""

    def minted(**options):
        given = {"--issuer": "dev", "--audience": SERVICE} | {f"--{name}": value for name, value in options.items()}
        done = run("jwt", "mint", *[part for option in given.items() for part in option])
        assert done.exit_code == 0, done.stderr
        return done.stdout.strip()

    return minted


@pytest.fixture
def dev(run, mint):
    """The tester as a client."""
    mint()
    return run("client", "add", "dev", "--issuer", "dev", "--jwks-file", "dev-key.public.json")


def test_a_key_pair_is_made_once_and_its_private_half_is_for_its_owner(run, mint, tmp_path):
    one, other = mint(), mint()
    assert one.split(".")[0] == other.split(".")[0]
    assert one != other
    assert stat.S_IMODE((tmp_path / "dev-key.json").stat().st_mode) == 0o600
    assert "d" in orjson.loads((tmp_path / "dev-key.json").read_bytes())
    (public,) = orjson.loads((tmp_path / "dev-key.public.json").read_bytes())["keys"]
    assert "d" not in public


def test_a_client_is_added_and_what_the_ehr_needs_is_told(dev, tmp_path):
    assert dev.exit_code == 0
    for told in (
        SERVICE,
        f"{SERVICE}/feedback",
        f"{PUBLIC}/cds-services",
        "ES384 or RS384",
        "iss        dev",
        "60 minutes",
    ):
        assert told in dev.stdout
    assert (tmp_path / "clients.toml").read_text() == '[dev]\nissuer = "dev"\njwks_file = "dev-key.public.json"\n'


def test_what_stands_in_the_file_stays(run, tmp_path):
    path = tmp_path / "mine.toml"
    before = '# ours\n[south]   # first\nissuer = "s"\njwks_url = "https://s.example.org/k"\n'
    path.write_text(before)
    done = run("client", "add", "north", "--issuer", ISSUER, "--jwks-url", "https://n.example.org/k", "--tenant", "a",
               "--tenant", "b", "--audience", 'x "y" \\ ü', "--algorithm", "ES384", "--silent", "--file", path)  # fmt: skip
    assert done.exit_code == 0
    assert path.read_text().startswith(before)
    listed = run("client", "list", "--file", path).stdout.splitlines()
    assert listed == [
        "south  s  https://s.example.org/k  ES384, RS384",
        f"north  {ISSUER}  https://n.example.org/k  ES384  tenants a, b  silent",
    ]
    assert 'aud        x "y" \\ ü' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dev", "--issuer", "dev", "--jwks-url", "https://a.example.org/k"], "cannot be read as TOML"),
        (["open", "--issuer", "x", "--jwks-url", "https://a.example.org/k"], "[open] is no name for a client"),
        (["north", "--issuer", "x", "--jwks-url", "http://a.example.org/k"], "[north] jwks_url: not an https address"),
        (["north", "--issuer", "x", "--jwks-file", "none.json"], "none.json cannot be read"),
        (["north", "--issuer", "x", "--jwks-file", "dev-key.json"], "no JSON Web Key Set"),
        (["north", "--issuer", "dev", "--jwks-url", "https://a.example.org/k"], "[dev] has the same issuer"),
    ],
)
def test_a_client_that_cannot_be_is_not_written(run, dev, tmp_path, arguments, message):
    before = (tmp_path / "clients.toml").read_text()
    done = run("client", "add", *arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert "Nothing was written." in done.stderr
    assert (tmp_path / "clients.toml").read_text() == before


def test_what_is_not_given_is_asked_for(run):
    done = run("client", "add", "north", input=f"{ISSUER}\nhttps://n.example.org/k\n")
    assert done.exit_code == 0
    assert "[north] stands in clients.toml" in done.stdout


def test_a_good_token_passes_every_step_and_is_not_used_up(run, dev, mint):
    token = mint()
    for _ in range(2):
        done = run("client", "test", "dev", "--token", token)
        assert done.exit_code == 0
        assert [f"{step:<10} ok" in done.stdout for step in Step] == [True] * len(Step)


@pytest.mark.parametrize(
    ("options", "step", "why"),
    [
        ({"issuer": "other"}, Step.ISSUER, "no client has this `iss`"),
        ({"audience": PUBLIC}, Step.AUDIENCE, "names something else"),
        ({"key": "other.json"}, Step.KEY, "holds no key of this `kid`"),
    ],
)
def test_a_bad_token_is_told_at_which_step_it_fails(run, dev, mint, options, step, why):
    done = run("client", "test", "dev", "--token", "-", input=mint(**options))
    assert done.exit_code == 1
    assert f"{step:<10} NO: " in done.stdout
    assert why in done.stdout
    assert done.stdout.count("NO: ") == 1
    assert '"claims"' in done.stdout or "claims  {" in done.stdout


def test_a_token_that_is_none_fails_at_its_form(run, dev):
    done = run("client", "test", "dev", "--token", "nonsense")
    assert (done.exit_code, "form       NO: " in done.stdout) == (1, True)


def test_the_key_set_of_a_client_is_fetched_and_shown(run, httpserver):
    keys = [*RING.public(), {"kty": "oct", "kid": "bad\x1b[31m", "k": "c2VjcmV0"}]
    httpserver.expect_request("/keys").respond_with_json({"keys": keys})
    environment = {"CDS_INSECURE": "1"}
    url = httpserver.url_for("/keys")
    assert run("client", "add", "n", "--issuer", ISSUER, "--jwks-url", url, env=environment).exit_code == 0
    done = run("client", "test", "n", env=environment)
    assert done.exit_code == 0
    assert "k/+es=  EC  P-384  -  used" in done.stdout
    assert "rs  RSA  -  RS384  used" in done.stdout
    assert "bad?[31m  oct  -  -  not used: not a JSON Web Key of the kinds EC and RSA" in done.stdout
    httpserver.clear()
    gone = run("client", "test", "n", env=environment)
    assert (gone.exit_code, "no key set: status 500" in gone.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["client", "test", "nobody"], "nobody: there is no client of this name"),
        (["client", "list", "--file", "none.toml"], "none.toml: cannot be read"),
        (
            ["jwt", "mint", "--issuer", "i", "--audience", "a", "--key", "clients.toml"],
            "clients.toml: not a private key",
        ),
        (["jwt", "mint", "--issuer", "i", "--audience", "a", "--key", "dev-key.public.json"], "not a private key"),
        (["jwt", "mint", "--issuer", "i", "--audience", "a", "--key", "no/such.json"], "such.json: cannot be written"),
        (["fire", SCENARIO, "--key", "none.json", "--issuer", "i"], "none.json: cannot be read"),
        (["fire", SCENARIO, "--key", "dev-key.json"], "--key: --issuer is missing"),
        (["fire", SCENARIO, "--key", "dev-key.json", "--token", "t"], "--token and --key: give one of them"),
        (["fire", SCENARIO, "--issuer", "i"], "name the key"),
    ],
)
def test_wrong_usage_is_one_line(run, dev, arguments, message):
    done = run(*arguments)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


@pytest.fixture
def protected(run, dev, tmp_path):
    """A service that answers the tester alone, under an address that is not the one it is known by."""
    settings = Settings(clients=tmp_path / "clients.toml", public_url=PUBLIC, log_level="error", data=tmp_path,
                        cors_origins=("https://ehr.example.org",))  # fmt: skip
    with in_a_thread(create_app(settings=settings)) as url:
        yield url


def test_a_protected_service_is_called_with_a_token_or_with_a_key(run, protected, mint):
    called = ["fire", SCENARIO, "--url", protected]
    refused = run(*called)
    assert (refused.exit_code, "401: This service answers its registered clients only." in refused.stderr) == (2, True)
    token = mint()
    assert "[WARNING]" in run(*called, "--token", token).stdout
    assert run(*called, "--token", token).exit_code == 2
    assert "[WARNING]" in run(*called, "--token", "-", input=mint()).stdout
    signed = ["--key", "dev-key.json", "--issuer", "dev"]
    assert run(*called, *signed).exit_code == 2  # the address that is called is not its public one
    for _ in range(2):
        assert "[WARNING]" in run(*called, *signed, "--audience", SERVICE).stdout


def test_a_protected_service_is_checked_with_a_key(run, protected):
    signed = ["--key", "dev-key.json", "--issuer", "dev", "--audience", SERVICE]
    done = run("check", protected, *signed, "--json")
    report = orjson.loads(done.stdout)
    assert report["counts"]["fail"] == 0
    assert done.exit_code == 0
    without = {r["rule"] for r in report["results"] if any("this check does not have" in seen for seen in r["seen"])}
    assert without == {"refuse.service"}  # the token is for another address than the one that is not there


def test_the_life_of_a_token_is_bounded(run, mint):
    assert run("jwt", "mint", "--issuer", "i", "--audience", "a", "--minutes", "61").exit_code == 2
    claims = pyjwt.decode(mint(minutes="60"), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--host", "0.0.0.0"], {}, "0.0.0.0: without a clients file the service answers whoever"),  # noqa: S104
        (["--host", "::"], {}, "so it listens on this machine only"),
        ([], {"CDS_HOST": "192.0.2.1"}, "Name a clients file with CDS_CLIENTS"),
        ([], {"CDS_CLIENTS": "none.toml"}, "none.toml: cannot be read"),
        ([], {"CDS_CLIENTS": "clients.toml", "CDS_PUBLIC_URL": ""}, "set CDS_PUBLIC_URL"),
        ([], {"CDS_CLIENTS": "clients.toml", "CDS_REDIS_URL": "nonsense"}, "CDS_REDIS_URL: not an address"),
        ([], {"CDS_CLIENTS": "clients.toml", "CDS_CORS_ORIGINS": "*"}, "CDS_CORS_ORIGINS: "),
    ],
)
def test_serve_does_not_start_where_it_should_not(run, dev, arguments, environment, message):
    done = run("serve", *arguments, env=environment)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize("table", ['profile = "none"', 'dialect = "latin"', '[dev.prefetch]\nnone = "x"'])
def test_serve_does_not_start_with_a_client_that_cannot_be_served(run, dev, tmp_path, table):
    with (tmp_path / "clients.toml").open("a") as file:
        file.write(table)
    done = run("serve", env={"CDS_CLIENTS": "clients.toml"})
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "[dev]" in done.stderr


@pytest.mark.parametrize("command", ["add", "list", "test"])
def test_every_command_has_a_help_with_an_example(run, command):
    assert f"Example: cds-service client {command}" in run("client", command, "--help").stdout
