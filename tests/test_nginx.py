"""deploy/nginx.conf: what it promises, and that nginx takes it as it ships."""

import http.client
import json
import re
import ssl
import subprocess

import pytest
import trustme

from bench.faults.proxy import CONFIGURATION, MISSING, NGINX, nginx, with_tls, written_for
from bench.faults.running import PATH, service
from cds_service.settings import Settings

TEXT = CONFIGURATION.read_text(encoding="utf-8")
needs_nginx = pytest.mark.skipif(not NGINX, reason=MISSING)


def test_it_takes_bodies_as_large_as_the_service():
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", TEXT)
    assert int(megabytes) * 1024 * 1024 == Settings.model_fields["max_body"].default


def test_nothing_that_a_caller_says_of_where_it_comes_from_is_passed_on():
    cleared = set(re.findall(r'proxy_set_header (\S+) "";', TEXT))
    assert {"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} <= cleared
    assert "add_x_forwarded_for" not in TEXT


@pytest.fixture
def pair(tmp_path):
    """A certificate and its key in files."""
    issued = trustme.CA().issue_cert("cds.example.org")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "pem")
    return tmp_path / "pem", tmp_path / "key"


@needs_nginx
def test_nginx_takes_it_as_it_ships(tmp_path, pair):
    text = with_tls(written_for(tmp_path, "127.0.0.1:8443 ssl", [("127.0.0.1", 8000), ("127.0.0.1", 8001)]), *pair)
    (tmp_path / "nginx.conf").write_text(text, encoding="utf-8")
    command = [NGINX, "-t", "-e", str(tmp_path / "error.log"), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_nginx
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_only_tls_1_2_and_newer_is_spoken(pair):
    spoken = {}
    with service() as running, nginx([running.address], pair) as address:
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            spoken[version.name] = status_over_tls(address, version)
    assert spoken == {"TLSv1_1": None, "TLSv1_2": 200, "TLSv1_3": 200}


def status_over_tls(address, version):
    """What a client gets that speaks one version alone; None when nothing is agreed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # so that it is the server that refuses an old version
    context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection(*address, context=context, timeout=60)
    try:
        connection.request("GET", "/cds-services")
        return connection.getresponse().status
    except ssl.SSLError:
        return None
    finally:
        connection.close()


@needs_nginx
@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/metrics?x", "/%6detrics", "/livez/../metrics"])
def test_metrics_are_not_shown_outside(path, seen_through_nginx):
    status, body = seen_through_nginx("GET", path)
    assert status == 404
    assert body["resourceType"] == "OperationOutcome"


@needs_nginx
def test_what_nginx_itself_says_is_an_outcome_too(seen_through_nginx):
    status, body = seen_through_nginx("POST", PATH, b" " * (16 * 1024 * 1024 + 1))
    assert (status, body["issue"][0]["code"]) == (413, "too-long")
    assert seen_through_nginx("GET", "/cds-services")[0] == 200


@needs_nginx
def test_without_an_instance_the_answer_is_503():
    with nginx([("127.0.0.1", 9)]) as address:
        connection = http.client.HTTPConnection(*address, timeout=60)
        connection.request("GET", "/cds-services")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert b"OperationOutcome" in answer.read()
        connection.close()


@pytest.fixture(scope="module")
def seen_through_nginx():
    """One request through the proxy: status and body."""
    with service() as running, nginx([running.address]) as address:

        def ask(method, path, body=None):
            connection = http.client.HTTPConnection(*address, timeout=60)
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())
            finally:
                connection.close()

        yield ask
