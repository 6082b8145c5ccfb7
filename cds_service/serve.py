"""The production server: gunicorn with threads, one line on stdout, everything else on stderr."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from cds_service.app import create_app
from cds_service.settings import Settings


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn, configured from the settings."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; gunicorn calls the two methods below."""
        self.settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Threads for requests that wait, the app loaded once before the workers fork."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        options: dict[str, Any] = {
            "bind": f"{host}:{self.settings.port}",
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "worker_class": "gthread",
            "preload_app": True,
            "graceful_timeout": 5,
            "timeout": 30,
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
        collector walk every loaded model again and again, which costs more than the request itself.
        """
        app = create_app(settings=self.settings)
        gc.collect()
        gc.freeze()
        gc.set_threshold(500_000, 20, 100)
        return app


def announce(server: Any) -> None:
    """Say where the service listens, once it does."""
    host, port = server.LISTENERS[0].sock.getsockname()[:2]
    sys.stdout.write(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}\n")
    sys.stdout.flush()
