"""What has been done and what is eligible: the completeness facts (F-1 to F-13)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cds_service.fhir.dates import DateSpan, days_before, days_between, months_before
from cds_service.fhir.record import Concept, Condition, Medication, PatientRecord
from hooks.failed_esi.anatomy import Place, Region
from hooks.failed_esi.facts import (
    AblationTarget,
    Block,
    Done,
    DrugTrial,
    Eligible,
    Lesion,
    OrderKind,
    Retarget,
    Stimulation,
    StimulationTrial,
    Taken,
    YesNo,
    yes_no,
)
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.orders import ablated, is_benzodiazepine, is_drug, medicines_taken
from hooks.failed_esi.scores import ReportedRelief
from hooks.failed_esi.sessions import History, Intervention, Session

_NERVE_PAIN = frozenset({"radicular", "claudicant"})
_NEUROPATHIC = _NERVE_PAIN | {"post-laminectomy", "crps"}
_LESIONS = frozenset({"lesion", "stenosis", "slip", "instability"})
_NEUROLOGICAL = frozenset({"cauda-equina", "bladder-bowel", "foot-drop", "cord"})
_STIMULATION = frozenset({"post-laminectomy", "crps"})
_TAKEN = frozenset({"active", "completed", "stopped", "on-hold", "in-progress"})


@dataclass(frozen=True, slots=True)
class Course:
    """A course of therapy from its first to its last day."""

    first: date
    last: date
    references: tuple[str, ...]

    @property
    def days(self) -> int:
        """Last day minus first."""
        return days_between(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A condition with the concepts it stands for and the place it concerns."""

    condition: Condition
    concepts: frozenset[str]
    place: Place


@dataclass(frozen=True, slots=True)
class BlockDone:
    """A diagnostic block session and the relief reported for it, when any was."""

    kind: OrderKind
    day: date
    relief: Decimal | None
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workup:
    """The facts of section 3.7 for one place, and what they rest on."""

    imaging: Done
    last_image: Intervention | None
    change_since_image: Condition | None
    block: Block
    blocks: tuple[BlockDone, ...]
    rehabilitation: Done
    course: Course | None
    drug_trial: DrugTrial
    tried_drugs: tuple[Medication, ...]
    sedative: Taken
    opioid: Taken
    cancer: YesNo
    cardiac_device: YesNo
    facet_blocks: YesNo
    recent_ablation: YesNo
    claudication: YesNo
    thick_ligament: YesNo
    mild_barrier: YesNo
    sacroiliac_target: Retarget
    facet_target: Retarget
    lesion: Lesion
    ablation: Eligible
    sacroiliac_block: YesNo
    mild: Eligible
    stimulation: Stimulation
    stimulation_indicated: Eligible
    stimulation_trial: StimulationTrial
    secondary_stimulation: Eligible
    radicular: YesNo
    evidence: tuple[str, ...]

    @property
    def diagnosis(self) -> Done:
        """F-4: the diagnosis has been re-evaluated."""
        is_settled = self.block in {Block.NOT_APPLICABLE, Block.DONE}
        return Done.DONE if self.imaging is Done.DONE and is_settled else Done.OPEN

    @property
    def conservative_care(self) -> Done:
        """F-7: therapy is done and no positive block waits for its injection."""
        is_waiting = Retarget.OUTSTANDING in {self.sacroiliac_target, self.facet_target}
        return Done.DONE if self.rehabilitation is Done.DONE and not is_waiting else Done.OPEN


