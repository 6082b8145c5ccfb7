"""From a decided case to cards, in the words of wording.toml; only names, dates and numbers of ours are filled in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from cds_service.fhir.codes import Coding
from cds_service.fhir.dates import DateSpan, days_between, months_before
from cds_service.fhir.record import PatientRecord
from cds_service.protocol.card import Card, Indicator, Link, NewOrder, Source, Suggestion
from hooks.failed_esi.anatomy import MIDLINE, Coverage, Place
from hooks.failed_esi.cautions import read_on_file
from hooks.failed_esi.decision import Case
from hooks.failed_esi.facts import Done, OrderKind, Outcome, Taken, columns
from hooks.failed_esi.knowledge import Knowledge, local
from hooks.failed_esi.knowledge import Source as SourceRead
from hooks.failed_esi.orders import fits_a_red_flag, is_urgent
from hooks.failed_esi.outcome import Assessment
from hooks.failed_esi.red_flags import Finding
from hooks.failed_esi.scores import Pair
from hooks.failed_esi.tables import Row
from hooks.failed_esi.workup import Workup

# The criteria that a line of a checklist may name.
_NUMBERS = (
    "blocks_needed", "block_relief", "ablation_relief", "sacroiliac_block_relief", "stimulation_primary",
    "stimulation_secondary", "stimulation_trial_relief", "ablation_lasted", "ablations_per_year",
)  # fmt: skip
_COVERAGE_NAMES = {Coverage.CERVICAL_THORACIC: "cervical/thoracic", Coverage.LUMBAR_SACRAL: "lumbar/sacral"}
_NAMED_LEVELS = 2  # a summary has room for so many; more are called by their region
_DRUG_OPTION = "neuropathic-medication"
# What is missing there could turn the finding round, so the card says it first; the rest is named at its end.
_COULD_NEGATE = ("procedures", "observations", "conditions")
_OVERRIDING = ("RED-FLAG", "OTHER-PATHWAY")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a card may lead, when the site says so."""

    page: str | None = None
    emergency: str | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the cards of one case."""

    case: Case
    record: PatientRecord
    today: date
    knowledge: Knowledge
    addresses: Addresses = Addresses()

    def write(self, row: Row) -> Card:
        """The card that a row of a table asks for."""
        name = str(row.card)
        words = {**self._words(), **self._finding_words(row)}
        return Card(
            id=name,
            summary=self.text("cards", name, "summary").format_map(words),
            detail=self._detail(name, row, words),
            indicator=Indicator(str(row.indicator)),
            source=Source(self.text("source", "label").format_map(words), self.addresses.page),
            topic=local(name.replace("-", "").replace(":", ""), self.text("cards", name, "title")),
            links=self._links(name),
            suggestions=tuple(self._suggestions(name, row)),
            override_reasons=tuple(local(code, self.text("override", code)) for code in self._reasons(name)),
        )

    def _reasons(self, name: str) -> Iterable[str]:
        """The codes under which a card may be put aside."""
        reasons: Iterable[str] = self.knowledge.wording["override"]
        return self.knowledge.cards["reasons_on_findings"] if name.startswith(_OVERRIDING) else reasons

    def text(self, *path: str) -> str:
        """A text of wording.toml."""
        found: Any = self.knowledge.wording
        for name in path:
            found = found[name]
        return str(found)

    def _words(self) -> dict[str, str]:
        """Every word that a summary, an advice or a heading may use."""
        case, criteria = self.case, self.knowledge.criteria
        words = {
            "version": self.knowledge.version,
            "status": self.knowledge.status,
            "earliest": str(criteria.earliest_evaluation),
            "count": str(len(case.cap.sessions)),
            "limit": str(case.cap.limit),
            "months": str(case.cap.months),
            "coverage": _COVERAGE_NAMES.get(case.target.place.coverage, "same")
            if case.target.place.coverage
            else "same",
            "region": str(case.target.place.region or "affected"),
            "trial_relief": str(criteria.stimulation_trial_relief),
            "min_gap": str(criteria.min_gap),
        }
        if case.governing:
            words |= self._session_words(case.governing)
        if case.tier.tier:
            words |= {
                "tier": case.tier.tier,
                "tier_name": self.text("tiers", case.tier.tier, "name").lower(),
                "tier_short": self.text("tiers", case.tier.tier, "short"),
            }
        return words

    def _session_words(self, assessment: Assessment) -> dict[str, str]:
        session = assessment.session
        return {
            "place": place_name(session.target.place),
            "date": str(session.days),
            "ago": self._ago(session.days),
            "result": self._result(assessment),
            "unknown": self._unknown(assessment),
            "outcome": self.text("outcomes", str(assessment.outcome)),
        }

    def _ago(self, days: DateSpan) -> str:
        """A day with how long ago it was; a month or a year is only named."""
        if days.day is None:
            return self.text("ago", "imprecise").format(date=days)
        elapsed = days_between(days.day, self.today)
        return self.text("ago", {0: "today", 1: "day"}.get(elapsed, "days")).format(days=elapsed, date=days)

    def _finding_words(self, row: Row) -> dict[str, str]:
        """The weightiest finding behind a red flag or another pathway."""
        met = next((one for one in self.case.met if one.row.id == row.id), None)
        if met is None or not row.card:
            return {}
        calls = self.knowledge.wording["calls"]
        call = calls.get(row.id) or calls.get(row.tier or "", "")
        when = "with" if fits_a_red_flag(self.case.intent, self.knowledge) else "before"
        return {**self._words_of(met.finding), "call": call, "when": self.text("red_flag", when)}

    def _words_of(self, finding: Finding) -> dict[str, str]:
        words = {
            "finding": finding.label,
            "since": str(finding.since or self.text("red_flag", "undated")),
            "after": self._after(finding, "after"),
            "soon_after": self._after(finding, "soon_after"),
        }
        if finding.grades:
            words |= {"before": _number(finding.grades[0]), "after_value": _number(finding.grades[1])}
        return words

    def _after(self, finding: Finding, text: str) -> str:
        if finding.after is None:
            return ""
        return self.text("red_flag", text).format(after_days=finding.after.elapsed, injection=finding.after.days)

    def _links(self, name: str) -> tuple[Link, ...]:
        if name != "RED-FLAG" or not self.addresses.emergency:
            return ()
        return (Link(self.text("red_flags", "link_label"), self.addresses.emergency),)

    def _result(self, assessment: Assessment) -> str:
        """The outcome in a few words: scores, reported relief or what was coded."""
        pair, shown = assessment.shown_pair, assessment.shown
        if pair and shown:
            kind = "t_score" if pair.scale.is_t_score else pair.scale.measures
            return self.text("result", kind).format_map(
                {
                    "scale": pair.scale.short,
                    "before": _number(pair.baseline.value),
                    "after": _number(pair.follow_up.value),
                    "day": shown.day,
                    "percent": _whole(assessment.relief_percent),
                }
            )
        if shown and shown.report:
            percent = _number(shown.report.percent)
            return self.text("result", "reported").format_map({"percent": percent, "day": shown.day})
        if assessment.outcome in {Outcome.SUCCESS, Outcome.PARTIAL, Outcome.FAILED}:
            stated = self.text("stated", str(assessment.outcome))
            return self.text("result", "coded").format_map({"stated": stated})
        return self._unknown(assessment)

    def _unknown(self, assessment: Assessment) -> str:
        reasons = self.knowledge.wording["unknown"]
        reason = assessment.subtype or "no-data"
        if reason == "no-data" and "observations" in self.record.not_read:
            reason = "not-read"
        criteria = self.knowledge.criteria
        words = {"earliest": criteria.earliest_evaluation, "durability_end": criteria.durability_end}
        return str(reasons.get(reason, reasons["no-data"])).format_map(words)

    def _detail(self, name: str, row: Row, words: dict[str, str]) -> str:
        """What was found, what is missing, options, cautions and sources, in this order."""
        has_options = name in self.knowledge.cards["with_options"] and bool(self.case.tier.options)
        sections = [
            self._unread_first(),
            self._section("found", [*self._found(name, words), *self._lines_on_file()]),
            self._section("missing", self._missing(name, row)),
            self.text("advice", row.id if row.id in self.knowledge.wording["advice"] else name).format_map(words),
            self._priority(name),
            self._section("options", list(self._option_lines()) if has_options else []),
            self._tried_and_ordered() if has_options or name == "PATHWAY-IN-PROGRESS" else "",
            self._cautions(name, has_options=has_options),
            self.text("changes", name),
            self._sources(row, has_options),
            self.text("limits", "line"),
        ]
        return "\n\n".join(section for section in sections if section)

    def _lines_on_file(self) -> Iterator[str]:
        """Findings that raise no card of their own: undated, older, or a cancer elsewhere."""
        for line, met in {(one.row.line, one.finding.label): one for one in self.case.met if one.row.line}.items():
            yield self._line(str(line[0]), self._words_of(met.finding))

    def _priority(self, name: str) -> str:
        """What a red flag says on an order that fits it: imaging, referral, decompression."""
        if name != "RED-FLAG":
            return ""
        link = self.text("red_flags", "link").format(url=self.addresses.emergency) if self.addresses.emergency else ""
        lines = []
        if fits_a_red_flag(self.case.intent, self.knowledge):
            lines.append(self.text("red_flags", "fits" if is_urgent(self.case.intent, self.knowledge) else "priority"))
        return "\n\n".join(line for line in [*lines, link] if line)

    def _cautions(self, name: str, *, has_options: bool) -> str:
        """SAFE-1 to SAFE-8, for what is ordered and for what is offered."""
        if name.startswith(_OVERRIDING):
            return ""
        offered = (*self.case.options, *self.case.parallel) if has_options else ()
        on_file = read_on_file(self.case.chart, self.case.target)
        cautions = on_file.cautions([str(self.case.intent.kind), *offered], self.knowledge)
        criteria = self.knowledge.criteria
        words = {
            "glucose_high": criteria.glucose_high,
            "older_age": criteria.older_age,
            "steroid_sessions": on_file.steroid_sessions,
        }
        lines = [self.text("cautions", caution.id).format_map(words) for caution in cautions]
        return " ".join([f"**{self.text('headings', 'cautions')}**", *lines]) if lines else ""

    def _section(self, heading: str, lines: Iterable[str]) -> str:
        items = [f"* {line}" for line in lines]
        return "\n".join([f"**{self.text('headings', heading)}**", "", *items]) if items else ""

    def _unread_first(self) -> str:
        """What was not read and could negate the finding stands in the first line."""
        unread = self.record.not_read | self.record.truncated | self.record.partial
        keys = [key for key in _COULD_NEGATE if key in unread]
        if not keys:
            return ""
        names = ", ".join(self.text("keys", key) for key in keys)
        first = self.text("missing", "not-read-first").format_map({"list": names[:1].upper() + names[1:]})
        return f"{first} {self.text('missing', 'no-red-flags')}" if "conditions" in keys else first

    def _found(self, name: str, words: dict[str, str]) -> Iterator[str]:
        case = self.case
        if name.startswith(_OVERRIDING):
            yield from self._finding_lines(name)
            return
        if name == "ANNUAL-CAP":
            yield self._line("counted", {**words, "list": ", ".join(str(s.days) for s in case.cap.sessions)})
            return
        if case.governing is None:
            return
        yield self._session_line(case.governing, words)
        if name == "TOO-SOON":
            yield self._line("interval", {"earliest": self.knowledge.criteria.earliest_evaluation})
            return
        yield from self._measurements(case.governing)
        yield from self._flag_lines(case.governing)
        if case.changed_technique:
            yield self._line("changed-technique")
        earlier = [f"{a.session.days} {self._outcome_word(a)}" for a in case.assessments[:-1]]
        if earlier:
            yield self._line("earlier", {"list": ", ".join(earlier)})
        yield from self._workup_lines()

    def _finding_lines(self, name: str) -> Iterator[str]:
        """The coded findings with their dates, and nothing of the ladder."""
        lines = [
            self._line("strength" if one.finding.grades else "finding", self._words_of(one.finding))
            for one in self.case.met
            if one.row.card == name
        ]
        yield from dict.fromkeys(lines)
        yield self._line("not-a-diagnosis")

    def _session_line(self, assessment: Assessment, session_words: dict[str, str]) -> str:
        session = assessment.session
        sides = session.target.sides if session.target.approach not in MIDLINE else frozenset()
        words = {
            **session_words,
            "approach": f"{session.target.approach} " if session.target.approach else "",
            "side": f", {next(iter(sides))}" if len(sides) == 1 else (", both sides" if sides else ""),
            "outcome": self._outcome_word(assessment),
        }
        line = self._line("session", words)
        return line[:1].upper() + line[1:]

    def _outcome_word(self, assessment: Assessment) -> str:
        outcome = self.text("outcomes", str(assessment.outcome))
        return f"{outcome} ({self.text('subtypes', assessment.subtype)})" if assessment.subtype else outcome

    def _measurements(self, assessment: Assessment) -> Iterator[str]:
        shown = assessment.shown
        if shown:
            for pair in shown.pairs:
                yield self._line("scores", _pair_words(pair))
            if shown.report:
                percent = _number(shown.report.percent)
                day = days_between(assessment.session.days.first, shown.report.day)
                yield self._line("reported", {"percent": percent, "after_date": shown.report.day, "day": day})
        elif assessment.row.rule == "OUT-12":
            yield self._line("coded", {"stated": self.text("stated", str(assessment.outcome))})

    def _flag_lines(self, assessment: Assessment) -> Iterator[str]:
        words = {"early_flag": self.knowledge.criteria.early_window_flag}
        for flag in ("early-window", "late-loss", "pain-function-discordant", "recurrence", "no-guidance"):
            if flag in assessment.flags:
                yield self._line(flag, words)
        if assessment.outcome is Outcome.PARTIAL:
            yield self._line("not-a-repeat-criterion")

    def _workup_lines(self) -> Iterator[str]:
        """The images, blocks and therapy on file; only where a tier asks for them."""
        workup = self.case.workup
        if workup is None or not self.case.tier.options:
            return
        if workup.last_image:
            yield self._line("imaging", {"ago": self._ago(workup.last_image.days)})
        for block in workup.blocks:
            relief = f"{_number(block.relief)}% relief" if block.relief is not None else "relief not recorded"
            name = "facet block" if block.kind is OrderKind.MBB else "sacroiliac block"
            yield self._line("block", {"name": name, "date": block.day, "relief": relief})
        if workup.course:
            yield self._line("therapy", {"first": workup.course.first, "last": workup.course.last})

    def _missing_of(self, workup: Workup) -> Iterator[str]:
        """What the tier waits for."""
        criteria, missing = self.knowledge.criteria, self.knowledge.wording["missing"]
        if workup.change_since_image:
            since = workup.change_since_image.since
            words = {"date": f"recorded on {since}" if since else "recorded without a date"}
            yield missing["change-since-image"].format_map(words)
        elif workup.imaging is Done.OPEN:
            yield missing["imaging"].format_map({"imaging_age": criteria.imaging_max_age})
        if f"block-{workup.block}" in missing:
            relief = _number(workup.blocks[-1].relief) if workup.blocks else ""
            yield missing[f"block-{workup.block}"].format_map({"relief": relief})
        if workup.rehabilitation is Done.OPEN and self.case.tier.rule != "TIER-1":
            yield missing["therapy"].format_map({"weeks": criteria.pt_min // 7})

    def _missing(self, name: str, row: Row) -> Iterator[str]:
        workup, criteria = self.case.workup, self.knowledge.criteria
        missing = self.knowledge.wording["missing"]
        yield from self._checklist(row)
        if name in {"FAILED-ESI-NEXT-TIER", "PATHWAY-IN-PROGRESS", "PARTIAL-RESPONSE"} and workup:
            yield from self._missing_of(workup) if self.case.tier.options else ()
        if name == "CLARIFY-OUTCOME" and self.case.governing and self.case.governing.subtype in missing:
            words = {"earliest": criteria.earliest_evaluation, "durability_end": criteria.durability_end}
            yield missing[self.case.governing.subtype].format_map(words)
        if name == "DOCUMENT-DURABILITY":
            yield missing["durability"]
        unread = self.record.not_read | self.record.truncated | self.record.partial
        keys = [
            str(self.text("keys", key)) for key in self.knowledge.wording["keys"] if key in unread - set(_COULD_NEGATE)
        ]
        if keys:
            yield missing["not-read"].format_map({"list": ", ".join(keys)})
        if self.record.unreadable:
            yield missing["unreadable"].format_map({"count": len(self.record.unreadable)})

    def _checklist(self, row: Row) -> Iterator[str]:
        """The prerequisites that were not found, for a card that asks for them."""
        words = {name: getattr(self.knowledge.criteria, name) for name in _NUMBERS}
        words |= {"weeks": self.knowledge.criteria.pt_min // 7, "trial_relief": words["stimulation_trial_relief"]}
        for asked in self.knowledge.checklist_table.all_that_hold({**columns(self.case.facts), "row": row.id}):
            yield self.text("checklist", str(asked.option)).format_map(words)

    def _option_lines(self) -> Iterator[str]:
        for option in (*self.case.options, *self.case.parallel):
            text = self.text("options", option, "text")
            if option == _DRUG_OPTION and self.case.facts.sedative is not Taken.NOT_FOUND:
                text = f"{text} {self.text('options', option, f'sedative-{self.case.facts.sedative}')}"
            yield f"In parallel: {text}" if option in self.case.parallel else text

    def _tried_and_ordered(self) -> str:
        """SUP-3: what was tried, and what is already ordered, is listed and not offered again."""
        case = self.case
        tried = list(self._tried()) if case.tier.options else []
        ordered = [self.text("options", option, "already") for option in case.already_ordered]
        lines = [
            *([self._line("tried", {"list": ", ".join(tried)})] if tried else []),
            *([self._line("ordered", {"list": ", ".join(ordered)})] if ordered else []),
        ]
        return "\n".join(f"* {line}" for line in lines)

    def _tried(self) -> Iterator[str]:
        workup = self.case.workup
        if workup and workup.rehabilitation is Done.DONE and workup.course:
            yield f"{self.text('options', 'advanced-pt', 'already')} (until {workup.course.last})"
        if workup and workup.tried_drugs:
            yield self.text("options", _DRUG_OPTION, "already")

    def _sources(self, row: Row, has_options: bool) -> str:
        """One line of sources; a star marks those that were not read themselves."""
        is_overriding = str(row.card).startswith(_OVERRIDING)
        cited = [*row.cites, *(self.case.governing.row.cites if self.case.governing and not is_overriding else ())]
        if has_options:
            cited += self.case.tier.cites
            for option in (*self.case.options, *self.case.parallel):
                cited += self.knowledge.wording["options"][option].get("cites", ())
        sources = [self.knowledge.sources[name] for name in dict.fromkeys(cited)]
        if not sources:
            return ""
        names = [
            (f"[{source.short}]({source.url})" if source.url else source.short) + ("" if source.is_verified else "\\*")
            for source in sources
        ]
        star = "" if all(source.is_verified for source in sources) else self.text("sources", "star")
        return self.text("sources", "line").format_map({"list": ", ".join(names)}) + star + self._under_review(sources)

    def _under_review(self, sources: Iterable[SourceRead]) -> str:
        """Name the sources that were checked too long ago."""
        months = self.knowledge.criteria.source_max_age
        oldest = months_before(self.today, months)
        names = [source.short for source in sources if source.checked_on < oldest]
        words = {"months": months, "list": ", ".join(names)}
        return self.text("sources", "under_review").format_map(words) if names else ""

    def _line(self, name: str, words: dict[str, Any] | None = None) -> str:
        return self.text("found", name).format_map(words or {})

    def _suggestions(self, name: str, row: Row) -> Iterator[Suggestion]:
        cards = self.knowledge.cards
        if name in cards["with_options"]:
            offered = [option for option in (*self.case.options, *self.case.parallel) if self._can_be_ordered(option)]
            for option in offered[: cards["suggestions_at_most"]]:
                yield self._create(option)
        if name in cards["advise_against_the_order"] and row.id not in cards["keeps_the_order"]:
            words = {"order": self.text("orders", str(self.case.intent.kind))}
            removable = [order for order in self.case.intent.orders if order.has_id]
            for number, order in enumerate(removable, start=1):
                which = f" ({number} of {len(removable)})" if len(removable) > 1 else ""
                yield Suggestion(
                    label=self.text("remove", "label").format_map(words) + which,
                    description=self.text("remove", "description").format_map(words) + which,
                    remove=order.reference,
                )

    def _can_be_ordered(self, option: str) -> bool:
        is_blocked = option == _DRUG_OPTION and self.case.facts.sedative is not Taken.NOT_FOUND
        return "order" in self.knowledge.wording["options"][option] and not is_blocked

    def _create(self, option: str) -> Suggestion:
        words = {"region": str(self.case.target.place.region or "affected")}
        texts = self.knowledge.wording["options"][option]
        is_drug = option == _DRUG_OPTION
        return Suggestion(
            label=texts["label"].format_map(words),
            description=texts["description"].format_map(words),
            create=NewOrder(
                kind="MedicationRequest" if is_drug else "ServiceRequest",
                codings=tuple(self._codings(option)),
                text=texts["order"].format_map(words),
                note=texts["note"].format_map(words),
            ),
        )

    def _codings(self, option: str) -> Iterator[Coding]:
        """Our own code, by which the order is known again, and a standard one where one is verified."""
        yield local(option, self.text("options", option, "label"))
        standard = self.knowledge.wording["options"][option].get("standard", {})
        coding = standard.get(str(self.case.target.place.region)) or standard.get("any")
        if coding:
            yield Coding(coding["system"], coding["code"], coding["display"])


def place_name(place: Place) -> str:
    """The levels, else the region, else the coverage region."""
    if 0 < len(place.level_names) <= _NAMED_LEVELS:
        return ", ".join(place.level_names)
    if place.regions:
        return str(place.region)
    return _COVERAGE_NAMES[place.coverage] if place.coverage else "spinal"


def _pair_words(pair: Pair) -> dict[str, Any]:
    percent = pair.percent
    return {
        "scale": pair.scale.name,
        "before": _number(pair.baseline.value),
        "before_date": pair.baseline.day,
        "after": _number(pair.follow_up.value),
        "after_date": pair.follow_up.day,
        "day": pair.day,
        "change": "" if percent is None else f": {_number(percent)}% relief",
    }


def _number(value: Decimal | None) -> str:
    """A number with at most one decimal, without trailing zeros."""
    if value is None:
        return ""
    rounded = round(value, 1)
    return f"{rounded.normalize():f}" if rounded else "0"


def _whole(percent: Decimal | None) -> str:
    """Percent without decimals, cut and never rounded up over a threshold."""
    return str(int(percent)) if percent is not None else ""
