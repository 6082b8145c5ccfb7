"""The production server: gunicorn with threads, one line on stdout, everything else on stderr."""

from __future__ import annotations

import gc
import socket
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from cds_service.app import answer_broken_body, create_app
from cds_service.protocol.errors import operation_outcome
from cds_service.settings import Settings

_REFUSALS = (
    (errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (errors.ParseException, HTTPStatus.BAD_REQUEST),
)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Refuses what is no HTTP in the words of the service; gunicorn would quote it in its answer and its log."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that never reached the application, with an OperationOutcome, and hang up."""
        found = next((status for kind, status in _REFUSALS if isinstance(exc, kind)), None)
        status = found or HTTPStatus.INTERNAL_SERVER_ERROR
        structlog.get_logger().warning("refused", status=int(status), error=type(exc).__name__)
        issue_type = "structure" if found else "exception"
        body = orjson.dumps(operation_outcome(issue_type, f"{status.phrase}.", where="HTTP request"))
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            # The origin was perhaps never read, so that only "any" can be answered.
            *(["Access-Control-Allow-Origin: *"] if "*" in self.app.settings.cors_origins else []),
        ]
        try:
            client.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        except OSError:
            structlog.get_logger().debug("refused", error="client gone")


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
            "worker_class": Worker,
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
        app.register_error_handler(errors.ParseException, answer_broken_body)  # met while a chunked body is read
        gc.collect()
        gc.freeze()
        gc.set_threshold(500_000, 20, 100)
        return app


def announce(server: Any) -> None:
    """Say where the service listens, once it does."""
    host, port = server.LISTENERS[0].sock.getsockname()[:2]
    sys.stdout.write(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}\n")
    sys.stdout.flush()
