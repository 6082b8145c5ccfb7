"""What the FHIR server of one call was asked and answered: kept while it is asked, given again without a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cds_service.fhir.evidence import NOT_AVAILABLE, Answer, Connect, Search


class Recorder:
    """Stands between one call and the FHIR server that it names; itself a Search."""

    def __init__(self, connect: Connect) -> None:
        """`connect` gives the server that may be asked."""
        self._connect = connect
        self._search: Search | None = None
        self.server: str | None = None  # base URL, once there is one to ask
        self.answers: dict[str, Answer] = {}
        self.continued: frozenset[str] = frozenset()  # the keys of which only further pages were asked

    def connect(self, base: str | None, token: str | None) -> Search | None:
        """The server of the call; None when none may be asked."""
        self._search = self._connect(base, token)
        self.server = base if self._search else None
        return self if self._search else None

    def ask(self, queries: Mapping[str, str]) -> Mapping[str, Answer]:
        """Ask, and keep the answers."""
        return self._kept(self._search.ask(queries) if self._search else {})

    def complete(self, answers: Mapping[str, Answer]) -> Mapping[str, Answer]:
        """Ask for further pages, and keep the answers."""
        completed = self._kept(self._search.complete(answers) if self._search else {})
        self.continued |= completed.keys()
        return completed

    def _kept(self, answers: Mapping[str, Answer]) -> Mapping[str, Answer]:
        self.answers.update(answers)
        return answers


@dataclass(frozen=True, slots=True)
class Recorded:
    """A Search that gives again what was answered once."""

    answers: Mapping[str, Answer]

    def ask(self, queries: Iterable[str]) -> Mapping[str, Answer]:
        """The answers of then; what was not asked then is not available."""
        return {key: self.answers.get(key, NOT_AVAILABLE) for key in queries}

    def complete(self, answers: Iterable[str]) -> Mapping[str, Answer]:
        """The answers of then with their further pages, where these were asked for."""
        return {key: self.answers[key] for key in answers if key in self.answers}


def read_recorded(members: Mapping[str, Any]) -> Answer:
    """An answer from the JSON of its fields."""
    return Answer(**{**members, "unreadable": tuple(members["unreadable"])})


def outcome_of(answer: Answer) -> str:
    """How a query ended, in a word or two of a closed set."""
    if not answer.is_available:
        return "not available"
    if answer.is_truncated or answer.is_partial or answer.missing:
        return "incomplete"
    return "found" if answer.by_type else "none found"
