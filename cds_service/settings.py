"""Every CDS_* variable, validated once at start; each has a default that works."""

from __future__ import annotations

import difflib
import os
import re
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    DirectoryPath,
    Field,
    FilePath,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cds_service.protocol.dialect import read_dialect, read_site_terms

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d+)?|https?://\[[0-9a-fA-F:]+\](:\d+)?|null")
_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class SettingsError(Exception):
    """A CDS_* variable has an unusable value."""


class Settings(BaseSettings):
    """How this installation runs. The descriptions are the table in the README."""

    model_config = SettingsConfigDict(env_prefix="CDS_", frozen=True, extra="ignore")

    clients: Path | None = Field(
        None, description="TOML file of the clients that may call; else whoever reaches the service may"
    )
    host: str = Field("127.0.0.1", description="Address that `serve` listens on")
    port: int = Field(8000, ge=0, le=65535, description="Port that `serve` listens on; 0 picks a free one")
    workers: int = Field(1, ge=1, le=64, description="Worker processes of `serve`")
    threads: int = Field(32, ge=1, le=256, description="Threads of each worker")
    max_wait_ms: int = Field(
        200, ge=20, le=10_000, description="Longest wait for a turn, in milliseconds; what would wait longer gets 503"
    )
    drain_ms: int = Field(
        1000,
        ge=0,
        le=60_000,
        description="How long after SIGTERM calls are still taken while `/readyz` says no, in milliseconds",
    )
    rate: int = Field(100, ge=1, description="Calls a second of one client; the next gets 429")
    concurrency: int | None = Field(
        None, ge=1, description="Calls of one client at once in a worker; else three quarters of `CDS_THREADS`"
    )
    max_body: int = Field(16 * 1024 * 1024, ge=1024, description="Largest request body, in bytes")
    max_depth: int = Field(64, ge=8, le=250, description="Deepest nesting of a request body")
    deadline_ms: int = Field(
        450, ge=50, le=30_000, description="Time for one answer, in milliseconds, for what it asks"
    )
    fhir_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("https://r4.smarthealthit.org", "https://hapi.fhir.org/baseR4"),
        description="Base URLs of the FHIR servers that are asked for data not sent along, separated by commas",
    )
    ca_bundle: FilePath | None = Field(
        None,
        description="File of the certificate authorities that FHIR servers are trusted by, in PEM; else the usual ones",
    )
    fhir_loopback: bool = Field(True, description="Also ask FHIR servers on this machine; switch off in production")
    timezone: str | None = Field(
        None, description="Time zone that decides what day it is, such as America/Chicago; else the machine's"
    )
    value_sets: DirectoryPath | None = Field(
        None, description="Folder of value-set files that replace ours of the same name or add to them"
    )
    profile: str = Field("policy", description="Policy profile of the pathway, by its name in pathway.toml")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",),
        description="Origins that browsers may call from, separated by commas; none with a clients file, unless named",
    )
    dialect: str = Field(
        "default",
        description="How clients are spoken to: `default` (CDS Hooks 2.0.1), `epic`, `v1` (1.0), `cerner`, `bahmni`, "
        "`sandbox`, `crd-generator`",
    )
    dialect_file: FilePath | None = Field(
        None, description="TOML file with the prefetch keys of the site's EHR and its codes for orders"
    )
    public_url: str | None = Field(
        None, description="Address under which clients reach this service: the `aud` of their tokens, links on cards"
    )
    insecure: bool = Field(
        False,
        description="For development: without a clients file also listen beyond this machine; with one, take key sets "
        "and FHIR servers over http on this machine, and keys whose private half is published",
    )
    redis_url: str | None = Field(
        None,
        description="Redis or Valkey, such as redis://host/0, that all workers and instances share for used tokens and "
        "to count calls; else a database, and each process",
    )
    without_replay_store: Literal["refuse", "accept"] = Field(
        "refuse", description="What happens to tokens while it cannot be remembered which were used"
    )
    traces: bool = Field(
        False,
        description="Send OpenTelemetry traces to the collector of `OTEL_EXPORTER_OTLP_ENDPOINT`; needs the extra "
        "`otel`",
    )
    emergency_url: str | None = Field(
        None, description="Address of the site's emergency pathway, named on cards about red flags"
    )
    data: Path | None = Field(
        None, description="Folder of the ledger and its secret; else `cds-service` in the user's data folder"
    )
    database_url: str | None = Field(
        None,
        description="Database of the ledger, such as postgresql://user:password@host/name; else SQLite in `CDS_DATA`",
    )
    secret_file: FilePath | None = Field(
        None, description="File of the secret behind card ids and digests; else one is made in `CDS_DATA`"
    )
    ledger: Literal["digest", "capsule"] = Field(
        "digest",
        description="What is kept of a call: `digest` (hashes), or `capsule` (also the call itself, encrypted, for "
        "`replay`)",
    )
    capsule_days: int = Field(
        30, ge=1, le=3650, description="Days that a capsule is kept; the default is our choice, the site decides"
    )
    disk_floor_mb: int = Field(
        100, ge=0, description="Free space in the data folder below which `/readyz` says no, in MB"
    )
    without_ledger: Literal["refuse", "answer"] = Field(
        "refuse", description="What happens to calls that cannot be recorded: `refuse` (503) or `answer`"
    )
    snooze_days: int = Field(
        0,
        ge=0,
        le=365,
        description="Days for which a card that a user overrode stays away from that user, for that patient and on the "
        "same evidence; never a critical one; 0: it does not",
    )
    once_per_encounter: bool = Field(
        False,
        description="Show a card once in an encounter, until the evidence changes; critical ones again at order-sign",
    )
    comment_days: int = Field(
        365, ge=1, le=3650, description="Days for which the free text of feedback is kept, encrypted"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line")

    @property
    def data_folder(self) -> Path:
        """Where this installation keeps what outlives it."""
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return self.data or Path(home) / "cds-service"

    @model_validator(mode="before")
    @classmethod
    def _closed_to_strangers(cls, values: dict[str, Any]) -> dict[str, Any]:
        """With a clients file, nothing is open to all that was not named."""
        closed = {"cors_origins": (), "fhir_servers": (), "fhir_loopback": False}
        return closed | values if values.get("clients") else values

    @field_validator("cors_origins", "fhir_servers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            ZoneInfo(value or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("not a time zone name such as Europe/Berlin") from error
        return value or None

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "*" in value and info.data.get("clients"):
            raise ValueError("with a clients file, name the origins that browsers may call from")
        wrong = [origin for origin in value if origin != "*" and not _ORIGIN.fullmatch(origin)]
        if wrong:
            raise ValueError("not an origin such as https://ehr.example.org, without path or trailing slash")
        return value

    @field_validator("fhir_servers")
    @classmethod
    def _bases(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("clients"):
            raise ValueError("with a clients file, every client lists its own there")
        if not all(_ADDRESS.fullmatch(base) for base in value):
            raise ValueError("not FHIR base URLs such as https://ehr.example.org/fhir/R4")
        return tuple(base.rstrip("/") for base in value)

    @field_validator("public_url", "emergency_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value and not _ADDRESS.fullmatch(value):
            raise ValueError("not an address such as https://cds.example.org")
        return value.rstrip("/") if value else None

    @field_validator("redis_url")
    @classmethod
    def _one_protocol(cls, value: str | None) -> str | None:
        """Valkey speaks the protocol of Redis, and is asked by the libraries of Redis."""
        return value.replace("valkey", "redis", 1) if value and value.startswith("valkey") else value

    @field_validator("traces")
    @classmethod
    def _can_be_sent(cls, value: bool) -> bool:
        if value and not any(distributions(name="opentelemetry-exporter-otlp-proto-http")):
            raise ValueError("OpenTelemetry is not installed; pip install 'cds-service[otel]'")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("dialect")
    @classmethod
    def _known_dialect(cls, value: str) -> str:
        return read_dialect(value).name

    @field_validator("dialect_file")
    @classmethod
    def _usable_file(cls, value: Path | None) -> Path | None:
        if value:
            read_site_terms(value)
        return value

    @field_validator(
        "clients", "value_sets", "ca_bundle", "dialect_file", "public_url", "emergency_url", "data", "database_url",
        "secret_file", "redis_url", mode="before",
    )  # fmt: skip
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None


def read_settings() -> Settings:
    """Read the environment. Raises SettingsError that names the variable and what is wrong with it."""
    known = {f"CDS_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name.startswith("CDS_") and name not in known and close:
            raise SettingsError(f"{name} is not a setting; did you mean {close[0]}?")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        variable = f"CDS_{'_'.join(str(part) for part in first['loc'][:1]).upper()}"
        raise SettingsError(f"{variable}: {first['msg']}. See the settings table in the README.") from None
