import pytest

from cds_service.fhir.codes import CodeEntry, CodeIndex, Coding, normal_code, system_name


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("http://snomed.info/sct", "snomed"),
        ("urn:oid:2.16.840.1.113883.6.90", "icd-10-cm"),
        ("http://hl7.org/fhir/sid/icd-10-cm/", "icd-10-cm"),
        ("https://loinc.org/72514-3/", "loinc"),
        ("http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd10", "icd-10-cm"),
        ("http://hl7.org/fhir/sid/icd-10", "http://hl7.org/fhir/sid/icd-10"),
        ("https://hospital.example/codes", "https://hospital.example/codes"),
    ],
)
def test_a_system_is_known_by_its_many_names(uri, name):
    assert system_name(uri) == name


def test_icd_codes_are_compared_without_dot_and_case():
    assert normal_code("icd-10-cm", " m54.16 ") == "M5416"
    assert normal_code("loinc", "72514-3") == "72514-3"


@pytest.fixture
def index():
    return CodeIndex(
        [
            CodeEntry("radicular", "icd-10-cm", "M54.1", "radiculopathy", is_prefix=True),
            CodeEntry("degeneration", "icd-10-cm", "M51.3", "degeneration", is_prefix=True),
            CodeEntry("retention", "icd-10-cm", "R33", "retention", is_prefix=True),
            CodeEntry("claudicant", "icd-10-cm", "M48.062", "claudication"),
            CodeEntry("exercise", "cpt", "97110", "exercise"),
        ],
        [CodeEntry("retention", "icd-10-cm", "R33.0", "drug-induced")],
    )


def concepts(index, system, code):
    return index.concepts([Coding(system, code)])


def test_a_prefix_stands_for_its_node_and_all_below(index):
    assert concepts(index, "icd-10-cm", "M54.16") == {"radicular"}
    assert concepts(index, "icd-10-cm", "M541") == {"radicular"}
    assert concepts(index, "icd-10-cm", "M51.370") == {"degeneration"}
    assert concepts(index, "icd-10-cm", "M51.37") == {"degeneration"}
    assert concepts(index, "icd-10-cm", "M54.2") == set()


def test_an_exact_code_does_not_stand_for_its_parent(index):
    assert concepts(index, "icd-10-cm", "M48.062") == {"claudicant"}
    assert concepts(index, "icd-10-cm", "M48.06") == set()


def test_an_excluded_code_is_taken_out_after_the_prefix(index):
    assert concepts(index, "icd-10-cm", "R33.9") == {"retention"}
    assert concepts(index, "icd-10-cm", "R33.0") == set()


def test_a_code_of_another_system_is_no_match(index):
    assert concepts(index, "http://hl7.org/fhir/sid/icd-10", "M54.16") == set()
    assert concepts(index, "snomed", "97110") == set()


def test_an_endless_code_is_no_code(index):
    assert concepts(index, "icd-10-cm", "M54.1" + "6" * 1000) == set()
