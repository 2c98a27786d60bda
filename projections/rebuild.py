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

# The storage options of a table, such as its fillfactor.
_OPTIONS: Final = """
    SELECT option_name, option_value
    FROM pg_class, pg_options_to_table(reloptions) WHERE oid = %s::regclass
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
        building = _Building(connection, projection, log, home, side)
        building.catch_up(progress)
        building.analyze()
        while not building.swap():
            # A query is being answered from the old tables; those behind it must not wait for us.
            time.sleep(_SWAP_RETRY_SECONDS)
            building.catch_up(progress)
    return building.position


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
        _create_copy(connection, table, home=home, side=side)
    path = sql.Identifier(side).as_string(connection) + ", " + search_path
    connection.execute("SELECT set_config('search_path', %s, false)", (path,))
    try:
        yield home, side
    finally:
        if not connection.closed:
            connection.execute(drop)


def _create_copy(connection: Connection[Any], table: str, *, home: str, side: str) -> None:
    """An empty table in every way like the live one; LIKE leaves its options out."""
    old, new = sql.Identifier(home, table), sql.Identifier(side, table)
    create = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(new, old)
    connection.execute(create)
    options = connection.execute(_OPTIONS, (old.as_string(connection),)).fetchall()
    for name, value in options:
        change = sql.SQL("ALTER TABLE {} SET ({} = {})")
        connection.execute(change.format(new, sql.Identifier(name), sql.Literal(value)))


class _Building:
    """The new tables, from their first event to their place."""

    def __init__(
        self, connection: Connection[Any], projection: Projection, log: Log, home: str, side: str
    ) -> None:
        self.position = 0
        self._connection = connection
        self._projection = projection
        self._log = log
        self._home = home
        self._side = side
        self._locked_in_order = list(projection.tables)

    def catch_up(self, progress: Progress) -> None:
        """Handle the log up to nearly its end."""
        while True:
            self._advance()
            newest = max(self.position, self._log.head())
            progress(self.position, newest)
            if newest - self.position < _NEARLY:
                return

    def analyze(self) -> None:
        """Let the planner know the new tables before they are read."""
        for table in self._projection.tables:
            name = sql.Identifier(self._side, table)
            self._connection.execute(sql.SQL("ANALYZE {}").format(name))

    def swap(self) -> bool:
        """Put the new tables in the place of the old ones; False where these are being read."""
        position = self.position
        try:
            with self._connection.transaction():
                self._connection.execute("SET LOCAL synchronous_commit = on")
                self._connection.execute(_SWAP_LOCK)
                live = checkpoints.lock(self._connection, self._projection.name)
                while self.position < live:
                    self._advance()
                self._replace_tables()
                checkpoints.replace(self._connection, self._projection, self.position)
        except LockNotAvailable:
            self.position = position
            # Readers may take the tables in another order, and would wait for us as we for them.
            self._locked_in_order.reverse()
            return False
        return True

    def _advance(self) -> None:
        # Nobody else moves the new tables, so there is no checkpoint to claim until the swap.
        self.position = advance(
            self._connection, self._projection, self._log, _go_on, after=self.position
        )

    def _replace_tables(self) -> None:
        for table in self._locked_in_order:
            lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE")
            self._connection.execute(lock.format(sql.Identifier(self._home, table)))
        home = sql.Identifier(self._home)
        for table in self._projection.tables:
            old, new = sql.Identifier(self._home, table), sql.Identifier(self._side, table)
            self._connection.execute(sql.SQL("DROP TABLE {}").format(old))
            self._connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(new, home))


def _go_on(cursor: Cursor[Any], after: int, to: int) -> bool:
    return True
