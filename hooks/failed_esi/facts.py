"""The vocabulary of the decision tables: every fact is an enum, so every combination can be enumerated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, get_type_hints


class OrderKind(StrEnum):
    """What a draft order is about."""

    ESI = "esi"
    MBB = "mbb"
    SIJ = "sij"
    RFA = "rfa"
    SCS_TRIAL = "scs-trial"
    SCS_IMPLANT = "scs-implant"
    MILD = "mild"
    IMAGING = "imaging"
    PT = "pt"
    REFERRAL = "referral"
    NEUROPATHIC = "neuropathic"
    NSAID = "nsaid"
    OPIOID = "opioid"
    SYSTEMIC_STEROID = "systemic-steroid"
    DECOMPRESSION = "decompression"
    FUSION = "fusion"
    BIOLOGIC = "biologic"
    UNRELATED = "unrelated"


class Outcome(StrEnum):
    """What became of one injection session."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_YET_EVALUABLE = "not-yet-evaluable"
    EXCLUDED = "excluded"


class Relief(StrEnum):
    """How much better one point in time was than the baseline; NO_POINT when nothing was measured."""

    NO_POINT = "no-point"
    NONE = "none"
    MCID = "mcid"
    SUBSTANTIAL = "substantial"


class Evaluable(StrEnum):
    """Whether enough time has passed to judge a session at all."""

    TOO_EARLY = "too-early"
    YES = "yes"


class NinetyDays(StrEnum):
    """Whether the durability window has opened."""

    NOT_REACHED = "not-reached"
    REACHED = "reached"


class Conflict(StrEnum):
    """Whether reported relief contradicts the paired scores."""

    YES = "yes"
    NO = "no"


class FirstSustained(StrEnum):
    """When the first value of the durability window was measured."""

    NO_POINT = "no-point"
    ON_DAY_90 = "on-day-90"
    BY_DAY_120 = "by-day-120"
    AFTER_DAY_120 = "after-day-120"


class Stated(StrEnum):
    """What the clinician coded as the outcome of the procedure."""

    NOTHING = "nothing"
    SUCCESSFUL = "successful"
    PARTIAL = "partial"
    UNSUCCESSFUL = "unsuccessful"


class State(StrEnum):
    """What is known for the target of the order."""

    NO_SESSION = "no-session"
    NOT_YET_EVALUABLE = "not-yet-evaluable"
    SUCCESS = "success"
    SUCCESS_NOT_CONFIRMED = "success-not-confirmed"
    PARTIAL = "partial"
    PARTIAL_AGAIN = "partial-again"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Person(StrEnum):
    """Whom the pathway is for."""

    ADULT = "adult"
    CHILD = "child"
    AGE_UNKNOWN = "age-unknown"


class Interval(StrEnum):
    """The time since the last session at the same target."""

    TOO_SHORT = "too-short"
    LONG_ENOUGH = "long-enough"


class Cap(StrEnum):
    """The sessions in the coverage region in the past twelve months."""

    REACHED = "reached"
    BELOW = "below"


class Done(StrEnum):
    """Whether a step of the pathway is complete."""

    DONE = "done"
    OPEN = "open"


class Block(StrEnum):
    """Whether a diagnostic block is called for (F-2), and how far it is (F-3); PENDING waits for a second one."""

    NOT_APPLICABLE = "not-applicable"
    UNKNOWN = "unknown"
    DUE = "due"
    PENDING = "pending"
    NO_RESULT = "no-result"
    DONE = "done"


class DrugTrial(StrEnum):
    """Whether medicine for neuropathic pain was tried (F-6)."""

    NOT_ASKED = "not-asked"
    OPEN = "open"
    DONE = "done"


class Taken(StrEnum):
    """Whether a medicine of a class is taken; UNKNOWN when medicines were not, or not completely, read."""

    TAKEN = "taken"
    UNKNOWN = "unknown"
    NOT_FOUND = "not-found"


class Retarget(StrEnum):
    """Whether a positive block still waits for its therapeutic injection (F-7)."""

    OUTSTANDING = "outstanding"
    NONE = "none"


class Lesion(StrEnum):
    """Whether there is something that surgery could address (F-12), and whether it is severe (F-13)."""

    NONE = "none"
    PRESENT = "present"
    SEVERE = "severe"


class Eligible(StrEnum):
    """Whether the conditions of an option are met; UNKNOWN when diagnoses were not read, and never unlocks."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class YesNo(StrEnum):
    """Whether something is so, as far as the data sent tell."""

    YES = "yes"
    NO = "no"


def yes_no(is_so: object) -> YesNo:
    """Whether something is so."""
    return YesNo.YES if is_so else YesNo.NO


class Switch(StrEnum):
    """Whether a site has a group of checks switched on."""

    ON = "on"
    OFF = "off"


class AblationTarget(StrEnum):
    """What a drafted ablation is aimed at; NONE for every other order."""

    NONE = "none"
    FACET = "facet"
    SACROILIAC = "sacroiliac"
    BASIVERTEBRAL = "basivertebral"


class StimulationTrial(StrEnum):
    """Whether a stimulator trial with enough relief is on file (D-5); UNKNOWN when its relief was not read."""

    MET = "met"
    UNKNOWN = "unknown"
    NOT_FOUND = "not-found"


class SurgeryGap(StrEnum):
    """How long ago the last injection was, as surgery sees it (D-11, D-12)."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


class Payer(StrEnum):
    """Who pays, where that matters."""

    MEDICARE = "medicare"
    OTHER = "other"


