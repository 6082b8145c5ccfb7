"""Lines that must not be written, each with an example that is found; ruff's own rules are not repeated here."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [p for folder in ("cds_service", "hooks") for p in sorted((ROOT / folder).rglob("*.py"))]
# These speak from a tester's machine, where a proxy may be the way out; no request to the service reaches them.
TESTERS = {"cds_service/outbound.py"}
OF_TESTERS = {"cds_service/check/client.py", "cds_service/commands/firing.py", "cds_service/fhir/client.py"}

_TRUSTS = re.compile(r"requests\.(get|post|put|patch|delete|head|options|request)|.*\burlopen")
_CODE = {"eval", "exec", "compile", "__import__"}
_LOADERS = {"pickle", "marshal", "shelve", "dill", "joblib", "yaml"}
_UNSAFE_TLS = {"CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context", "_create_stdlib_context"}


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def is_true(node):
    return isinstance(node, ast.Constant) and node.value is True


def settings_of(tree):
    """Every name that is given a value: attributes that are assigned, arguments that are named."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((t.attr, node.value, node.lineno) for t in targets if isinstance(t, ast.Attribute))
        elif isinstance(node, ast.Call):
            yield from ((k.arg, k.value, k.value.lineno) for k in node.keywords if k.arg)


def unverified(tree):
    """TLS that is not verified."""
    switches = {"verify", "check_hostname", "assert_hostname"}
    yield from (line for name, value, line in settings_of(tree) if name in switches and is_false(value))
    yield from (n.lineno for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in _UNSAFE_TLS)


def environment(tree):
    """Proxies and credentials of the machine: a session that trusts it, or a call that makes such a session."""
    given = list(settings_of(tree))
    yield from (line for name, value, line in given if name == "trust_env" and not is_false(value))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    yield from (call.lineno for call in calls if _TRUSTS.fullmatch(ast.unparse(call.func)))
    if not any(name == "trust_env" for name, _, _ in given):  # left as it is, it is on
        yield from (call.lineno for call in calls if ast.unparse(call.func) == "requests.Session")
        yield from (line for _, value, line in given if ast.unparse(value) == "requests.Session")


def redirects(tree):
    """Redirects that are followed, with or without a word."""
    yield from (line for name, value, line in settings_of(tree) if name == "allow_redirects" and is_true(value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"request", "get"}:
            owner = ast.unparse(node.func.value)
            named = {keyword.arg for keyword in node.keywords}
            if owner.endswith("session") and "allow_redirects" not in named:
                yield node.lineno


def modules(node):
    """The modules that a line imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def code(tree):
    """Data that are run: code made from text, and formats that build objects."""
    for node in ast.walk(tree):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in _CODE or modules(node) & _LOADERS:
            yield node.lineno


RULES = [unverified, environment, redirects, code]
EXAMPLES = [
    (unverified, "session.verify = False"),
    (unverified, "session.get(url, verify=False)"),
    (unverified, "context.check_hostname = False"),
    (unverified, "context.verify_mode = ssl.CERT_NONE"),
    (unverified, "ssl._create_unverified_context()"),
    (environment, "session.trust_env = True"),
    (environment, "session.trust_env = is_loopback(url)"),
    (environment, "requests.get(url, timeout=1)"),
    (environment, "urllib.request.urlopen(url)"),
    (environment, "session = requests.Session()"),
    (environment, "session = field(default_factory=requests.Session)"),
    (redirects, "session.get(url, allow_redirects=True)"),
    (redirects, "self._session.request('GET', url)"),
    (code, "eval(text)"),
    (code, "exec(text)"),
    (code, "import pickle"),
    (code, "from yaml import load"),
]


@pytest.mark.parametrize(("rule", "line"), EXAMPLES, ids=lambda part: getattr(part, "__name__", part))
def test_a_line_that_breaks_a_rule_is_found(rule, line):
    assert list(rule(ast.parse(f"# first line\n{line}"))) == [2]


@pytest.mark.parametrize(
    "line", ["session.trust_env = False", "session.get(url, allow_redirects=False)", "s.verify = str(bundle)", "f(x)"]
)
def test_a_line_that_keeps_the_rules_is_not(line):
    assert [list(rule(ast.parse(line))) for rule in RULES] == [[]] * len(RULES)


def test_no_line_breaks_a_rule():
    found = [
        f"{name}:{line}: {rule.__doc__}"
        for path in SOURCES
        for rule in RULES
        for line in rule(ast.parse(path.read_text(encoding="utf-8")))
        if not ((name := path.relative_to(ROOT).as_posix()) in TESTERS and rule is environment)
    ]
    assert found == []


def test_only_what_speaks_for_a_tester_opens_such_sessions():
    users = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "cds_service.outbound"
    }
    assert users == OF_TESTERS


@pytest.mark.parametrize(
    ("number", "line"),
    [
        ("S113", "import requests\nrequests.get('https://example.org')"),
        ("S301", "import pickle\npickle.loads(b'')"),
        ("S307", "eval('1')"),
        ("S501", "import requests\nrequests.get('https://example.org', timeout=1, verify=False)"),
        ("S506", "import yaml\nyaml.load('')"),
        ("S602", "import subprocess\nsubprocess.run('ls *', shell=True, check=True)"),
        ("S608", "def f(x): return f'SELECT * FROM t WHERE a = {x}'"),
        ("BLE001", "try:\n    f()\nexcept Exception:\n    g()"),
        ("DTZ005", "from datetime import datetime\ndatetime.now()"),
        ("T201", "print('patient')"),
    ],
)
def test_ruff_finds_it_in_the_engine(number, line):
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "cds_service/example.py", "-"]
    done = subprocess.run(command, input=line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert number in done.stdout


SECRETS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a private JSON Web Key": re.compile(r'"(?:d|k)"\s*:\s*"[A-Za-z0-9_-]{32,}"'),
    "a token of a known service": re.compile(
        r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{36}|github_pat_\w{40}|xox[abprs]-[\w-]{20}|glpat-[\w-]{20}|npm_\w{36}|pypi-[\w-]{40})"
    ),
    "a signed token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{40,}"),
    "a password in an address": re.compile(r"\b[a-z][a-z+]{2,}://[\w.-]+:(?!password@)[^\s/@{}$<]{3,}@[\w.-]+"),
}
MADE = {
    "a private key": "-----BEGIN EC " + "PRIVATE KEY-----",
    "a private JSON Web Key": '{"kty": "EC", "' + 'd": "' + "A" * 43 + '"}',
    "a token of a known service": "gh" + "p_" + "a" * 36,
    "a signed token": "ey" + "J" + "a" * 20 + ".ey" + "J" + "b" * 20 + "." + "c" * 86,
    "a password in an address": "postgresql+psycopg://cds" + ":hunter22" + "@db.example.org/cds",
}
# Test data that look like secrets, and are none: file, kind.
KNOWN = {("tests/cds_service/test_ledger.py", "a password in an address")}  # made up; it must not be shown


def tracked():
    """The files of the repository, without those that are no text."""
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: no list of tracked files")
    for name in filter(None, done.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="ignore")


def test_no_secret_stands_in_a_tracked_file():
    found = {(name, kind) for name, text in tracked() for kind, form in SECRETS.items() if form.search(text)}
    assert found == KNOWN


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found(kind):
    assert SECRETS[kind].search(f"first line\nkey = {MADE[kind]}\n")
