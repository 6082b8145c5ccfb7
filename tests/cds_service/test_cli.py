"""The commands: what they print, and how they fail."""

import os
import signal
import socket
import subprocess
import sys

import orjson
import pytest
import requests
from click.testing import CliRunner

from cds_service.cli import main
from tests.chart import hook_request

SCENARIO = "failed-and-reordered"


@pytest.fixture
def run():
    return lambda *arguments, **more: CliRunner().invoke(main, [str(a) for a in arguments], **more)


@pytest.fixture
def story(run, tmp_path):
    """A scenario as a file, rolled to the day of its story."""
    path = tmp_path / "request.json"
    path.write_text(run("fixtures", "show", SCENARIO, "--today", "2026-06-01").stdout)
    return path


@pytest.fixture(scope="module")
def served():
    """The real service in a process of its own, on a free port."""
    command = [sys.executable, "-m", "cds_service", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        yield line.removeprefix("listening on ").strip()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert out == ""
        assert process.returncode == 0
        assert '"event": "answered"' in err
        assert err.count("OPEN DEVELOPMENT MODE") == 1
        assert "Listens on this machine only." in err
        assert "canary" not in err


def test_serve_answers_and_says_nothing_else_on_stdout(served):
    assert requests.get(f"{served}/livez", timeout=10).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"canary nonsense\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost x canary\r\n\r\n", 400),
        (b"GET /" + b"canary" * 2000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: canary\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nX: " + b"canary" * 20_000 + b"\r\n\r\n", 431),
        (
            b"POST /cds-services/failed-esi HTTP/1.1\r\nOrigin: https://a.example\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
            400,
        ),
    ],
)
def test_what_is_no_http_is_refused_without_quoting_it(served, sent, status):
    host, port = served.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Access-Control-Allow-Origin: *" in head
    assert orjson.loads(body)["resourceType"] == "OperationOutcome"
    assert b"canary" not in answer


def test_fire_prints_the_card_and_the_time(run, served):
    done = run("fire", SCENARIO, "--url", served)
    assert done.exit_code == 0
    assert "[WARNING] Prior L5-S1 ESI" in done.stdout
    assert "1 card(s)" in done.stdout


def test_fire_takes_a_file_and_prints_the_answer_as_it_came(run, served, tmp_path):
    path = tmp_path / "request.json"
    path.write_text(run("fixtures", "show", SCENARIO).stdout)
    assert orjson.loads(run("fire", path, "--url", served, "--json").stdout)["cards"][0]["indicator"] == "warning"


def test_fire_prints_a_refusal_with_its_reason(run, served):
    done = run("fire", "prefetch-missing", "--url", served)
    assert done.exit_code == 2
    assert "412: Prefetch key 'procedures' was not sent" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fire", "no-such-story"), "no-such-story: neither a scenario (see `cds-service fixtures`) nor a file."),
        (
            ("fire", SCENARIO, "--url", "http://127.0.0.1:9"),
            "http://127.0.0.1:9: no answer (ConnectionError); start one",
        ),
        (("explain", "/no/such/file.json"), "/no/such/file.json: cannot be read: No such file or directory."),
        (("fixtures", "show", "no-such-story"), "no-such-story: there is no scenario of this name"),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(run, arguments, message):
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"hook": "patient-view"}'])
def test_explain_refuses_what_is_no_hook_request(run, tmp_path, content):
    path = tmp_path / "request.json"
    path.write_text(content)
    done = run("explain", path)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_explain_shows_the_whole_decision(run, story):
    text = run("explain", story, "--today", "2026-06-01").stdout
    for part in ("[WARNING]", "outcome: failed", "tier: 1", "rules: DET-1, OBS-2, OUT-10, TIER-1, D-1", "session date"):
        assert part in text


def test_explain_as_json_has_the_shape_of_the_contract(run, story):
    explained = orjson.loads(run("explain", story, "--json", "--today", "2026-06-01").stdout)
    assert explained["today"] == "2026-06-01"
    assert len(explained["cards"]) == 1
    decision = explained["decision"]
    assert decision["cards"] == ["FAILED-ESI-NEXT-TIER"]
    assert decision["order"] == ["ServiceRequest/d1"]
    assert (decision["outcome"], decision["tier"], decision["options"]) == (
        "failed",
        "1",
        ["repeat-imaging", "re-evaluate"],
    )
    assert decision["sessions"][0]["reliefPercent"] == 12.5


def test_explain_reads_standard_input(run, story):
    assert "outcome: failed" in run("explain", "-", "--today", "2026-06-01", input=story.read_bytes()).stdout


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("helped-and-reordered", "relief of 3 months is documented"),
        ("unrelated-order", "not about the spine"),
        ("dangling-selection", "No selected order was found"),
        ("two-sides-other", "No earlier epidural steroid injection"),
        ("look-alike-labour", "No earlier epidural steroid injection"),
        ("aligned-order", "The order fits the pathway"),
    ],
)
def test_explain_says_why_there_is_no_card(run, tmp_path, scenario, reason):
    path = tmp_path / "request.json"
    path.write_text(run("fixtures", "show", scenario).stdout)
    done = run("explain", path)
    assert done.exit_code == 0
    assert reason in " ".join(done.stdout.split())


