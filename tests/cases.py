"""Worked cases (hooks/failed_esi/cases.toml) as hook requests: plain facts on one side, FHIR on the other."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hooks.failed_esi import knowledge
from tests import chart

CASES = Path(knowledge.__file__).parent / "cases.toml"

# What is done or ordered, by the names that cases use.
CODES = {
    "transforaminal": "64483",
    "transforaminal, further level": "64484",
    "neck transforaminal": "64479",
    "interlaminar": "62323",
    "interlaminar, no guidance": "62322",
    "neck interlaminar": "62321",
    "lumbar catheter": "62326",
    "labour analgesia": "01967",
    "spinal chemotherapy": "96450",
    "lumbar MRI": "72148",
    "neck MRI": "72141",
    "lumbar facet block": "64493",
    "neck facet block": "64490",
    "sacroiliac block": "27096",
    "lumbar ablation": "64635",
    "neck ablation": "64633",
    "sacroiliac ablation": "64625",
    "basivertebral ablation": "64628",
    "stimulator trial": "63650",
    "stimulator implant": "63685",
    "percutaneous decompression": "0275T",
    "discectomy": "63030",
    "laminectomy": "63047",
    "lumbar fusion": "22633",
    "neck fusion": "22551",
    "exercise": "97110",
    "platelet product": "0232T",
    "blood test": "83036",
}
SCORES = {
    "pain": ("72514-3", "{score}", chart.LOINC),
    "vas": ("38214-3", "mm", chart.LOINC),
    "odi": ("97909-6", "%", chart.LOINC),
    "ndi": ("82237-9", "{score}", chart.LOINC),
    "peg": ("91147-9", "{score}", chart.LOINC),
    "roland_morris": ("roland-morris", "{score}", chart.LOCAL),
    "promis_interference": ("77865-4", "{score}", chart.LOINC),
    "promis_function": ("77866-2", "{score}", chart.LOINC),
    "faces": ("38221-8", "{score}", chart.LOINC),
    "hba1c": ("4548-4", "%", chart.LOINC),
}
# How an earlier session went, by the names that cases use: days since it, and pain on days counted from it.
AFTER = {
    "failure": (60, {-1: 8, 14: 8}),
    "partial relief": (60, {-1: 8, 14: 5}),
    "no score": (60, {}),
    "relief so far": (60, {-1: 8, 14: 2}),
    "lasting relief": (120, {-1: 8, 90: 2}),
    "too early": (10, {-1: 8}),
}
OUTCOMES = {"successful": "385669000", "partial": "385670004", "unsuccessful": "385671000"}
DEFAULT_ORDER = {"order": "transforaminal", "side": "left", "level": "L5-S1"}
RADICULAR = ({"has": "M51.16", "since": date(2025, 8, 5)}, {"has": "M54.16", "since": date(2025, 8, 5)})


@dataclass(frozen=True)
class Case:
    """One worked case: a chart, an order, a day, and what must come out."""

    name: str
    table: Mapping[str, Any]

    @property
    def today(self) -> date:
        """The day on which the order is picked."""
        return self._date(self.table["today"])

    @property
    def profile(self) -> str:
        """The policy profile in force."""
        return str(self.table.get("profile", "policy"))

    @property
    def proves(self) -> tuple[str, ...]:
        """The rules that the case proves."""
        return tuple(self.table.get("proves", ()))

    @property
    def nearly(self) -> tuple[str, ...]:
        """The rules that just do not hold."""
        return tuple(self.table.get("nearly", ()))

    @property
    def expect(self) -> Mapping[str, Any]:
        """What must come out; what is not named must be absent."""
        return self.table["expect"]

    def request(self) -> dict[str, Any]:
        """The hook request."""
        orders = self.table.get("order", DEFAULT_ORDER)
        orders = orders if isinstance(orders, list) else [orders]
        drafts = tuple(self._draft(order, f"d{number}") for number, order in enumerate(orders, start=1))
        others = tuple(self._draft(order, f"x{n}") for n, order in enumerate(self.table.get("also_drafted", ())))
        return chart.hook_request(
            *self._resources(),
            drafts=(*drafts, *others),
            selections=[f"{draft['resourceType']}/{draft['id']}" for draft in drafts],
            person=self._person(),
            not_sent=self.table.get("not_sent", ()),
        )

    def _person(self) -> dict[str, Any]:
        if "age" in self.table and self.table["age"] == "unknown":
            return {"resourceType": "Patient", "id": chart.PATIENT_ID}
        born = self.today.replace(year=self.today.year - self.table.get("age", 54))
        return chart.patient((born - timedelta(days=self.table.get("days_older", 100))).isoformat())

    @property
    def _day_zero(self) -> date:
        """The day from which days are counted: as stated, else that of the session that `after` tells of."""
        if "day_zero" in self.table:
            return self.table["day_zero"]
        days, _ = AFTER[self.table["after"]]
        return self.today - timedelta(days=self.table.get("days_ago", days))

    def _date(self, value: Any) -> date:
        """A date, or the number of days after day zero."""
        return value if isinstance(value, date) else self._day_zero + timedelta(days=value)

    def _when(self, fact: Mapping[str, Any], name: str = "on") -> str:
        """When a fact happened; a text is kept as it is, for months and years."""
        if "ago" in fact:
            return (self.today - timedelta(days=fact["ago"])).isoformat()
        value = fact.get(name, fact.get("day", ""))
        return value if isinstance(value, str) else self._date(value).isoformat()

    def _resources(self) -> Iterator[dict[str, Any]]:
        facts = [*self._session_before(), *self.table.get("chart", ())]
        is_told = "after" in self.table or not any("has" in fact for fact in facts)
        if is_told and not self.table.get("no_diagnosis"):
            facts += RADICULAR
        for number, fact in enumerate(facts, start=1):
            yield from self._fact(fact, f"r{number}")

    def _session_before(self) -> Iterator[dict[str, Any]]:
        """The left L5-S1 session that `after` tells of, with its scores."""
        if "after" in self.table:
            _, scores = AFTER[self.table["after"]]
            yield {"day": 0, "did": "transforaminal", "side": "left", "level": "L5-S1"}
            yield from ({"day": day, "pain": pain} for day, pain in scores.items())

    def _fact(self, fact: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
        if "did" in fact:
            yield from self._procedure(fact, name)
        elif "has" in fact:
            yield self._condition(fact, name)
        elif "therapy" in fact:
            because = {"reasonCode": [chart.coded(chart.ICD, fact["because"])]} if "because" in fact else {}
            first, last = self._date(fact["from"]).isoformat(), self._date(fact["to"]).isoformat()
            yield chart.therapy(first, last, name, **because)
        elif "drug" in fact:
            yield self._drug(fact, name)
        elif "ordered" in fact:
            yield self._ordered(fact, name)
        elif "relief" in fact:
            yield chart.percent_relief(fact["relief"], self._when(fact), name, fact.get("about", ""))
        elif "payer" in fact:
            beneficiary = {"reference": f"Patient/{chart.PATIENT_ID}"}
            payor = [{"display": fact["payer"]}]
            yield {"resourceType": "Coverage", "id": name, "beneficiary": beneficiary, "payor": payor}
        elif "allergy" in fact:
            patient = {"reference": f"Patient/{chart.PATIENT_ID}"}
            substance = {"text": fact["allergy"]}
            yield {"resourceType": "AllergyIntolerance", "id": name, "patient": patient, "code": substance}
        elif "strength" in fact:
            muscle = {"text": f"muscle strength {fact['muscle']}"}
            yield {**chart.score(fact["strength"], self._when(fact), name, site=""), "code": muscle}
        else:
            yield self._score(fact, name)

    def _procedure(self, fact: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
        name = fact.get("id", name)
        more: dict[str, Any] = {}
        if "with" in fact:
            more["usedCode"] = [{"text": fact["with"]}]
        if "outcome" in fact:
            more["outcome"] = chart.coded(chart.SNOMED, OUTCOMES[fact["outcome"]])
        if "reason" in fact:
            more["reasonCode"] = [{"text": fact["reason"]}]
        if "because" in fact:
            more["reasonCode"] = [chart.coded(chart.ICD, fact["because"])]
        when = self._when(fact)
        if "because_of" in fact:
            more["reasonCode"] = [chart.coded(chart.ICD, code) for code in fact["because_of"]]
        yield chart.procedure(
            CODES.get(fact["did"], ""),
            when,
            name,
            text=fact.get("text", "") or ("" if fact["did"] in CODES else fact["did"]),
            side=fact.get("side", ""),
            level=fact.get("level", ""),
            status=fact.get("status", "completed"),
            **more,
        )
        if "relief" in fact:
            on = self._date(fact["relief_on"]).isoformat() if "relief_on" in fact else when
            yield chart.percent_relief(fact["relief"], on, f"{name}-relief", name)

    def _condition(self, fact: Mapping[str, Any], name: str) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if fact.get("severity") == "severe":
            more["severity"] = chart.coded(chart.SNOMED, "24484000")
        if "recorded" in fact:
            more["recordedDate"] = self._date(fact["recorded"]).isoformat()
        if "recorded_ago" in fact:
            more["recordedDate"] = (self.today - timedelta(days=fact["recorded_ago"])).isoformat()
        condition = chart.condition(fact["has"], self._when(fact, "since"), name, **more)
        condition["code"] |= {"text": fact["text"]} if "text" in fact else {}
        if fact.get("resolved"):
            condition["clinicalStatus"] = {"coding": [{"code": "resolved"}]}
        if fact.get("refuted"):
            condition["verificationStatus"] = {"coding": [{"code": "refuted"}]}
        return condition

    def _drug(self, fact: Mapping[str, Any], name: str) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if "from" in fact:
            first, last = self._date(fact["from"]), self._date(fact["to"])
            more["dispenseRequest"] = {"validityPeriod": {"start": first.isoformat(), "end": last.isoformat()}}
        if fact.get("intolerant"):
            more["statusReason"] = {"text": "intolerance"}
        authored = self._when(fact) or self._when(fact, "from")
        status = fact.get("status", "stopped" if "from" in fact else "active")
        return chart.medication(fact["drug"], name, status=status, authored=authored, **more)

    def _ordered(self, fact: Mapping[str, Any], name: str) -> dict[str, Any]:
        what, authored = fact["ordered"], self._when(fact)
        more: dict[str, Any] = {"status": fact.get("status", "active")}
        if fact.get("not_to_be_done"):
            more["doNotPerform"] = True
        if "at" in fact:
            more["bodySite"] = [{"text": fact["at"]}]
        if what in CODES:
            return chart.service_request(CODES[what], name, authored=authored, **more)
        if what.lower().startswith("refer"):
            order = chart.service_request("", name, authored=authored, **more)
            return {**order, "code": {"text": what}}
        return chart.medication(what, name, authored=authored, **more)

    def _score(self, fact: Mapping[str, Any], name: str) -> dict[str, Any]:
        (scale,) = fact.keys() & SCORES.keys()
        code, unit, system = SCORES[scale]
        more: dict[str, Any] = {}
        if fact.get("after_procedure"):
            more["note"] = [{"text": "post-procedure"}]
        if "part_of" in fact:
            more["partOf"] = [{"reference": f"Procedure/{fact['part_of']}"}]
        site = fact.get("at", "leg" if scale in {"pain", "vas"} else "")
        unit = fact.get("unit", unit)
        return chart.score(
            fact[scale], self._when(fact), name, site=site, code=code, unit=unit, system=system,
            status=fact.get("status", "final"), **more,
        )  # fmt: skip

    def _draft(self, order: Mapping[str, Any], name: str) -> dict[str, Any]:
        because = {"reasonCode": [chart.coded(chart.ICD, order["because"])]} if "because" in order else {}
        if "drug" in order:
            return chart.medication(order["drug"], name, status="draft", **because)
        made = chart.draft(
            CODES.get(order.get("order", ""), ""),
            name,
            text=order.get("text", ""),
            side=order.get("side", ""),
            level=order.get("level", ""),
        )
        if "priority" in order:
            made["priority"] = order["priority"]
        if "at" in order:
            made["bodySite"] = [{"text": order["at"]}]
        return {**made, **because}


def read_cases() -> tuple[Case, ...]:
    """All worked cases."""
    tables = tomllib.loads(CASES.read_text(encoding="utf-8"))["case"]
    return tuple(Case(table["name"], table) for table in tables)
