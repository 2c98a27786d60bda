"""Signing secrets for a sandbox where nobody configured any, so that everything can be tried.

They are random and stay on the machine, so they forge nothing elsewhere. In production there are
none but the configured ones.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Final

from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import SecretStr

from creditledger.domain.provider_commands import Provider
from creditledger.infra.clients import SCOPES, create_key, ensure_client
from creditledger.infra.settings import PREFIX, Settings, redacted

#: In the data folder; `set -a; . sandbox.env` puts it into the environment.
SANDBOX_FILE: Final = "sandbox.env"

_PROVIDERS: Final[tuple[Provider, ...]] = ("stripe", "polar")

_CLIENT: Final = "sandbox"
_KEY_SECONDS: Final = 3600


def with_sandbox_secrets(settings: Settings) -> Settings:
    """The settings, with secrets of the data folder for each sandbox that has none.

    They are made when they are first needed, in `sandbox.env`, which only its owner can read.
    """
    missing = _without_secrets(settings)
    if not missing:
        return settings
    kept = _kept(settings.data_dir / SANDBOX_FILE)
    return settings.model_copy(
        update={
            f"{provider}_webhook_secrets": (SecretStr(kept[_variable(provider)]),)
            for provider in missing
        }
    )


def webhook_secrets(settings: Settings) -> dict[str, str]:
    """The signing secrets as variables that a process can be given. Not to be shown."""
    return {
        _variable(provider): ",".join(secret.get_secret_value() for secret in found)
        for provider, found in (
            ("stripe", settings.stripe_webhook_secrets),
            ("polar", settings.polar_webhook_secrets),
        )
    }


def told_settings(settings: Settings) -> dict[str, str]:
    """Each variable with what is in force, as `redacted` tells it, and where the sandbox's are."""
    told = redacted(settings)
    file = settings.data_dir / SANDBOX_FILE
    # A folder of another user's may not be looked into; `exists` would raise.
    if os.access(file, os.F_OK):
        for provider in _without_secrets(settings):
            told[_variable(provider)] = f"(1 set by `creditledger up`, in {file})"
    return told


def create_sandbox_key(connection: Connection[TupleRow]) -> str:
    """An API key with all scopes for a try-out, that ends by itself."""
    ensure_client(connection, _CLIENT)
    return create_key(connection, _CLIENT, SCOPES, lasts_seconds=_KEY_SECONDS)


def _without_secrets(settings: Settings) -> list[Provider]:
    """The providers whose sandbox counts, and has no secrets configured."""
    return [
        provider
        for provider in _PROVIDERS
        if settings.environment_of(provider) == "sandbox"
        and not getattr(settings, f"{provider}_webhook_secrets")
    ]


def _kept(file: Path) -> dict[str, str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(file, "x", opener=_private) as draft:
            for provider in _PROVIDERS:
                secret = base64.b64encode(secrets.token_bytes(32)).decode()
                draft.write(f"{_variable(provider)}=whsec_{secret}\n")
    except FileExistsError:
        pass
    lines = file.read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _variable(provider: str) -> str:
    return f"{PREFIX}{provider.upper()}_WEBHOOK_SECRETS"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
