"""The Postman collection, made from the OpenAPI description: python -m tests.postman writes docs/postman.json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import orjson

import tests.data_folder  # noqa: F401 - before anything reads the settings
from cds_service.app import create_app
from cds_service.settings import Settings
from tests.conftest import TODAY
from tests.generated import ROOT

Json = dict[str, Any]

PATH = ROOT / "docs/postman.json"
_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_ID = "5d0f6a0e-7c53-5b0e-9a52-0c7e5a7f6d10"
_DESCRIPTION = f"""\
Made from `GET /openapi.json`. Set `baseUrl` to the address of the service.

The people are invented. Before a request is sent, the days of its story are set so that it ends today; the saved
answers are those of {TODAY}.
"""
_DAY = re.compile(r'(?<=")\d{4}-\d{2}-\d{2}(?=")')
_UUIDS = re.compile(r'"(card|id)": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"')
_HEADERS = [{"key": "Content-Type", "value": "application/json"}]
# Sets {{day-77}} to the day 77 days ago, so that every story ends today.
_DAYS = """\
const days = (pm.request.body && pm.request.body.raw || '').match(/(?<={{)day-\\d+(?=}})/g) || [];
for (const name of days) {
  const day = new Date();
  day.setDate(day.getDate() - Number(name.slice(4)));
  const parts = [day.getFullYear(), day.getMonth() + 1, day.getDate()];
  pm.variables.set(name, parts.map(part => String(part).padStart(2, '0')).join('-'));
}"""

# Keeps the ids of a card, for feedback on it: those of another installation are others.
_KEEP = """\
const card = (pm.response.json().cards || []).find(each => each.suggestions);
if (card) {
  pm.collectionVariables.set('card', card.uuid);
  pm.collectionVariables.set('id', card.suggestions[0].uuid);
}"""


def postman() -> str:
    """The collection: every operation once, and every example of a call with its answer."""
    app = create_app(settings=Settings(log_level="error"), today=lambda: TODAY)
    document = app.test_client().get("/openapi.json").get_json()
    folders = [{"name": tag["name"], "item": list(_items(document, tag["name"]))} for tag in document["tags"]]
    collection = {
        "info": {
            "_postman_id": _ID,
            "name": document["info"]["title"],
            "description": _DESCRIPTION,
            "schema": _SCHEMA,
        },
        "variable": [{"key": "baseUrl", "value": "http://127.0.0.1:8000", "type": "string"}],
        "event": [_script("prerequest", _DAYS)],
        "item": folders,
    }
    return orjson.dumps(collection, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _items(document: Json, tag: str) -> Iterator[Json]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if tag in operation["tags"]:
                calls = list(_calls(path, operation))
                yield from calls or [_item(operation["summary"], "200", _request(method.upper(), path))]


def _calls(path: str, operation: Json) -> Iterator[Json]:
    """One request for every example, with the answer that it gets saved beside it."""
    sent = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
    for status, response in operation["responses"].items():
        for name, answer in response["content"].get("application/json", {}).get("examples", {}).items():
            request = _request("POST", path, sent[name]["value"])
            saved = {
                "name": f"{status} on {TODAY}",
                "originalRequest": request,
                "code": int(status),
                "_postman_previewlanguage": "json",
                "header": _HEADERS,
                "body": _text(answer["value"]),
            }
            yield _item(f"{name}: {answer['summary']}", status, request, saved)


def _item(name: str, status: str, request: Json, *saved: Json) -> Json:
    tests = [f"pm.test('answers {status}', () => pm.response.to.have.status({status}));"]
    for each in saved if not request["url"]["raw"].endswith("/feedback") else ():
        count = len(orjson.loads(each["body"]).get("cards", ()))
        tests.append(
            f"pm.test('cards: {count}', () => pm.expect(pm.response.json().cards || []).to.have.length({count}));"
        )
        tests.append(_KEEP)
    return {"name": name, "event": [_script("test", "\n".join(tests))], "request": request, "response": list(saved)}


def _request(method: str, path: str, body: Json | None = None) -> Json:
    url = {"raw": f"{{{{baseUrl}}}}{path}", "host": ["{{baseUrl}}"], "path": path.strip("/").split("/")}
    if body is None:
        return {"method": method, "header": [], "url": url}
    raw = _DAY.sub(_variable, _text(body))
    if path.endswith("/feedback"):
        raw = _UUIDS.sub(r'"\1": "{{\1}}"', raw)
    return {"method": method, "header": _HEADERS, "url": url, "body": {"mode": "raw", "raw": raw, **_language()}}


def _language() -> Json:
    return {"options": {"raw": {"language": "json"}}}


def _variable(day: re.Match[str]) -> str:
    """The variable for a day of a story, by how long it was before the end."""
    return f"{{{{day-{(TODAY - date.fromisoformat(day[0])) // timedelta(days=1)}}}}}"


def _script(listen: str, text: str) -> Json:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": text.split("\n")}}


def _text(body: Json) -> str:
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def main() -> None:
    """Write the collection."""
    PATH.write_text(postman(), encoding="utf-8")


if __name__ == "__main__":
    main()
