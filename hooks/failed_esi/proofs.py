"""Which worked cases prove which rule: the members `proves` of cases.toml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hooks.failed_esi.toml_files import read_toml


@dataclass(frozen=True, slots=True)
class Proofs:
    """Names of worked cases by the rule or row that they prove."""

    by_rule: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: Path) -> Proofs:
        """Read cases.toml. Raises KnowledgeError."""
        by_rule: dict[str, tuple[str, ...]] = {}
        for case in read_toml(path)["case"]:
            for rule in case.get("proves", ()):
                by_rule[rule] = (*by_rule.get(rule, ()), case["name"])
        return cls(by_rule)

    def of(self, rules: Iterable[str]) -> tuple[str, ...]:
        """The cases that name any of these rules or rows, each once."""
        return tuple(dict.fromkeys(case for rule in rules for case in self.by_rule.get(rule, ())))