def test_fixtures_lists_every_story(run):
    assert run("fixtures").stdout.count("\n") >= 14


def test_knowledge_check_tells_what_it_checked(run):
    done = run("knowledge", "check")
    assert done.exit_code == 0
    assert "every row is reached" in done.stdout


def test_knowledge_check_says_no_to_a_broken_file(run, tmp_path):
    (tmp_path / "mine.toml").write_text('[esi.snomed]\n"7771001" = "wrong check digit"\n')
    done = run("knowledge", "check", env={"CDS_VALUE_SETS": str(tmp_path)})
    assert done.exit_code == 1
    assert "[esi.snomed] 7771001: the check digit is wrong" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CDS_PORT", "x"),
        ("CDS_PROFILE", "none"),
        ("CDS_VALUE_SETS", "/none"),
        ("CDS_DIALECT", "none"),
        ("CDS_DIALECT_FILE", "/none"),
    ],
)
def test_a_wrong_setting_stops_every_command(run, variable, value):
    done = run("fixtures", env={variable: value})
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert variable in done.stderr


def test_a_mistake_in_a_site_file_stops_the_service(run, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[prefetch]\nproblems = "a"\n')
    done = run("serve", env={"CDS_DIALECT_FILE": str(site)})
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "CDS_DIALECT_FILE: site.toml: [prefetch] problems is not one of our keys" in done.stderr


def test_explain_reads_the_keys_of_the_site(run, story, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[prefetch]\nprocedures = "px"\n')
    body = orjson.loads(story.read_bytes())
    body["prefetch"]["px"] = body["prefetch"].pop("procedures")
    story.write_bytes(orjson.dumps(body))
    assert run("explain", story, "--today", "2026-06-01").exit_code == 2
    done = run("explain", story, "--today", "2026-06-01", env={"CDS_DIALECT_FILE": str(site)})
    assert (done.exit_code, "[WARNING]" in done.stdout) == (0, True)


def test_serve_listens_beyond_this_machine_only_when_told_to():
    command = [sys.executable, "-m", "cds_service", "serve", "--port", "0", "--host", "0.0.0.0", "--insecure"]  # noqa: S104
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (line.startswith("listening on http://0.0.0.0:"), out) == (True, "")
    assert "OPEN DEVELOPMENT MODE: no clients file (CDS_CLIENTS)" in err
    assert "Listens on 0.0.0.0, BEYOND THIS MACHINE." in err


def test_serve_says_so_when_the_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "cds_service", "serve", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert "in use" in done.stderr


@pytest.mark.parametrize("command", ["serve", "demo", "explain", "fire", "check", "fixtures", "knowledge"])
def test_every_command_has_a_help_with_an_example(run, command):
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "Example: cds-service" in done.stdout or command == "knowledge"


def test_a_request_with_a_far_too_deep_body_is_refused(run, tmp_path):
    path = tmp_path / "request.json"
    body = hook_request()
    nested: list = []
    for _ in range(80):
        nested = [nested]
    path.write_bytes(orjson.dumps({**body, "extension": nested}))
    assert "more than 64 levels deep" in run("explain", path).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["expl"], "No such command 'expl'."),
        (["explain"], "Missing argument 'REQUEST.json'."),
        (["explain", "-", "--today", "soon"], "'soon' is not a day; write it as YYYY-MM-DD."),
        (["explain", "-", "--today", "1850-01-01"], "is not between 1900 and 2200."),
        (["fixtures", "show"], "Missing argument 'NAME'."),
    ],
)
def test_wrong_usage_is_one_line_on_stderr(run, arguments, said):
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "--help` shows how it is used." in done.stderr


def test_without_a_command_the_commands_are_listed(run):
    done = run()
    assert done.exit_code == 2
    assert "explain" in done.output


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, {"cards": [{"summary": "only"}]}, "--json prints it as it came."),
        (200, {"cards": None}, "--json prints it as it came."),
        (200, {}, "--json prints it as it came."),
        (200, b"<html>", "not JSON"),
        (500, {"issue": "x"}, "500: no OperationOutcome says why"),
        (404, [], "404: no OperationOutcome says why"),
    ],
)
def test_fire_survives_an_answer_of_any_shape(run, httpserver, status, body, said):
    answer = body if isinstance(body, bytes) else orjson.dumps(body)
    httpserver.expect_request("/cds-services/failed-esi").respond_with_data(answer, status=status)
    done = run("fire", SCENARIO, "--url", httpserver.url_for(""))
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_proxy_stands_between_a_tester_and_this_machine(run, served, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert run("fire", SCENARIO, "--url", served).exit_code == 0
