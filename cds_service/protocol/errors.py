"""Every answer that is not 200, as a FHIR OperationOutcome: what, where, why and what to do.

    CdsError
     ├─ BadRequest            400  a member is missing or of the wrong type
     │   └─ StrippedRequest   400  the EHR emptied the call: a mistake in its set-up
     ├─ Unauthorized          401  no client's token; which part of it is wrong is not told
     ├─ UnknownService        404
     ├─ EvidenceNotAvailable  412  required data is neither sent nor reachable
     ├─ EvidenceTruncated     412  required data is cut short, and what there is shows nothing
     ├─ BodyTooLarge          413
     ├─ NotJson               415
     ├─ UnusableContent       422  well-formed, but it cannot be answered
     │   ├─ ForeignPatient    422  something in the request is about somebody else
     │   └─ UnservedFhirVersion
     │                        422  written in a version of FHIR that is not served
     ├─ TooManyCalls          429  this client asks more than it may
     ├─ Busy                  503  all clients together ask more than can be answered in time
     ├─ NotReady              503  a health check fails, or the process is going away
     ├─ NotRecorded           503  the ledger cannot be written, and nothing leaves unrecorded
     └─ NotRemembered         503  which tokens were used cannot be told, so none is taken

An error names members and keys, never their values: values may be patient data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class CdsError(Exception):
    """An answer to the caller; subclasses give the HTTP status and the FHIR issue type."""

    status = 500
    issue_type = "exception"
    retry_after = 0  # seconds; 0 when another try does not help

    def __init__(self, text: str, *, where: str = "", advice: str = "") -> None:
        """`text` says what and why, `where` the member at fault, `advice` what to do."""
        super().__init__(text)
        self.text = text
        self.where = where
        self.advice = advice

    def operation_outcome(self) -> dict[str, Any]:
        """The response body."""
        return operation_outcome(self.issue_type, self.text, where=self.where, advice=self.advice)


class BadRequest(CdsError):
    """A member of the request is missing or of the wrong type."""

    status = 400
    issue_type = "structure"


class StrippedRequest(BadRequest):
    """The EHR fired the hook without what the service needs, as it does when its set-up does not fit."""

    issue_type = "required"

    def __init__(self, where: str) -> None:
        """`where` is the member without which there is nothing to read."""
        super().__init__(
            f"The call came without {where}: this looks like a mistake in the set-up at the EHR.",
            where=where,
            advice="Compare the address of the service with the registered one, letter by letter, and see that the "
            "registration holds the APIs of every prefetch key and, for draft orders, the (Unsigned Order) ones.",
        )


class Unauthorized(CdsError):
    """The call carries no token of a client. Nobody is told why (CDS Hooks best practice)."""

    status = 401
    issue_type = "login"

    def __init__(self) -> None:
        """The same for every token."""
        super().__init__("This service answers its registered clients only.")


class UnknownService(CdsError):
    """No service of that id."""

    status = 404
    issue_type = "not-found"


class BodyTooLarge(CdsError):
    """The request body exceeds the limit."""

    status = 413
    issue_type = "too-long"


class NotJson(CdsError):
    """The body is declared as something other than plain JSON."""

    status = 415
    issue_type = "not-supported"


class UnusableContent(CdsError):
    """Well-formed, but it cannot be answered."""

    status = 422
    issue_type = "invalid"


class ForeignPatient(UnusableContent):
    """Something in the request is not shown to be about the patient in context: nothing is evaluated."""

    issue_type = "security"

    def __init__(self, where: str) -> None:
        """`where` names the member of the request, never an identifier."""
        super().__init__(
            "A resource in the request is not shown to belong to the patient in context; nothing was evaluated.",
            where=where,
            advice="Send only resources whose subject is context.patientId.",
        )


class UnservedFhirVersion(UnusableContent):
    """The request is written in a FHIR version before R4: nothing is evaluated."""

    issue_type = "not-supported"

    def __init__(self, where: str, version: str) -> None:
        """`where` names the member that shows it."""
        super().__init__(
            f"This is FHIR {version}. This service reads FHIR R4 (4.0.1) only; nothing was evaluated.",
            where=where,
            advice="Register the service for FHIR R4 at the EHR. The public CDS Hooks Sandbox starts with a DSTU2 "
            "server; its parameter fhirServiceUrl names another one, such as https://r4.smarthealthit.org.",
        )


class EvidenceNotAvailable(CdsError):
    """A required prefetch key can neither be read nor fetched (CDS Hooks: 412)."""

    status = 412
    issue_type = "required"

    def __init__(self, key: str, template: str, *, was_sent: bool, server: str = "") -> None:
        """`template` is the query that would answer the key, `server` what the FHIR server had to do with it."""
        why = "was sent but holds no readable answer" if was_sent else "was not sent"
        super().__init__(
            f"Prefetch key '{key}' {why}{server}, and without it there is no safe answer.",
            where=f"prefetch.{key}",
            advice=f"Send prefetch.{key} with the result of {template}.",
        )


class EvidenceTruncated(CdsError):
    """A required history is cut short and what was read shows no finding (CDS Hooks: 412)."""

    status = 412
    issue_type = "incomplete"

    def __init__(self, key: str) -> None:
        """`key` is the prefetch key whose history was cut short."""
        super().__init__(
            f"Prefetch key '{key}' holds only a part of the history, and nothing in that part is enough "
            "to answer: a history that was cut short is not an empty one.",
            where=f"prefetch.{key}",
            advice=f"Send all pages under prefetch.{key}.",
        )


class TooManyCalls(CdsError):
    """The client asks more than it may; others are not affected."""

    status = 429
    issue_type = "throttled"

    def __init__(self, how: str, *, retry_after: int) -> None:
        """`how` says which limit it is, `retry_after` in how many seconds another call is taken."""
        super().__init__(
            f"This client makes more calls {how} than it may.",
            where="client",
            advice="Send it again after the seconds of Retry-After; the operator of this service sets the limit.",
        )
        self.retry_after = retry_after


class Busy(CdsError):
    """There is more to do than can be answered in time: nothing was read."""

    status = 503
    issue_type = "throttled"
    retry_after = 1  # seconds

    def __init__(self) -> None:
        """Nothing about the request is at fault."""
        super().__init__(
            "The service is too busy to answer in time; nothing was evaluated.",
            where="service",
            advice="Send it again after the seconds of Retry-After.",
        )


class NotReady(CdsError):
    """This process should not get calls."""

    status = 503
    issue_type = "transient"
    retry_after = 1  # seconds

    def __init__(self, failed: Sequence[str]) -> None:
        """`failed` names the checks."""
        super().__init__(
            f"Not ready: {', '.join(failed)}.",
            where="service",
            advice="Send calls to another instance; the README says what each check is about.",
        )


class NotRecorded(CdsError):
    """The ledger cannot be written: what is not on record is not answered, and no report is confirmed."""

    status = 503
    issue_type = "transient"
    retry_after = 5  # seconds

    def __init__(self) -> None:
        """Nothing about the request is at fault."""
        super().__init__(
            "Nothing can be recorded now, and this service answers nothing that is not on record.",
            where="ledger",
            advice="Try again; /readyz tells when the ledger can be written.",
        )


class NotRemembered(CdsError):
    """It cannot be told which tokens were used: none is taken that could be a used one."""

    status = 503
    issue_type = "transient"
    retry_after = 5  # seconds

    def __init__(self) -> None:
        """Told to holders of a good token alone."""
        super().__init__(
            "Which tokens were used cannot be told right now, and one that was is not taken again.",
            where="Authorization",
            advice="Try again with a fresh token.",
        )


def operation_outcome(issue_type: str, text: str, *, where: str = "", advice: str = "") -> dict[str, Any]:
    """Build an OperationOutcome with one error; absent parts are left out."""
    issue: dict[str, Any] = {"severity": "error", "code": issue_type, "details": {"text": text}}
    if where or advice:
        issue["diagnostics"] = " ".join(part for part in (f"{where}:" if where else "", advice) if part)
    if where:
        issue["expression"] = [where]
    return {"resourceType": "OperationOutcome", "issue": [issue]}