class Chart:
    """The chart of one patient as the completeness facts ask for it."""

    def __init__(
        self,
        record: PatientRecord,
        history: History,
        reports: tuple[ReportedRelief, ...],
        today: date,
        knowledge: Knowledge,
    ) -> None:
        """Sort the conditions into concepts once."""
        self.record = record
        self.history = history
        self.today = today
        self.knowledge = knowledge
        self.criteria = knowledge.criteria
        self.reports_by_name: dict[str, list[ReportedRelief]] = {}
        self.reports_by_day: dict[date, list[ReportedRelief]] = {}
        for report in reports:
            for name in report.about:
                self.reports_by_name.setdefault(name, []).append(report)
            if not report.about:
                self.reports_by_day.setdefault(report.day, []).append(report)
        self.diagnoses = tuple(self._diagnosis(c) for c in record.conditions if self._is_not_future(c))

    def is_radicular(self, place: Place) -> bool:
        """Whether an active radicular or claudicant code concerns the place."""
        return bool(self._active(_NERVE_PAIN, place))

    def workup(self, place: Place, session: Session) -> Workup:
        """Establish every fact for the place of an order, after the session that governs."""
        image, change = self._image(place)
        blocks = self._blocks(place)
        ablations = self._ablations(place)
        has_facet_blocks = self._has_facet_blocks(blocks, ablations)
        courses = self._courses()
        course = self._rehabilitation(courses) or (courses[-1] if courses else None)
        tried = self._tried_drugs()
        lesions = self._lesions(place)
        unsuitable = self._active({"cardiac-device"}, Place())
        used = [
            *self._active(_NERVE_PAIN | {"axial"}, place),
            *lesions,
            *unsuitable,
            *self._stimulated(place),
        ]
        return Workup(
            imaging=Done.DONE if image and not change else Done.OPEN,
            last_image=image or self._latest_image(place),
            change_since_image=change,
            block=self._block(place, blocks, session),
            blocks=blocks,
            rehabilitation=Done.DONE if self._rehabilitation(courses) else Done.OPEN,
            course=course,
            drug_trial=self._drug_trial(place, tried),
            tried_drugs=tried,
            sedative=self._taken(self._is_sedative),
            opioid=self._taken(self._is_opioid),
            cancer=yes_no(self._active({"malignancy"}, Place())),
            cardiac_device=yes_no(unsuitable),
            facet_blocks=yes_no(has_facet_blocks),
            recent_ablation=yes_no(self._was_ablated_recently(ablations)),
            claudication=yes_no(self._active({"claudicant"}, place)),
            thick_ligament=yes_no(self._has_thick_ligament(place)),
            mild_barrier=yes_no(self._has_mild_barrier(place)),
            sacroiliac_target=self._sacroiliac_target(place, blocks),
            facet_target=self._facet_target(place, blocks, is_unsuitable=bool(unsuitable)),
            lesion=self._severity(place, lesions),
            ablation=self._ablation(
                place, blocks, ablations, has_facet_blocks=has_facet_blocks, is_unsuitable=bool(unsuitable)
            ),
            sacroiliac_block=self._sacroiliac_block(blocks),
            mild=self._mild(place),
            stimulation=self._stimulation(place),
            stimulation_indicated=self._stimulation_indicated(place),
            stimulation_trial=self._stimulation_trial(),
            secondary_stimulation=self._secondary_stimulation(place),
            radicular=yes_no(self.is_radicular(place)),
            evidence=_references(used, image, blocks, course, tried),
        )

    @property
    def _knows_all_diagnoses(self) -> bool:
        return self.record.is_complete("conditions")

    def _diagnosis(self, condition: Condition) -> Diagnosis:
        entries = self.knowledge.codes.find(condition.code.codings)
        place = self.knowledge.anatomy.place_of_diagnosis(condition.code, entries)
        return Diagnosis(condition, frozenset(entry.concept for entry in entries), place)

    def _is_not_future(self, condition: Condition) -> bool:
        return condition.since is None or condition.since.first <= self.today

    def _active(self, concepts: Iterable[str], place: Place) -> list[Diagnosis]:
        """The active diagnoses of these concepts that concern a place."""
        wanted = frozenset(concepts)
        return [d for d in self.diagnoses if d.condition.active and d.concepts & wanted and d.place.reaches(place)]

    def _image(self, place: Place) -> tuple[Intervention | None, Condition | None]:
        """The last image of the region if it is current, and a neurological change recorded since."""
        image = self._latest_image(place)
        if image is None or image.days.first < days_before(self.today, self.criteria.imaging_max_age):
            return None, None
        changes = [
            diagnosis.condition
            for diagnosis in self._active(_NEUROLOGICAL | {"weakness"}, place)
            if self._is_neurological(diagnosis) and _may_be_since(diagnosis.condition, image.days.first)
        ]
        return image, (changes[0] if changes else None)

    def _latest_image(self, place: Place) -> Intervention | None:
        images = [
            i
            for i in self.history.interventions
            if i.kind is OrderKind.IMAGING and i.target.place.coverage and i.target.place.reaches(place)
        ]
        return max(images, key=lambda image: (image.days.first, image.days.last), default=None)

    def _is_neurological(self, diagnosis: Diagnosis) -> bool:
        """RF-3: the weak codes count only with words of limb weakness."""
        if diagnosis.concepts & _NEUROLOGICAL:
            return True
        return self.knowledge.words.mean("limb-weakness", diagnosis.condition.code.words)

    def _blocks(self, place: Place) -> tuple[BlockDone, ...]:
        """The diagnostic facet and sacroiliac blocks of the region, one for each day, oldest first."""
        by_day: dict[tuple[OrderKind, date], list[Intervention]] = {}
        for i in self.history.interventions:
            is_block = i.kind in {OrderKind.MBB, OrderKind.SIJ} and not i.is_therapeutic
            if is_block and i.day and i.target.place.reaches(place):
                by_day.setdefault((i.kind, i.day), []).append(i)
        found = [BlockDone(kind, day, *self._relief_after(group, day, day)) for (kind, day), group in by_day.items()]
        return tuple(sorted(found, key=lambda block: (block.day, block.kind)))

    def _relief_after(
        self, group: list[Intervention], day: date, since: date
    ) -> tuple[Decimal | None, tuple[str, ...]]:
        """The relief reported for a procedure from a day on (the best one), and all references it rests on."""
        names = {i.procedure.reference for i in group}
        reports = [report for name in names for report in self.reports_by_name.get(name, ())]
        reports += self.reports_by_day.get(day, ())
        best = max(
            (report for report in reports if report.day >= since),
            key=lambda report: (report.percent, report.reference),
            default=None,
        )
        references = (*sorted(names), *([best.reference] if best else []))
        return (best.percent if best else None), references

    def _block(self, place: Place, blocks: tuple[BlockDone, ...], session: Session) -> Block:
        if self.is_radicular(place):
            return Block.NOT_APPLICABLE
        if not self._knows_all_diagnoses:
            return Block.UNKNOWN
        if not self._active({"axial"}, place):
            return Block.NOT_APPLICABLE
        if not any(block.day > session.days.last for block in blocks):
            return Block.DUE
        facet = [block for block in blocks if block.kind is OrderKind.MBB]
        if len(facet) != 1 or self.criteria.blocks_needed == 1:
            return Block.DONE
        if facet[0].relief is None:
            return Block.NO_RESULT
        return Block.PENDING if facet[0].relief >= self.criteria.block_indeterminate else Block.DONE

    def _courses(self) -> list[Course]:
        """The courses of physical therapy, oldest first: one procedure with a period, or several close together."""
        visits = sorted(
            (
                (started, min(i.days.last, self.today), i.procedure.reference)
                for i in self.history.interventions
                if i.kind is OrderKind.PT and (started := _start(i))
            ),
        )
        courses: list[list[tuple[date, date, str]]] = []
        latest = date.min
        for visit in visits:
            if courses and days_between(latest, visit[0]) <= self.criteria.pt_gap:
                courses[-1].append(visit)
            else:
                courses.append([visit])
            latest = max(latest, visit[1])
        return [
            Course(visits[0][0], max(last for _, last, _ in visits), tuple(name for _, _, name in visits))
            for visits in courses
        ]

    def _rehabilitation(self, courses: Iterable[Course]) -> Course | None:
        """F-5: the last course that was long enough and not too long ago."""
        earliest = days_before(self.today, self.criteria.pt_max_age)
        met = [course for course in courses if course.days >= self.criteria.pt_min and course.last >= earliest]
        return met[-1] if met else None

    def _tried_drugs(self) -> tuple[Medication, ...]:
        return tuple(
            medicine
            for medicine in self.record.medications
            if medicine.kind != "MedicationAdministration"
            and is_drug("neuropathic", medicine, self.knowledge)
            and (self._is_long_enough(medicine) or self._was_not_tolerated(medicine))
        )

    def _drug_trial(self, place: Place, tried: tuple[Medication, ...]) -> DrugTrial:
        if not self._active(_NEUROPATHIC, place):
            return DrugTrial.NOT_ASKED
        is_allergic = any(self._is_neuropathic_allergy(a.code) for a in self.record.allergies)
        return DrugTrial.DONE if tried or is_allergic else DrugTrial.OPEN

    def _is_neuropathic_allergy(self, code: Concept) -> bool:
        named = self.knowledge.ingredients("neuropathic", code.words)
        return bool(named) or "neuropathic" in self.knowledge.codes.concepts(code.codings)

    def _is_long_enough(self, medicine: Medication) -> bool:
        """The length of a trial: its period, else from the day it was ordered to today while it is active."""
        if medicine.status not in _TAKEN:
            return False
        first = medicine.first or (medicine.authored.days if medicine.authored else None)
        last = medicine.last
        if last is None and medicine.status == "active":
            last = DateSpan(self.today, self.today)
        if first is None or last is None or first.first > self.today:
            return False
        return days_between(first.last, min(last.first, self.today)) >= self.criteria.drug_trial_min

    def _was_not_tolerated(self, medicine: Medication) -> bool:
        is_real = medicine.status not in {"entered-in-error", "draft", "cancelled"}
        return is_real and self.knowledge.words.mean("intolerance", medicine.stopped_because.words)

    def _taken(self, is_of_class: Callable[[Medication], bool]) -> Taken:
        """Whether a medicine of a class is active; without all medicines nobody can say that none is."""
        if any(map(is_of_class, medicines_taken(self.record))):
            return Taken.TAKEN
        return Taken.NOT_FOUND if self.record.is_complete("medications") else Taken.UNKNOWN

    def _is_opioid(self, medicine: Medication) -> bool:
        return is_drug("opioid", medicine, self.knowledge)

    def _is_sedative(self, medicine: Medication) -> bool:
        """3.9: with an active opioid or benzodiazepine a neuropathic medicine is text only."""
        return self._is_opioid(medicine) or is_benzodiazepine(medicine, self.knowledge)

    def _sacroiliac_block(self, blocks: tuple[BlockDone, ...]) -> YesNo:
        """D-3: whether a diagnostic sacroiliac block was positive."""
        limit = self.criteria.sacroiliac_block_relief
        is_positive = any(b.kind is OrderKind.SIJ and _at_least(b.relief, limit) for b in blocks)
        return yes_no(is_positive)

    def _sacroiliac_target(self, place: Place, blocks: tuple[BlockDone, ...]) -> Retarget:
        """The latest diagnostic sacroiliac block was positive and no therapeutic one followed."""
        latest = next((b for b in reversed(blocks) if b.kind is OrderKind.SIJ), None)
        if latest is None or not _at_least(latest.relief, self.criteria.sacroiliac_block_relief):
            return Retarget.NONE
        return self._unless_treated(OrderKind.SIJ, place, latest.day)

    def _facet_target(self, place: Place, blocks: tuple[BlockDone, ...], *, is_unsuitable: bool) -> Retarget:
        """Positive facet blocks where ablation is documented unsuitable, and no therapeutic injection followed."""
        positive = self._positive_facet_blocks(blocks)
        if not is_unsuitable or len(positive) < self.criteria.blocks_needed:
            return Retarget.NONE
        return self._unless_treated(OrderKind.MBB, place, positive[-1].day)

    def _unless_treated(self, kind: OrderKind, place: Place, day: date) -> Retarget:
        was_treated = any(
            i.kind is kind and i.is_therapeutic and i.days.last >= day and i.target.place.reaches(place)
            for i in self.history.interventions
        )
        return Retarget.NONE if was_treated else Retarget.OUTSTANDING

    def _positive_facet_blocks(self, blocks: tuple[BlockDone, ...], after: date = date.min) -> list[BlockDone]:
        return [
            block
            for block in blocks
            if block.kind is OrderKind.MBB and block.day > after and _at_least(block.relief, self.criteria.block_relief)
        ]

    def _ablation(
        self,
        place: Place,
        blocks: tuple[BlockDone, ...],
        earlier: list[list[Intervention]],
        *,
        has_facet_blocks: bool,
        is_unsuitable: bool,
    ) -> Eligible:
        """F-8: enough positive blocks since the last ablation, or a repeat after one that lasted."""
        if is_unsuitable or self.is_radicular(place) or self._was_ablated_recently(earlier):
            return Eligible.NO
        if has_facet_blocks or (earlier and self._may_be_repeated(earlier)):
            return Eligible.YES if self._knows_all_diagnoses else Eligible.UNKNOWN
        is_relief_unread = not self.record.is_complete("observations") and any(
            block.kind is OrderKind.MBB and block.relief is None for block in blocks
        )
        return Eligible.UNKNOWN if is_relief_unread else Eligible.NO

    def _has_facet_blocks(self, blocks: tuple[BlockDone, ...], earlier: list[list[Intervention]]) -> bool:
        since = earlier[-1][0].days.last if earlier else date.min
        return len(self._positive_facet_blocks(blocks, since)) >= self.criteria.blocks_needed

    def _was_ablated_recently(self, earlier: list[list[Intervention]]) -> bool:
        """Too recently for another ablation, or too often within a year."""
        if not earlier:
            return False
        elapsed = days_between(earlier[-1][0].days.last, self.today)
        return elapsed < self.criteria.ablation_lasted or self._ablated_this_year(earlier)

    def _ablated_this_year(self, earlier: list[list[Intervention]]) -> bool:
        year_ago = months_before(self.today, 12)
        this_year = [group for group in earlier if group[0].days.last > year_ago]
        return len(this_year) >= self.criteria.ablations_per_year

    def _ablations(self, place: Place) -> list[list[Intervention]]:
        """Ablations of the region, grouped by day, oldest first as in the history."""
        by_day: dict[DateSpan, list[Intervention]] = {}
        for i in self.history.interventions:
            is_facet = i.kind is OrderKind.RFA and ablated(i.procedure.code, self.knowledge) is AblationTarget.FACET
            if is_facet and i.target.place.reaches(place):
                by_day.setdefault(i.days, []).append(i)
        return list(by_day.values())

    def _may_be_repeated(self, earlier: list[list[Intervention]]) -> bool:
        last = earlier[-1]
        day = last[0].day
        if day is None or days_between(day, self.today) > self.criteria.ablation_max_age:
            return False
        proof = days_before(day, -self.criteria.ablation_lasted)
        relief, _ = self._relief_after(last, day, proof)
        return _at_least(relief, self.criteria.ablation_relief)

    def _mild(self, place: Place) -> Eligible:
        """F-9: lumbar, claudication, thick ligament; not severe, not operated, not done."""
        if place.region is not Region.LUMBAR:
            return Eligible.NO
        if self._has_mild_barrier(place):
            return Eligible.NO
        if not self._knows_all_diagnoses:
            return Eligible.UNKNOWN
        is_met = self._active({"claudicant"}, place) and self._has_thick_ligament(place)
        return Eligible.YES if is_met else Eligible.NO

    def _has_mild_barrier(self, place: Place) -> bool:
        """Whether there is severe narrowing, a severe slip or earlier surgery."""
        was_operated = self._active({"post-laminectomy", "fused"}, place) or self._was_done(
            {OrderKind.DECOMPRESSION, OrderKind.FUSION, OrderKind.MILD}, place
        )
        severe = [d for d in self._active({"stenosis", "claudicant", "slip"}, place) if self._is_severe(d)]
        return bool(was_operated or severe)

    def _has_thick_ligament(self, place: Place) -> bool:
        mean = self.knowledge.words.mean
        return any(
            d.condition.active
            and d.place.reaches(place)
            and ("ligament-hypertrophy" in d.concepts or mean("ligament-hypertrophy", d.condition.code.words))
            for d in self.diagnoses
        )

    def _stimulated(self, place: Place) -> list[Diagnosis]:
        """The primary indications for neuromodulation that have lasted long enough."""
        latest = days_before(self.today, self.criteria.stimulation_primary)
        return [d for d in self._active(_STIMULATION, place) if _has_lasted(d.condition, latest)]

    def _stimulation(self, place: Place) -> Stimulation:
        indications = self._stimulated(place)
        if not indications or self._was_stimulated():
            return Stimulation.NONE
        is_focal = any("crps-lower-limb" in d.concepts for d in indications) or self._has_focal_pain(place)
        return Stimulation.DRG if is_focal else Stimulation.SCS

    def _has_focal_pain(self, place: Place) -> bool:
        mean = self.knowledge.words.mean
        return any(
            d.condition.active and d.place.reaches(place) and mean("focal-pain", d.condition.code.words)
            for d in self.diagnoses
        )

    def _stimulation_indicated(self, place: Place) -> Eligible:
        """D-4: F-10 or F-11, whether or not a trial was done."""
        if self._stimulated(place):
            return Eligible.YES
        if not self._knows_all_diagnoses:
            return Eligible.UNKNOWN
        return Eligible.YES if self._has_lasting_nerve_pain(place) else Eligible.NO

    def _stimulation_trial(self) -> StimulationTrial:
        """D-5: a trial whose relief, reported from its day on, supports an implant."""
        trials = [i for i in self.history.interventions if i.kind is OrderKind.SCS_TRIAL and i.day]
        reliefs = [self._relief_after([i], i.days.first, _start(i) or i.days.first)[0] for i in trials]
        if any(_at_least(relief, self.criteria.stimulation_trial_relief) for relief in reliefs):
            return StimulationTrial.MET
        is_unread = None in reliefs and not self.record.is_complete("observations")
        return StimulationTrial.UNKNOWN if is_unread else StimulationTrial.NOT_FOUND

    def _has_lasting_nerve_pain(self, place: Place) -> bool:
        """F-11: radicular pain for a year, without surgery."""
        latest = days_before(self.today, self.criteria.stimulation_secondary)
        has_lasted = any(_has_lasted(d.condition, latest) for d in self._active({"radicular"}, place))
        was_operated = self._active({"post-laminectomy", "fused"}, place) or self._was_done(
            {OrderKind.DECOMPRESSION, OrderKind.FUSION}, place
        )
        return has_lasted and not was_operated

    def _secondary_stimulation(self, place: Place) -> Eligible:
        """F-11: named beside surgery only."""
        is_open = self._knows_all_diagnoses and not self._was_stimulated()
        return Eligible.YES if is_open and self._has_lasting_nerve_pain(place) else Eligible.NO

    def _was_stimulated(self) -> bool:
        """Whether a stimulator was tried or implanted; one that is in place, or was revised, has been."""
        was_revised = any(
            procedure.status == "completed" and "scs-revision" in self.knowledge.codes.concepts(procedure.code.codings)
            for procedure in self.record.procedures
        )
        is_in_place = bool(self._active({"scs-in-place"}, Place()))
        return was_revised or is_in_place or self._was_done({OrderKind.SCS_TRIAL, OrderKind.SCS_IMPLANT}, Place())

    def _lesions(self, place: Place) -> list[Diagnosis]:
        """F-12: what surgery could address; degeneration only beside nerve pain."""
        concepts = _LESIONS | ({"degeneration"} if self.is_radicular(place) else frozenset())
        return self._active(concepts, place)

    def _severity(self, place: Place, lesions: list[Diagnosis]) -> Lesion:
        if not lesions:
            return Lesion.NONE
        is_severe = bool(self._active({"foot-drop", "limb-paresis"}, place)) or any(
            "instability" in d.concepts or (d.concepts & {"stenosis", "slip"} and self._is_severe(d)) for d in lesions
        )
        return Lesion.SEVERE if is_severe else Lesion.PRESENT

    def _is_severe(self, diagnosis: Diagnosis) -> bool:
        condition, mean = diagnosis.condition, self.knowledge.words.mean
        if "severe" in self.knowledge.codes.concepts(condition.severity.codings):
            return True
        if mean("severe", condition.code.words, condition.severity.words):
            return True
        return "slip" in diagnosis.concepts and mean("high-grade-slip", condition.code.words)

    def _was_done(self, kinds: Iterable[OrderKind], place: Place) -> bool:
        wanted = frozenset(kinds)
        return any(i.kind in wanted and i.target.place.reaches(place) for i in self.history.interventions)


def _start(visit: Intervention) -> date | None:
    started = visit.procedure.started
    day = started.day if started else None
    return day if day and visit.day else None


def _may_be_since(condition: Condition, day: date) -> bool:
    return condition.since is None or condition.since.last > day


def _at_least(relief: Decimal | None, percent: int) -> bool:
    return relief is not None and relief >= percent


def _has_lasted(condition: Condition, latest: date) -> bool:
    return condition.since is not None and condition.since.last <= latest


def _references(
    used: Iterable[Diagnosis],
    image: Intervention | None,
    blocks: Iterable[BlockDone],
    course: Course | None,
    tried: Iterable[Medication],
) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            [
                *(diagnosis.condition.reference for diagnosis in used),
                *([image.procedure.reference] if image else []),
                *(reference for block in blocks for reference in block.references),
                *(course.references if course else ()),
                *(medicine.reference for medicine in tried),
            ]
        )
    )
