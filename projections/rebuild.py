"""Makes a read model again from nothing, while the old one goes on being read and fed.

The new rows are built in a schema of their own, which stands first in the search path, so the
handlers write there without knowing. When they have caught up, the tables change places in one
transaction. Whatever happens before that leaves the old ones as they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from psycopg import Connection, Cursor, sql
from psycopg.errors import LockNotAvailable

from creditledger.projections import checkpoints
from creditledger.projections.projection import Projection
from creditledger.projections.runner import BATCH, Connect, Log, advance

#: Told after each batch: the position reached, and the newest one.
Progress = Callable[[int, int], None]

#: How long readers may be kept waiting for the swap, before it steps back and tries again later.
#: Shorter than PostgreSQL's deadlock_timeout (1 s), so no reader is ever the victim of a deadlock.
_SWAP_LOCK: Final = "SET LOCAL lock_timeout = '100ms'"

_SWAP_RETRY_SECONDS: Final = 0.2

#: So few events to go are handled within the swap: while others write, there are always some.
_NEARLY: Final = BATCH // 10

# One rebuild of a projection of this schema at a time.
_LOCK: Final = """
    SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '/rebuild/' || %s, 0))
"""


class RebuildRefused(Exception):
    """A rebuild cannot begin; nothing was changed."""


def rebuild(projection: Projection, connect: Connect, log: Log, progress: Progress) -> int:
    """Build the read model anew and put it in the old one's place; return the position reached.

    May be interrupted at any time and started again: it begins from nothing. Raises
    RebuildRefused where another one is under way, and PoisonedEvent.
    """
    with connect() as connection, _side_schema(connection, projection) as (home, side):
        # The rows need not outlive a crash before the swap, whose own commit waits for the disk.
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET plan_cache_mode = force_custom_plan")
        position = _catch_up(connection, projection, log, 0, progress)
        for table in projection.tables:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(side, table)))
        while True:
            position = _catch_up(connection, projection, log, position, progress)
            try:
                return _swap(connection, projection, log, position, home=home, side=side)
            except LockNotAvailable:
                # A long query is being answered from the old tables: those behind it must not wait.
                time.sleep(_SWAP_RETRY_SECONDS)


@contextmanager
def _side_schema(connection: Connection[Any], projection: Projection) -> Iterator[tuple[str, str]]:
    """Empty copies of the tables in a schema of their own, first in the search path."""
    row = connection.execute(_LOCK, (projection.name,)).fetchone()
    if row is None or not row[0]:
        raise RebuildRefused(f"another rebuild of {projection.name} is under way: wait for it")
    checkpoints.enlist(connection, projection)
    row = connection.execute("SELECT current_schema(), current_setting('search_path')").fetchone()
    assert row is not None
    home, search_path = row
    side = f"{home}_rebuild_{projection.name}"
    # What an interrupted rebuild has left.
    drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(side))
    connection.execute(drop)
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(side)))
    for table in projection.tables:
        connection.execute(
            sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(
                sql.Identifier(side, table), sql.Identifier(home, table)
            )
        )
    path = sql.Identifier(side).as_string(connection) + ", " + search_path
    connection.execute("SELECT set_config('search_path', %s, false)", (path,))
    try:
        yield home, side
    finally:
        if not connection.closed:
            connection.execute(drop)


def _catch_up(
    connection: Connection[Any],
    projection: Projection,
    log: Log,
    position: int,
    progress: Progress,
) -> int:
    while True:
        position = advance(connection, projection, log, _go_on, after=position)
        newest = max(position, log.head())
        progress(position, newest)
        if newest - position < _NEARLY:
            return position


def _go_on(cursor: Cursor[Any], after: int, to: int) -> bool:
    """Until the swap, nobody else moves the new tables, so there is no checkpoint to move."""
    return True


def _swap(
    connection: Connection[Any],
    projection: Projection,
    log: Log,
    position: int,
    *,
    home: str,
    side: str,
) -> int:
    """Put the new tables in the place of the old ones, not behind them."""
    with connection.transaction():
        connection.execute(_SWAP_LOCK)
        connection.execute("SET LOCAL synchronous_commit = on")
        live = checkpoints.lock(connection, projection.name)
        while position < live:
            position = advance(connection, projection, log, _go_on, after=position)
        for table in projection.tables:
            old, new = sql.Identifier(home, table), sql.Identifier(side, table)
            connection.execute(sql.SQL("DROP TABLE {}").format(old))
            connection.execute(
                sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(new, sql.Identifier(home))
            )
        checkpoints.replace(connection, projection, position)
    return position
