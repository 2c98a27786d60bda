"""How far each projection has come, and whether it runs: one row of `projections` for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final, Literal

from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row

from creditledger.projections.projection import Projection
from creditledger.projections.queries import checkpoint_of

Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]

#: How often a reader looks whether a read model has reached its position.
_LOOK_SECONDS: Final = 0.004

# A projection that is new here starts before the first event.
_ENLIST = """
    INSERT INTO projections (name, version) VALUES (%(name)s, %(version)s)
    ON CONFLICT (name) DO NOTHING
"""

# Takes projections from one position to the next, those that still stand there and run: the rows
# stay locked until their events are written, so two workers never write the same ones.
_CLAIM = """
    UPDATE projections SET position = %(to)s, updated_at = clock_timestamp()
    FROM unnest(%(names)s::text[], %(versions)s::int[]) AS led (name, version)
    WHERE projections.name = led.name AND projections.version = led.version
      AND position = %(after)s AND status = 'running'
    RETURNING projections.name
"""

_FIND = "SELECT version, position, status FROM projections WHERE name = %(name)s"

_LOCK = "SELECT position FROM projections WHERE name = %(name)s FOR UPDATE"

_STOP = """
    UPDATE projections
    SET status = 'stopped', error = %(error)s, error_position = %(position)s,
        error_event_id = %(event_id)s, updated_at = clock_timestamp()
    WHERE name = %(name)s
"""

_START = """
    UPDATE projections
    SET status = 'running', error = NULL, error_position = NULL, error_event_id = NULL,
        updated_at = clock_timestamp()
    WHERE name = %(name)s AND status = 'stopped'
"""

_REPLACE = """
    UPDATE projections
    SET version = %(version)s, position = %(position)s, status = 'running', error = NULL,
        error_position = NULL, error_event_id = NULL, updated_at = clock_timestamp()
    WHERE name = %(name)s
"""

# Every projection with the distance to the end of the log.
_STATUSES = """
    SELECT name, version, position, status, error, error_position, error_event_id, updated_at,
        greatest(newest - position, 0) AS lag
    FROM projections,
        (SELECT coalesce(max(notification_id), 0) AS newest FROM ledger_events) AS log
    ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a projection stands and which version of it built its rows."""

    version: int
    position: int
    status: Literal["running", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A projection as operators see it; `lag` counts the events that it has yet to handle."""

    name: str
    version: int
    position: int
    lag: int
    status: Literal["running", "stopped"]
    error: str | None
    error_position: int | None
    error_event_id: str | None
    updated_at: datetime


async def statuses(connection: AsyncConnection[Any]) -> list[Status]:
    """All projections that have ever run here, by name."""
    async with connection.cursor(row_factory=class_row(Status)) as cursor:
        await cursor.execute(_STATUSES)
        return await cursor.fetchall()


async def reached(connect: Connect, name: str, position: int, *, timeout_seconds: float) -> bool:
    """Whether the read model has handled `position`, waiting for it until the time is over.

    Takes a connection for each look, and none while it sleeps.
    """
    deadline = monotonic() + timeout_seconds
    while True:
        async with connect() as connection:
            if await checkpoint_of(connection, name) >= position:
                return True
        if monotonic() >= deadline:
            return False
        await asyncio.sleep(_LOOK_SECONDS)


def enlist(connection: Connection[Any], projection: Projection) -> Checkpoint:
    """Where the projection stands, after making its row if it has none."""
    connection.execute(_ENLIST, {"name": projection.name, "version": projection.version})
    return checkpoint(connection, projection.name)


def checkpoint(connection: Connection[Any], name: str) -> Checkpoint:
    """Where the projection stands. Raises LookupError where it has never run."""
    with connection.cursor(row_factory=class_row(Checkpoint)) as cursor:
        found = cursor.execute(_FIND, {"name": name}).fetchone()
    if found is None:
        raise LookupError(f"the projection {name} has never run here")
    return found


def claim(
    cursor: Cursor[Any], projections: Sequence[Projection], *, after: int, to: int
) -> frozenset[str]:
    """Move checkpoints in the open transaction; the names of those that were still at `after`."""
    values = {
        "names": [projection.name for projection in projections],
        "versions": [projection.version for projection in projections],
        "after": after,
        "to": to,
    }
    return frozenset(name for (name,) in cursor.execute(_CLAIM, values))


def stop(
    connection: Connection[Any], name: str, *, error: str, position: int, event_id: str | None
) -> None:
    """Stop a projection, saying why and at which event."""
    values = {"name": name, "error": error, "position": position, "event_id": event_id}
    connection.execute(_STOP, values)


def start(connection: Connection[Any], name: str) -> bool:
    """Let a stopped projection try again; False where it was not stopped."""
    return connection.execute(_START, {"name": name}).rowcount == 1


def lock(connection: Connection[Any], name: str) -> int:
    """Keep the checkpoint from moving until the open transaction ends; return its position."""
    row = connection.execute(_LOCK, {"name": name}).fetchone()
    if row is None:
        raise LookupError(f"the projection {name} has never run here")
    return int(row[0])


def replace(connection: Connection[Any], projection: Projection, position: int) -> None:
    """Say that the projection's rows are now those of a rebuild that reached `position`."""
    values = {"name": projection.name, "version": projection.version, "position": position}
    connection.execute(_REPLACE, values)
