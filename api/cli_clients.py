"""`creditledger clients` and `creditledger keys`: who may call the service.

A new key goes to standard output alone, so that a script can keep it; the rest goes to standard
error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from creditledger.api.cli_database import database_connection
from creditledger.api.cli_tables import print_table
from creditledger.infra import clients
from creditledger.infra.clients import SCOPES

clients_app = typer.Typer(help="Programs that call the service.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys of clients.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="the client's name")]
_KeyId = Annotated[str, typer.Argument(help="the key's id (key_…), as `keys list` shows it")]
_Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help=f"{', '.join(SCOPES)}; repeat it for several"),
]

_DEFAULT_SCOPES: Sequence[str] = ("commands", "read")

#: Long enough to change a key in all places where it is used.
_OVERLAP_HOURS_DEFAULT = 24


@clients_app.command("create")
def create_client(name: _Name, scope: _Scopes = None) -> None:
    """Make a client with a first key (scopes commands and read, unless others are named)."""
    with database_connection() as connection:
        client, key = clients.create_client(connection, name, scope or _DEFAULT_SCOPES)
    print(f"Client {client.name} ({client.client_id}). Its key, shown only now:", file=sys.stderr)
    print(key)


@clients_app.command("list")
def list_clients() -> None:
    """List the clients."""
    with database_connection() as connection:
        found = clients.clients(connection)
    print_table(
        ("name", "client id", "created"),
        ((client.name, client.client_id, _time(client.created_at)) for client in found),
    )


@keys_app.command("create")
def create_key(client: _Name, scope: _Scopes = None) -> None:
    """Make another key for a client (scopes commands and read, unless others are named)."""
    with database_connection() as connection:
        key = clients.create_key(connection, client, scope or _DEFAULT_SCOPES)
    print(f"A key for {client}, shown only now:", file=sys.stderr)
    print(key)


@keys_app.command("list")
def list_keys(
    client: Annotated[str | None, typer.Argument(help="only of this client")] = None,
) -> None:
    """List keys, ended ones too: never the keys themselves, but how they begin."""
    with database_connection() as connection:
        found = clients.keys(connection, client)
    print_table(
        ("key id", "client", "begins", "scopes", "created", "ends", "active"),
        (
            (
                *(key.key_id, key.client, f"{key.hint}…", ",".join(key.scopes)),
                *(_time(key.created_at), _time(key.ends_at), "yes" if key.active else "no"),
            )
            for key in found
        ),
    )


@keys_app.command("revoke")
def revoke_key(key_id: _KeyId) -> None:
    """End a key now."""
    with database_connection() as connection:
        clients.revoke_key(connection, key_id)
    seconds = clients.REVOCATION_SECONDS_MAX
    print(f"{key_id} is revoked; every process refuses it within {seconds:.0f} seconds.")


@keys_app.command("rotate")
def rotate_key(
    key_id: _KeyId,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=24 * 90, help="how long the old key still works")
    ] = _OVERLAP_HOURS_DEFAULT,
) -> None:
    """Make a new key with the same client and scopes; the old one works on for a while."""
    with database_connection() as connection:
        key = clients.rotate_key(connection, key_id, overlap_seconds=overlap_hours * 3600)
    print(f"{key_id} ends in {overlap_hours} h. The new key, shown only now:", file=sys.stderr)
    print(key)


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S %z}"
