"""What can be set, by environment variables with the prefix CREDITLEDGER_ or in a `.env` file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from creditledger.domain.provider_commands import Provider

PREFIX = "CREDITLEDGER_"

#: Variables with this prefix speak to the test suite, not to the service.
_TEST_PREFIX = f"{PREFIX}TEST_"

Environment = Literal["sandbox", "production"]

#: Secret and restricted keys say whether money is real.
_STRIPE_KEY = re.compile(r"[sr]k_(?P<mode>live|test)_")


def _split(value: object) -> object:
    """`a, b` becomes `("a", "b")`."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _postgresql(url: str) -> str:
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise ValueError("not a PostgreSQL address; write postgresql://user:password@host/database")
    return url


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


def _bearable(key: SecretStr) -> SecretStr:
    """A key must be hard to guess, and go into a header."""
    if not re.fullmatch(r"[!-~]{20,200}", key.get_secret_value()):
        raise ValueError("an API key has 20 to 200 visible ASCII characters, and no spaces")
    return key


Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
PostgresUrl = Annotated[str, AfterValidator(_postgresql)]
#: With room for an ending; Kafka itself allows 249 of these characters.
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]


class InvalidSettings(Exception):
    """A variable has a value that does not fit."""


class Settings(BaseSettings):
    """Everything that can be set. Times are in the unit that the name ends with."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = Field(default="127.0.0.1", description="Where to serve: the address")
    port: int = Field(default=8000, ge=1, le=65535, description="Where to serve: the port")
    database_url: PostgresUrl | None = Field(
        default=None,
        repr=False,
        description="A PostgreSQL of your own, 15 or later; without it, the embedded one",
    )
    data_dir: Annotated[Path, AfterValidator(_absolute)] = Field(
        default=Path("creditledger-data"),
        description="Where the embedded PostgreSQL keeps its data",
    )
    bootstrap_api_key: Annotated[SecretStr, AfterValidator(_bearable)] | None = Field(
        default=None,
        description="An API key with all scopes that exists from the first start on; "
        "without it, one is made and printed once",
    )

    stripe_webhook_secrets: Secrets = Field(
        default=(), description="Stripe's signing secrets, comma-separated, all valid at once"
    )
    polar_webhook_secrets: Secrets = Field(
        default=(), description="Polar's signing secrets, comma-separated, all valid at once"
    )
    stripe_api_key: SecretStr | None = Field(
        default=None,
        description="Looks up what was bought where a payment does not say it, and reconciles; "
        "optional",
    )
    polar_access_token: SecretStr | None = Field(
        default=None,
        description="Reconciles with Polar's own lists; optional, but lost chargebacks send no "
        "event",
    )
    stripe_environment: Environment = Field(
        default="sandbox",
        validate_default=True,
        description="Whose events count; the API key must be of the same",
    )
    polar_environment: Environment = Field(
        default="sandbox", description="Whose events count, and which of Polar's APIs is asked"
    )
    reconcile_interval_hours: int = Field(
        default=24,
        ge=0,
        le=720,
        description="How often a provider whose key is set is reconciled; 0 for never",
    )
    webhook_retention_days: int = Field(
        default=90, ge=1, le=3650, description="How long the bodies of finished deliveries are kept"
    )

    kafka_bootstrap_servers: str | None = Field(
        default=None,
        description="Apache Kafka, `host:port`, comma-separated: webhooks go through it, and "
        "events are published; without it, webhooks go through the database",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to speak to Kafka"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="How to log in to Kafka"
    )
    kafka_sasl_username: str | None = Field(default=None, description="As whom")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="With which password")
    kafka_ssl_ca_file: Path | None = Field(
        default=None, description="Who may vouch for the brokers (PEM); the machine's list if empty"
    )
    kafka_ssl_cert_file: Path | None = Field(
        default=None, description="Our own certificate for Kafka (PEM), where the brokers ask"
    )
    kafka_ssl_key_file: Path | None = Field(
        default=None, description="The key of our certificate (PEM)"
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        default=None, description="What opens that key"
    )
    kafka_create_topics: bool = Field(
        default=True, description="Whether topics that are missing are created at the start"
    )
    kafka_replication: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Copies of each topic that is created; as the brokers are set if empty",
    )
    kafka_webhooks_topic: TopicName = Field(
        default="creditledger.webhooks",
        description="Deliveries; those that failed go to the topic of this name and `.dead`",
    )
    kafka_webhooks_partitions: int = Field(
        default=12, ge=1, le=10_000, description="Partitions of that topic, where it is created"
    )
    kafka_webhooks_retention_days: int = Field(
        default=30, ge=1, le=3650, description="How long Kafka keeps them, where it is created"
    )
    kafka_webhooks_group: str = Field(
        default="creditledger.webhooks",
        min_length=1,
        max_length=255,
        description="The consumer group of the workers",
    )
    kafka_events_topic: TopicName = Field(
        default="creditledger.events", description="Where the ledger's events are published"
    )
    kafka_events_source: str = Field(
        default="/creditledger",
        pattern=r"^[!-~]{1,200}$",
        description="Which ledger they come from, as a URI reference: each has its own",
    )
    kafka_events_partitions: int = Field(
        default=12, ge=1, le=10_000, description="Partitions of that topic, where it is created"
    )
    kafka_events_retention_days: int = Field(
        default=30, ge=1, le=3650, description="How long Kafka keeps them, where it is created"
    )

    refund_grace_days: int = Field(
        default=7, ge=0, le=3650, description="How long a refund into an expired lot can be spent"
    )
    revocation_policy: Literal["debt", "write_off"] = Field(
        default="debt", description="What becomes of revoked credits that were spent"
    )
    hold_expires_in_default: int = Field(
        default=900,
        ge=1,
        le=2_592_000,
        description="Seconds that a hold lives where none are named",
    )

    write_queue_limit: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Commands that may wait; past it, 503 at once",
    )
    write_batch_limit: int = Field(
        default=1_000, ge=1, le=10_000, description="Commands that are decided in one transaction"
    )
    account_cache_limit: int = Field(
        default=20_000, ge=0, le=10_000_000, description="Accounts that the writer keeps in memory"
    )
    read_pool_size: int = Field(
        default=10, ge=1, le=200, description="Connections that answer queries, per process"
    )
    sweep_interval_seconds: int = Field(
        default=5, ge=1, le=86_400, description="How often expiries and lapses are written down"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged, to standard error"
    )

    @field_validator("stripe_environment")
    @classmethod
    def _of_the_keys(cls, environment: Environment, info: ValidationInfo) -> Environment:
        """A key of one environment must never book into the other's ledger."""
        key = info.data.get("stripe_api_key")
        match = _STRIPE_KEY.match(key.get_secret_value()) if key is not None else None
        if match is not None and (match["mode"] == "live") != (environment == "production"):
            raise ValueError(
                f"is {environment}, but {PREFIX}STRIPE_API_KEY is a {match['mode']} key"
                f" ({match[0]}…); set the key of this environment, or the environment of this key"
            )
        return environment

    def environment_of(self, provider: Provider) -> Environment:
        """The environment of a provider whose events count."""
        return self.stripe_environment if provider == "stripe" else self.polar_environment

    @property
    def address(self) -> str:
        """Where the service answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def load_settings() -> Settings:
    """The settings in force. Raises InvalidSettings, which names each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        lines = (
            f"{PREFIX}{'_'.join(str(part) for part in e['loc'][:1]).upper()}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise InvalidSettings("\n".join(lines)) from None


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Variables with our prefix that set nothing: mostly typing errors."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in environment
        if name.startswith(PREFIX) and not name.startswith(_TEST_PREFIX) and name not in known
    )


def redacted(settings: Settings) -> dict[str, str]:
    """Each variable with what is in force, readable by anybody: secrets are only counted."""
    return {
        PREFIX + name.upper(): _redact(name, getattr(settings, name))
        for name in Settings.model_fields
    }


def _redact(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return "(set)"
        case tuple():
            return f"({len(value)} set)"
        case str() if name == "database_url":
            return without_password(value)
        case _:
            return str(value)


def without_password(url: str) -> str:
    """A database's address that may be printed. Options may hold a password, so they are cut."""
    parts = urlsplit(url)
    login, at, place = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, login.split(":")[0] + at + place, parts.path, "", ""))
