"""API clients and their keys.

A client is a program that calls us: idempotency keys belong to it. It holds API keys, which are
random, shown once, and stored as their SHA-256: 256 bits of chance need no slow hash, and the
look-up is by the hash, so its time tells nothing of a key.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from psycopg import Connection
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow, class_row

from creditledger.infra.database import AsyncPool

Scope = Literal["commands", "read", "admin", "events"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

KEY_PREFIX: Final = "clk_"
_HINT_CHARACTERS = 10

#: A revoked key is refused everywhere after this long, at the latest.
REVOCATION_SECONDS_MAX: Final = 5.0

#: Keys that one process remembers: far more than clients have, and bounded.
_REMEMBERED_MAX = 10_000

#: The client that the first key belongs to.
FIRST_CLIENT: Final = "default"

#: Two first starts at once make one first key ("cl keys" in ASCII).
_FIRST_KEY_LOCK: Final = 0x636C206B657973


class ClientRefused(Exception):
    """What was asked of clients and keys does not fit; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Client:
    """A program that calls us."""

    client_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """What may be told of an API key. `ends_at` is when it stops, or stopped, being accepted."""

    key_id: str
    client: str
    hint: str
    scopes: Sequence[str]
    created_at: datetime
    ends_at: datetime | None
    active: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and what it may do."""

    client_id: str
    key_id: str
    scopes: frozenset[str]


def create_client(
    connection: Connection[TupleRow], name: str, scopes: Sequence[str]
) -> tuple[Client, str]:
    """A new client with a first key, which is never shown again.

    Raises ClientRefused where the name is taken or empty, or a scope is unknown.
    """
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise ClientRefused(f"a client's name has 1 to 100 printable characters: {name!r}")
    with connection.transaction():
        try:
            with connection.cursor(row_factory=class_row(Client)) as cursor:
                client = cursor.execute(
                    "INSERT INTO clients (client_id, name) VALUES (%s, %s)"
                    " RETURNING client_id, name, created_at",
                    (f"cli_{secrets.token_hex(8)}", name),
                ).fetchone()
        except UniqueViolation:
            raise ClientRefused(f"there is a client named {name!r} already") from None
        assert client is not None
        return client, create_key(connection, name, scopes)


def ensure_client(connection: Connection[TupleRow], name: str) -> None:
    """See that there is a client of this name, with keys or without."""
    connection.execute(
        "INSERT INTO clients (client_id, name) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING",
        (f"cli_{secrets.token_hex(8)}", name),
    )


def clients(connection: Connection[TupleRow]) -> list[Client]:
    """All clients, by name."""
    with connection.cursor(row_factory=class_row(Client)) as cursor:
        return cursor.execute(
            "SELECT client_id, name, created_at FROM clients ORDER BY name"
        ).fetchall()


def create_key(
    connection: Connection[TupleRow],
    client: str,
    scopes: Sequence[str],
    *,
    key: str | None = None,
    lasts_seconds: int | None = None,
) -> str:
    """A new key for the client of this name; the key itself, which is never shown again.

    `key` is one that somebody else has made (it must be as hard to guess). Raises ClientRefused
    where there is no such client, or a scope is unknown.
    """
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise ClientRefused(
            f"scopes are {', '.join(SCOPES)}; got {', '.join(sorted(unknown)) or 'none'}"
        )
    key = key or KEY_PREFIX + secrets.token_urlsafe(32)
    cursor = connection.execute(
        "INSERT INTO api_keys (key_id, client_id, key_hash, hint, scopes, ends_at)"
        " SELECT %s, client_id, %s, %s, %s, now() + make_interval(secs => %s)"
        " FROM clients WHERE name = %s",
        (
            f"key_{secrets.token_hex(8)}",
            _hash(key),
            key[:_HINT_CHARACTERS],
            [scope for scope in SCOPES if scope in scopes],
            lasts_seconds,
            client,
        ),
    )
    if cursor.rowcount == 0:
        raise ClientRefused(f"there is no client named {client!r}")
    return key


def keys(connection: Connection[TupleRow], client: str | None = None) -> list[Key]:
    """The keys of one client or of all, oldest first; ended ones, too."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(
            "SELECT key_id, name AS client, hint, scopes, api_keys.created_at, ends_at,"
            " coalesce(ends_at > now(), true) AS active"
            " FROM api_keys JOIN clients USING (client_id)"
            " WHERE name = %(client)s OR %(client)s::text IS NULL"
            " ORDER BY api_keys.created_at, key_id",
            {"client": client},
        ).fetchall()


