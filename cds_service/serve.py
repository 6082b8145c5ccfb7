"""The production server: gunicorn with threads, one line on stdout, everything else on stderr."""

from __future__ import annotations

import gc
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.http import errors

from cds_service.app import answer_broken_body, create_app
from cds_service.settings import Settings
from cds_service.worker import Worker, close_when_draining

_METRICS = "PROMETHEUS_MULTIPROC_DIR"


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn, configured from the settings."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; gunicorn calls the two methods below."""
        self.settings = settings
        super().__init__()

    def run(self) -> None:
        """Serve until told to end; several workers count in one folder of their own (prometheus_client)."""
        if self.settings.workers > 1 and _METRICS not in os.environ:
            os.environ[_METRICS] = folder = tempfile.mkdtemp(prefix="cds-service-metrics-")
            # Not when this call ends: it ends in every worker as well.
            self.cfg.set("on_exit", lambda _: shutil.rmtree(folder, ignore_errors=True))
        super().run()

    def load_config(self) -> None:
        """Threads for requests that wait, the app loaded once before the workers fork."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        options: dict[str, Any] = {
            "bind": f"{host}:{self.settings.port}",
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "worker_class": Worker,
            "preload_app": True,
            "graceful_timeout": math.ceil(self.settings.drain_ms / 1000) + 5,
            "timeout": 30,
            "keepalive": 75,  # longer than proxies keep idle connections, so that it is they who hang up
            "pre_request": close_when_draining,
            "child_exit": forget_metrics,
            "control_socket_disable": True,  # would be written under $HOME, which may be read-only
            "loglevel": "warning",
            "when_ready": announce,
        }
        if Path("/dev/shm").is_dir():  # noqa: S108 - heartbeat files of gunicorn, no data of ours
            options["worker_tmp_dir"] = "/dev/shm"  # noqa: S108
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application, its start-up objects set aside from garbage collection.

        A request parses thousands of objects and drops them all; with the default thresholds that makes the
        collector walk every loaded model again and again, which costs more than the request itself. What it is
        needed for is a few objects a request (the router of Werkzeug leaves a cycle), so it runs every few thousand.
        """
        app = create_app(settings=self.settings)
        app.register_error_handler(errors.ParseException, answer_broken_body)  # met while a chunked body is read
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        return app


def forget_metrics(_: Any, worker: Worker) -> None:
    """What a worker that has ended was doing no longer counts as being done."""
    if _METRICS in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def announce(server: Any) -> None:
    """Say where the service listens, once it does."""
    host, port = server.LISTENERS[0].sock.getsockname()[:2]
    sys.stdout.write(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}\n")
    sys.stdout.flush()
