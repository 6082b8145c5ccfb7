"""Every CDS_* variable is read once, and a wrong one is named."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cds_service.app import local_day
from cds_service.settings import Settings, SettingsError, read_settings


def test_every_setting_has_a_default_that_works():
    assert read_settings() == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "member", "read"),
    [
        ("CDS_PORT", "9000", "port", 9000),
        (
            "CDS_CORS_ORIGINS",
            "https://a.example, https://b.example",
            "cors_origins",
            ("https://a.example", "https://b.example"),
        ),
        ("CDS_TIMEZONE", "America/Chicago", "timezone", "America/Chicago"),
        ("CDS_TIMEZONE", "", "timezone", None),
        ("CDS_VALUE_SETS", "", "value_sets", None),
        ("CDS_PROFILE", "guideline", "profile", "guideline"),
    ],
)
def test_a_variable_is_read(monkeypatch, variable, value, member, read):
    monkeypatch.setenv(variable, value)
    assert getattr(read_settings(), member) == read


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CDS_PORT", "many", "CDS_PORT: "),
        ("CDS_PORT", "70000", "CDS_PORT: "),
        ("CDS_TIMEZONE", "Mars/Olympus", "CDS_TIMEZONE: .*not a time zone"),
        ("CDS_VALUE_SETS", "/no/such/folder", "CDS_VALUE_SETS: "),
        ("CDS_LOG_LEVEL", "loud", "CDS_LOG_LEVEL: "),
        ("CDS_DIALECT", "latin", "CDS_DIALECT: .*not one of default, epic, v1"),
        ("CDS_DIALECT_FILE", "/no/such/file.toml", "CDS_DIALECT_FILE: "),
        ("CDS_VALUESETS", "x", "CDS_VALUESETS is not a setting; did you mean CDS_VALUE_SETS"),
    ],
)
def test_a_wrong_variable_is_named_without_its_value(monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message) as error:
        read_settings()
    assert "/no/such" not in str(error.value)
    assert "Olympus" not in str(error.value)


def test_the_day_is_that_of_the_site():
    assert local_day("Pacific/Kiritimati") == datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    assert local_day("Etc/GMT+12") <= datetime.now(UTC).date() <= local_day("Pacific/Kiritimati")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CDS_CORS_ORIGINS", "https://a.example/path"),
        ("CDS_CORS_ORIGINS", "a.example"),
        ("CDS_PUBLIC_URL", "ftp://a.example"),
        ("CDS_MAX_DEPTH", "251"),
    ],
)
def test_a_value_that_could_not_work_is_refused_at_the_start(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{variable}: "):
        read_settings()


def test_a_log_level_is_read_in_any_case(monkeypatch):
    monkeypatch.setenv("CDS_LOG_LEVEL", "WARNING")
    assert read_settings().log_level == "warning"