def revoke_key(connection: Connection[TupleRow], key_id: str, *, after_seconds: int = 0) -> None:
    """End a key now, or after a while; everywhere within REVOCATION_SECONDS_MAX of that.

    An end that is set already is only ever brought forward. Raises ClientRefused where there is no
    such key.
    """
    cursor = connection.execute(
        "UPDATE api_keys SET ends_at = least(ends_at, now() + make_interval(secs => %s))"
        " WHERE key_id = %s",
        (after_seconds, key_id),
    )
    if cursor.rowcount == 0:
        raise ClientRefused(f"there is no key {key_id!r}; `creditledger keys list` shows them")


def rotate_key(connection: Connection[TupleRow], key_id: str, *, overlap_seconds: int) -> str:
    """A new key with the old one's client and scopes; the old one ends after the overlap.

    Raises ClientRefused where there is no such key, or where it has ended.
    """
    with connection.transaction():
        row = connection.execute(
            "SELECT name, scopes, coalesce(ends_at > now(), true)"
            " FROM api_keys JOIN clients USING (client_id) WHERE key_id = %s"
            " FOR UPDATE OF api_keys",
            (key_id,),
        ).fetchone()
        if row is None:
            raise ClientRefused(f"there is no key {key_id!r}; `creditledger keys list` shows them")
        client, scopes, active = row
        if not active:
            raise ClientRefused(f"key {key_id} has ended; create a new one for client {client!r}")
        revoke_key(connection, key_id, after_seconds=overlap_seconds)
        return create_key(connection, client, scopes)


def ensure_first_key(connection: Connection[TupleRow], given: str | None) -> str | None:
    """See that there is a key to begin with; return it where it was made here and now.

    A given key gets all scopes, once: it stays revoked where somebody revoked it. Where none is
    given, one is made when there is no client yet.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_FIRST_KEY_LOCK,))
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM clients),"
            " EXISTS (SELECT FROM api_keys WHERE key_hash = %s)",
            (_hash(given or ""),),
        ).fetchone()
        assert row is not None
        any_client, given_key = row
        if given_key or (given is None and any_client):
            return None
        ensure_client(connection, FIRST_CLIENT)
        key = create_key(connection, FIRST_CLIENT, SCOPES, key=given)
        return key if given is None else None


class Authenticator:
    """Tells who holds a key. Remembers it for a moment, so most requests ask nobody."""

    def __init__(self, pool: AsyncPool, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def caller(self, key: str) -> Caller | None:
        """Who holds this key; None where nobody does.

        What is remembered holds for at most REVOCATION_SECONDS_MAX. Keys that nobody holds are not
        remembered: a new key works at once. Raises psycopg.OperationalError or
        psycopg_pool.PoolTimeout where the database cannot be asked.
        """
        hashed = _hash(key)
        if known := self._remembered.get(hashed):
            caller, until = known
            if self._clock() < until:
                return caller
            del self._remembered[hashed]
        # Requests that come while the question is out share it, and none of them can cancel it.
        asking = self._asking.get(hashed)
        if asking is None:
            asking = asyncio.create_task(self._ask(hashed))
            self._asking[hashed] = asking
            asking.add_done_callback(lambda _: self._asking.pop(hashed, None))
        return await asyncio.shield(asking)

    async def _ask(self, hashed: bytes) -> Caller | None:
        asked_at = self._clock()
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT client_id, key_id, scopes,"
                " extract(epoch FROM ends_at - clock_timestamp())::float8"
                " FROM api_keys WHERE key_hash = %s",
                (hashed,),
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        client_id, key_id, scopes, seconds_left = row
        if seconds_left is not None and seconds_left <= 0:
            return None
        caller = Caller(client_id, key_id, frozenset(scopes))
        lasts = min(REVOCATION_SECONDS_MAX, seconds_left or REVOCATION_SECONDS_MAX)
        self._remembered[hashed] = (caller, asked_at + lasts)
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return caller


def _hash(key: str) -> bytes:
    # Headers may hold any character; what cannot be encoded is nobody's key.
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
