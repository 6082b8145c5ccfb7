"""deploy/nginx.conf as it ships, but for the addresses, the files it writes, and TLS."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = "nginx is not installed"

Address = tuple[str, int]


def written_for(folder: Path, listen: str, services: Sequence[Address]) -> str:
    """The configuration for one run: where it listens, the instances behind it, and a folder for its files."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    instances = "\n".join(f"server {host}:{port} max_fails=0;" for host, port in services)
    text, found = re.subn(r"( *server 127\.0\.0\.1:\d+ max_fails=0;[^\n]*\n)+", f"{instances}\n", text)
    assert found == 1, "deploy/nginx.conf names its instances in another way"  # noqa: S101
    text = text.replace("listen 443 ssl;", f"listen {listen};")
    text = text.replace("/var/log/nginx/access.log plain", "off").replace("/run/", f"{folder}/")
    kinds = ("proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    own = f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
    return own + text.replace("http {\n", f"http {{\n{paths}", 1)


def without_tls(text: str) -> str:
    """The same without certificates."""
    return re.sub(r"\n *ssl_[^\n]*", "", text)


def with_tls(text: str, certificate: Path, key: Path) -> str:
    """The same with a certificate that is at hand."""
    ours = {"pem": certificate, "key": key}
    return re.sub(r"/etc/nginx/cds\.example\.org\.(pem|key)", lambda found: str(ours[found[1]]), text)


@contextmanager
def nginx(services: Sequence[Address], pair: tuple[Path, Path] | None = None) -> Iterator[Address]:
    """Run nginx on a free port, with TLS when there are a certificate and its key; gives its address."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: Address = probe.getsockname()
        probe.close()
        file = Path(name) / "nginx.conf"
        text = written_for(Path(name), f"127.0.0.1:{address[1]}{' ssl' if pair else ''}", services)
        file.write_text(with_tls(text, *pair) if pair else without_tls(text), encoding="utf-8")
        command = [NGINX or "nginx", "-e", f"{name}/error.log", "-c", str(file)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                _await(address, process)
                yield address
            finally:
                process.terminate()


def _await(address: Address, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        try:
            socket.create_connection(address, 1).close()
        except OSError:
            assert process.poll() is None, "nginx did not start"  # noqa: S101
            time.sleep(0.1)
        else:
            return
