"""A FHIR server as a tester uses it: write one transaction, read queries to their last page, say what went wrong.

The service itself asks through fhir/server.py, which keeps a deadline and follows nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import orjson
import requests

from cds_service.fhir.evidence import next_page, objects
from cds_service.outbound import open_session
from cds_service.trust.fhir_servers import is_below

Resource = Mapping[str, Any]

_HEADERS = {"Accept": "application/fhir+json", "Content-Type": "application/fhir+json", "User-Agent": "cds-service"}
_TIMEOUT = 60  # seconds; a server with an empty cache takes its time for the first transaction
_PAUSE = 2.0  # between two looks at a server that is still starting
_MOST_PAGES = 100


class FhirError(Exception):
    """The FHIR server did not do what was asked; the message says which query, why, and what to do."""


class FhirRefusal(FhirError):
    """The server is there and said no, with this HTTP status if it gave one."""

    def __init__(self, text: str, status: int | None = None) -> None:
        """Keep the status: of some refusals another try is worth while."""
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class FhirClient:
    """One FHIR server, by its base URL. Raises FhirError when that is no plain http(s) address."""

    base: str
    _session: requests.Session = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Take the base as it is written, without a trailing slash."""
        object.__setattr__(self, "base", self.base.rstrip("/"))
        if not is_below(self.base, self.base):
            raise FhirError("not a FHIR base URL; write it as https://ehr.example.org/fhir/R4, without user or query.")
        object.__setattr__(self, "_session", open_session(self.base))

    def wait(self, seconds: float) -> None:
        """Wait until the server tells what it can do, or the time is over; what is asked next says the rest."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                self._ask("GET", f"{self.base}/metadata")
            except FhirError:
                time.sleep(_PAUSE)
            else:
                return

    def transact(self, bundle: Resource) -> Resource:
        """Write a transaction; all of it or nothing."""
        return self._ask("POST", self.base, orjson.dumps(bundle))

    def read(self, query: str) -> Resource:
        """The answer to a query, a search with all its pages in one Bundle."""
        answer = self._ask("GET", f"{self.base}/{query}")
        if answer.get("resourceType") != "Bundle":
            return answer
        entries, seen = list(objects(answer.get("entry"))), set[str]()
        page: Resource = answer
        while (link := self._next(page)) and link not in seen and len(seen) < _MOST_PAGES:
            seen.add(link)
            page = self._ask("GET", link)
            entries += objects(page.get("entry"))
        links = [item for item in objects(answer.get("link")) if item.get("relation") == "self"]
        rest = {name: value for name, value in answer.items() if name not in {"entry", "link"}}
        return {**rest, **({"link": links} if links else {}), **({"entry": entries} if entries else {})}

    def find(self, query: str) -> str | None:
        """The id of the one resource that a search finds. Raises FhirRefusal when there are several."""
        kind = query.partition("?")[0]
        found = [entry.get("resource") for entry in objects(self.read(query).get("entry"))]
        ids = {str(r.get("id")) for r in found if isinstance(r, dict) and r.get("resourceType") == kind}
        if len(ids) > 1:
            raise FhirRefusal(
                f"GET /{kind}: {len(ids)} resources carry the same identifier of ours; delete all but one."
            )
        return next(iter(ids), None)

    def _next(self, page: Resource) -> str | None:
        """The address of the next page. Raises FhirError when it lies elsewhere: part of a chart is no chart."""
        if (link := next_page(page)) is None:
            return None
        url = urljoin(f"{self.base}/", link)
        if not is_below(url, self.base):
            raise FhirError("the next page of a search is not below the base URL; name the server as it names itself.")
        return url

    def _ask(self, method: str, url: str, body: bytes | None = None) -> Resource:
        what = f"{method} {url.removeprefix(self.base).partition('?')[0] or '/'}"
        try:
            response = self._session.request(
                method, url, data=body, headers=_HEADERS, timeout=_TIMEOUT, allow_redirects=False
            )
            answer = response.json()
        except requests.JSONDecodeError:
            raise FhirError(f"{what}: {response.status_code}, not JSON; is this the base URL of FHIR?") from None
        except (requests.RequestException, ValueError) as error:
            raise FhirError(f"{what}: no answer ({type(error).__name__}); is the server running?") from None
        if not isinstance(answer, dict) or response.status_code not in {200, 201}:
            raise FhirRefusal(f"{what}: {response.status_code}: {outcome_text(answer)}", response.status_code)
        return answer


def outcome_text(body: object) -> str:
    """What an OperationOutcome says, in one line."""
    issues = objects(body.get("issue")) if isinstance(body, dict) else []
    texts = [f"{_details(issue)} {issue.get('diagnostics') or ''}".strip() for issue in issues]
    return " ".join(filter(None, texts)) or "no OperationOutcome says why; the log of the server may."


def _details(issue: Resource) -> str:
    details = issue.get("details")
    return str(details.get("text") or "") if isinstance(details, dict) else ""
