"""The floor: a bare Flask route that parses the same body and returns a constant card."""

from __future__ import annotations

import orjson
from flask import Flask, Response, request

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