class FindingKind(StrEnum):
    """What a finding is; the names are those of the value sets, but for the fall of strength that is measured."""

    CAUDA_EQUINA = "cauda-equina"
    BLADDER_BOWEL = "bladder-bowel"
    FOOT_DROP = "foot-drop"
    STRENGTH_FALL = "strength-fall"
    WEAKNESS = "weakness"
    CORD = "cord"
    CORD_INJURY = "cord-injury"
    SPINAL_INFECTION = "spinal-infection"
    PROCEDURE_INFECTION = "procedure-infection"
    CORD_TUMOUR = "cord-tumour"
    SPINAL_TUMOUR = "spinal-tumour"
    MALIGNANCY = "malignancy"
    FRACTURE = "fracture"
    PREGNANT = "pregnant"
    PALLIATIVE = "palliative"


class Age(StrEnum):
    """How old a finding is, by the windows of its kind."""

    NEW = "new"
    LATELY = "lately"
    OLD = "old"
    UNDATED = "undated"


class Reach(StrEnum):
    """What an order is checked for: red flags alone (gate 3), or the other pathways too (gate 5)."""

    RED_FLAGS = "red-flags"
    ALL = "all"


class Stimulation(StrEnum):
    """Whether neuromodulation is indicated and no trial was done (F-10), and of which kind."""

    NONE = "none"
    SCS = "scs"
    DRG = "drg"


class Progress(StrEnum):
    """Whether every option of the tier has been ordered since the session (SUP-2)."""

    OPEN = "open"
    ALL_ORDERED = "all-ordered"


class Strength(StrEnum):
    """Whether a failure is firm enough to warn: graded A or B, no changed technique, no late loss."""

    FIRM = "firm"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The columns of the outcome table: one session in enums."""

    evaluable: Evaluable = Evaluable.YES
    conflict: Conflict = Conflict.NO
    ninety_days: NinetyDays = NinetyDays.REACHED
    early_best: Relief = Relief.NO_POINT
    early_last: Relief = Relief.NO_POINT
    sustained: Relief = Relief.NO_POINT
    first_sustained: FirstSustained = FirstSustained.NO_POINT
    late_best: Relief = Relief.NO_POINT
    late_last: Relief = Relief.NO_POINT
    stated: Stated = Stated.NOTHING


@dataclass(frozen=True, slots=True)
class Facts:
    """The columns of all other tables: one order for one patient in enums."""

    ordered: OrderKind
    person: Person
    state: State
    interval: Interval = Interval.LONG_ENOUGH
    cap: Cap = Cap.BELOW
    strength: Strength = Strength.SOFT
    progress: Progress = Progress.OPEN
    diagnosis: Done = Done.OPEN
    imaging: Done = Done.OPEN
    block: Block = Block.NOT_APPLICABLE
    conservative_care: Done = Done.OPEN
    rehabilitation: Done = Done.OPEN
    drug_trial: DrugTrial = DrugTrial.NOT_ASKED
    sedative: Taken = Taken.NOT_FOUND
    opioid: Taken = Taken.NOT_FOUND
    sedating: YesNo = YesNo.NO
    cancer: YesNo = YesNo.NO
    radicular: YesNo = YesNo.NO
    cardiac_device: YesNo = YesNo.NO
    diagnoses_read: YesNo = YesNo.YES
    facet_blocks: YesNo = YesNo.NO
    recent_ablation: YesNo = YesNo.NO
    claudication: YesNo = YesNo.NO
    thick_ligament: YesNo = YesNo.NO
    mild_barrier: YesNo = YesNo.NO
    sacroiliac_target: Retarget = Retarget.NONE
    facet_target: Retarget = Retarget.NONE
    lesion: Lesion = Lesion.NONE
    ablation: Eligible = Eligible.NO
    mild: Eligible = Eligible.NO
    ablation_target: AblationTarget = AblationTarget.NONE
    sacroiliac_block: YesNo = YesNo.NO
    stimulation: Stimulation = Stimulation.NONE
    stimulation_indicated: Eligible = Eligible.NO
    stimulation_trial: StimulationTrial = StimulationTrial.NOT_FOUND
    surgery_gap: SurgeryGap = SurgeryGap.LONG
    payer: Payer = Payer.OTHER
    payer_checks: Switch = Switch.ON
    secondary_stimulation: Eligible = Eligible.NO


@dataclass(frozen=True, slots=True)
class FindingFacts:
    """The columns of the findings table: one finding, as one order meets it."""

    finding: FindingKind
    age: Age = Age.UNDATED
    known: YesNo = YesNo.NO
    after_injection: YesNo = YesNo.NO
    neck_injection: YesNo = YesNo.NO
    exposes: YesNo = YesNo.NO
    reach: Reach = Reach.ALL


AnyFacts = SessionFacts | Facts | FindingFacts
_COLUMNS: dict[type[AnyFacts], tuple[str, ...]] = {
    facts: tuple(field.name for field in fields(facts)) for facts in (SessionFacts, Facts, FindingFacts)
}


def columns(facts: AnyFacts) -> dict[str, str]:
    """The facts by column name."""
    return {name: getattr(facts, name) for name in _COLUMNS[type(facts)]}


def vocabulary(facts: type[AnyFacts]) -> dict[str, tuple[str, ...]]:
    """Every column with the values it can take."""
    hints: dict[str, Any] = get_type_hints(facts)
    return {name: tuple(str(value) for value in hint) for name, hint in hints.items()}
