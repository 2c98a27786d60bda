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

from creditledger.infra.clients import SCOPES, create_key, ensure_client
from creditledger.infra.settings import PREFIX, Settings

#: In the data folder; `set -a; . sandbox.env` puts it into the environment.
SANDBOX_FILE: Final = "sandbox.env"

_CLIENT: Final = "sandbox"
_KEY_SECONDS: Final = 3600


def with_sandbox_secrets(settings: Settings) -> Settings:
    """The settings, with secrets of the data folder for each sandbox that has none.

    They are made when they are first needed, in `sandbox.env`, which only its owner can read.
    """
    missing = [
        provider
        for provider in ("stripe", "polar")
        if getattr(settings, f"{provider}_environment") == "sandbox"
        and not getattr(settings, f"{provider}_webhook_secrets")
    ]
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


def create_sandbox_key(connection: Connection[TupleRow]) -> str:
    """An API key with all scopes for a try-out, that ends by itself."""
    ensure_client(connection, _CLIENT)
    return create_key(connection, _CLIENT, SCOPES, lasts_seconds=_KEY_SECONDS)


def _kept(file: Path) -> dict[str, str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(file, "x", opener=_private) as draft:
            for provider in ("stripe", "polar"):
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
