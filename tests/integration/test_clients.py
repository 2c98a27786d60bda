"""API clients and keys, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from creditledger.infra.clients import (
    REVOCATION_SECONDS_MAX,
    SCOPES,
    Authenticator,
    ClientRefused,
    clients,
    create_client,
    create_key,
    ensure_first_key,
    keys,
    revoke_key,
    rotate_key,
)
from creditledger.infra.database import async_connection_pool, connect
from set_clock import Clock

GIVEN_KEY = "a-key-that-was-made-elsewhere"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[TupleRow]]:
    with connect(database_url, "tests") as connection:
        yield connection


@pytest.fixture
def clock() -> Clock[float]:
    return Clock(1000.0)


@pytest.fixture
async def authenticator(database_url: str, clock: Clock[float]) -> AsyncIterator[Authenticator]:
    async with async_connection_pool(database_url, "tests", size=2) as pool:
        yield Authenticator(pool, clock=clock)


def test_a_key_is_shown_once_and_stored_as_a_hash(connection: Connection[TupleRow]) -> None:
    client, key = create_client(connection, "billing", ["read", "commands"])
    assert key.startswith("clk_")
    assert len(key) > 40
    assert clients(connection) == [client]
    (listed,) = keys(connection, "billing")
    assert listed.active
    assert listed.scopes == ["commands", "read"]
    assert key.startswith(listed.hint)
    stored = connection.execute("SELECT api_keys::text, clients::text FROM api_keys, clients")
    assert key not in str(stored.fetchall())


def test_what_does_not_fit_is_refused_and_changes_nothing(
    connection: Connection[TupleRow],
) -> None:
    create_client(connection, "billing", ["read"])
    for name, scopes, why in (
        ("billing", ["read"], "named 'billing' already"),
        ("  ", ["read"], "printable"),
        ("a\x00b", ["read"], "printable"),
        ("other", ["write"], "got write"),
        ("other", [], "got none"),
    ):
        with pytest.raises(ClientRefused, match=why):
            create_client(connection, name, scopes)
    with pytest.raises(ClientRefused, match="no client named 'nobody'"):
        create_key(connection, "nobody", ["read"])
    for refused in (revoke_key, lambda c, k: rotate_key(c, k, overlap_seconds=0)):
        with pytest.raises(ClientRefused, match="no key 'key_x'"):
            refused(connection, "key_x")
    assert [client.name for client in clients(connection)] == ["billing"]
    assert len(keys(connection)) == 1


@pytest.mark.anyio
async def test_callers_are_known_by_their_key_and_nobody_else_is(
    connection: Connection[TupleRow], authenticator: Authenticator
) -> None:
    client, key = create_client(connection, "billing", ["read"])
    caller = await authenticator.caller(key)
    assert caller is not None
    assert (caller.client_id, caller.scopes) == (client.client_id, frozenset({"read"}))
    for wrong in ("", "clk_", key[:-1], key + "a", key.upper(), "\ud800", "\x00"):
        assert await authenticator.caller(wrong) is None


@pytest.mark.anyio
async def test_a_revoked_key_is_refused_after_the_stated_time(
    connection: Connection[TupleRow], authenticator: Authenticator, clock: Clock[float]
) -> None:
    _, key = create_client(connection, "billing", ["read"])
    assert await authenticator.caller(key)
    revoke_key(connection, keys(connection)[0].key_id)
    assert not keys(connection)[0].active
    clock.now += REVOCATION_SECONDS_MAX - 0.001
    assert await authenticator.caller(key)
    clock.now += 0.001
    assert await authenticator.caller(key) is None


@pytest.mark.anyio
async def test_a_new_key_works_at_once_even_if_it_was_asked_for_before(
    connection: Connection[TupleRow], authenticator: Authenticator
) -> None:
    assert await authenticator.caller(GIVEN_KEY) is None
    ensure_first_key(connection, GIVEN_KEY)
    assert await authenticator.caller(GIVEN_KEY)


@pytest.mark.anyio
async def test_after_a_rotation_both_keys_work_for_the_overlap(
    connection: Connection[TupleRow], authenticator: Authenticator, clock: Clock[float]
) -> None:
    client, old = create_client(connection, "billing", ["read", "events"])
    new = rotate_key(connection, keys(connection)[0].key_id, overlap_seconds=3)
    for key in (old, new):
        caller = await authenticator.caller(key)
        assert caller is not None
        assert (caller.client_id, caller.scopes) == (
            client.client_id,
            frozenset({"read", "events"}),
        )
    # What is remembered ends with the overlap, not with the longest time to remember.
    clock.now += 3
    connection.execute("UPDATE api_keys SET ends_at = now() WHERE ends_at IS NOT NULL")
    assert await authenticator.caller(old) is None
    assert await authenticator.caller(new)
    with pytest.raises(ClientRefused, match="has ended"):
        rotate_key(connection, keys(connection)[0].key_id, overlap_seconds=3)


def test_a_later_revocation_never_prolongs_a_key(connection: Connection[TupleRow]) -> None:
    create_client(connection, "billing", ["read"])
    key_id = keys(connection)[0].key_id
    revoke_key(connection, key_id)
    revoke_key(connection, key_id, after_seconds=3600)
    assert not keys(connection)[0].active


@pytest.mark.anyio
async def test_requests_at_once_ask_once_and_survive_a_cancelled_one(
    connection: Connection[TupleRow], authenticator: Authenticator
) -> None:
    _, key = create_client(connection, "billing", ["read"])
    asked = [asyncio.create_task(authenticator.caller(key)) for _ in range(50)]
    await asyncio.sleep(0)
    asked[0].cancel()
    callers = await asyncio.gather(*asked[1:])
    assert len({id(caller) for caller in callers}) == 1
    assert callers[0] is not None


def test_the_first_key_is_made_once_however_many_start(database_url: str) -> None:
    def start(_: int) -> str | None:
        with connect(database_url, "tests") as connection:
            return ensure_first_key(connection, None)

    with ThreadPoolExecutor(8) as threads:
        made = [key for key in threads.map(start, range(8)) if key]
    assert len(made) == 1


def test_a_given_first_key_exists_from_the_start_and_stays_revoked(
    connection: Connection[TupleRow],
) -> None:
    create_client(connection, "billing", ["read"])
    for _ in range(2):
        assert ensure_first_key(connection, GIVEN_KEY) is None
    (given,) = keys(connection, "default")
    assert given.scopes == list(SCOPES)
    revoke_key(connection, given.key_id)
    ensure_first_key(connection, GIVEN_KEY)
    assert not keys(connection, "default")[0].active
    assert ensure_first_key(connection, None) is None
