"""The floor: a bare Flask route that parses the same body and returns a constant card."""

from __future__ import annotations

import orjson
from flask import Flask, Response, request
from gunicorn.workers.gthread import ThreadWorker

from cds_service import serve
from cds_service.settings import Settings

CARD = orjson.dumps(
    {
        "cards": [
            {
                "uuid": "6b1c9d7a-3b0e-4a8e-8f5d-2b6a3f1c9d10",
                "summary": "A constant card",
                "indicator": "info",
                "source": {"label": "floor"},
            }
        ]
    }
)


def create_app() -> Flask:
    """The application."""
    app = Flask("floor", static_folder=None)

    @app.post("/cds-services/floor")
    def call() -> Response:
        orjson.loads(request.get_data(cache=False))
        return Response(CARD, content_type="application/json")

    return app


class Server(serve.Server):
    """The same server with the same settings, but gunicorn's own worker: the floor has no queue to keep short."""

    def load_config(self) -> None:
        """As the service, but for the worker."""
        super().load_config()
        self.cfg.set("worker_class", ThreadWorker)
        self.cfg.set("pre_request", lambda worker, request: None)

    def load(self) -> Flask:
        """The application of the floor, treated as the service's is."""
        serve.create_app = lambda settings: create_app()
        return super().load()


if __name__ == "__main__":
    Server(Settings(port=0)).run()
