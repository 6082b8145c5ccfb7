"""Whole words that stand for a concept where no code does (words.toml)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_LEVEL = r"(?<![a-z0-9.])[ctls]\d{1,2}(?:\s?[-/]\s?[ctls]?\d{1,2})?(?![\w.])"
_NEVER = re.compile(r"(?!)")
_TOKEN = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class WordRule:
    """A text matches when each group has a word in it, after the exceptions were taken out, and no `none` word."""

    groups: tuple[re.Pattern[str], ...]
    none: re.Pattern[str]
    exceptions: re.Pattern[str]

    def matches(self, text: str) -> bool:
        """Whether the rule holds for a lower-case text."""
        if self.exceptions is not _NEVER:
            text = self.exceptions.sub(" ", text)
        return all(group.search(text) for group in self.groups) and not self.none.search(text)


@dataclass(frozen=True, slots=True)
class Words:
    """All word rules: concepts by name, and kinds of order in the order of their search."""

    concepts: Mapping[str, WordRule]
    kinds: Mapping[str, WordRule]
    triggers: frozenset[str]

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Words:
        """Compile the rules of words.toml."""
        return cls(
            concepts={name: _rule(rule) for name, rule in table.items() if name != "kind"},
            kinds={name: _rule(rule) for name, rule in table["kind"].items()},
            triggers=first_tokens(
                word
                for rule in (*table["kind"].values(), *(table[name] for name in _RELEVANT))
                for word in rule["all"][0]
            ),
        )

    def mean(self, concept: str, *texts: str) -> bool:
        """Whether one of the texts holds the words of a concept."""
        rule = self.concepts[concept]
        return any(rule.matches(text.lower()) for text in texts if text)

    def kind(self, text: str) -> str | None:
        """The first kind of order whose words are in the text."""
        lower = text.lower()
        return next((kind for kind, rule in self.kinds.items() if rule.matches(lower)), None)


# The concepts that make a resource relevant by its words; the others only qualify what is already relevant.
_RELEVANT = ("esi-text", "esi-acronym", "ligament-hypertrophy", "focal-pain", "benzodiazepine", "muscle-strength")


def first_tokens(words: Iterable[str]) -> frozenset[str]:
    """The first letters-and-digits token of each word or phrase."""
    return frozenset(tokens[0] for word in words if (tokens := _TOKEN.findall(word.lower())))


def has_token(tokens: frozenset[str], text: str) -> bool:
    """Whether a text has one of these tokens: quick, and never false where a phrase that starts so is there."""
    return not tokens.isdisjoint(_TOKEN.findall(text.lower()))


@lru_cache(maxsize=256)
def word_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that finds any of the words, whole; "(level)" is a vertebral level."""
    if not words:
        return _NEVER
    return re.compile("|".join(_LEVEL if word == "(level)" else _whole(word) for word in words))


def _rule(table: Mapping[str, Any]) -> WordRule:
    return WordRule(
        groups=tuple(word_pattern(tuple(group)) for group in table["all"]),
        none=word_pattern(tuple(table.get("none", ()))),
        exceptions=word_pattern(tuple(table.get("except", ()))),
    )


def _whole(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"
