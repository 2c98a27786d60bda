"""Makes a read model again from nothing, while the old one goes on being read and fed.

The new rows are built in a schema of their own, which stands first in the search path, so the
handlers write there without knowing. When they have caught up, the tables change places in one
transaction. Whatever happens before that leaves the old ones as they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

from psycopg import Connection, Cursor, sql
from psycopg.errors import LockNotAvailable

from creditledger.projections import checkpoints
from creditledger.projections.projection import AppendedProjection, Projection
from creditledger.projections.runner import Connect, Log, PoisonedEvent, advance, prepare
from creditledger.projections.shared_log import Reader, SharedLog

#: More than a projection that runs takes at a time: what changes often is written more rarely.
BATCH: Final = 10_000

#: Told after each batch: the position reached, and the newest one.
Progress = Callable[[int, int], None]

#: How long readers may be kept waiting for the swap, before it steps back and tries again later.
#: Shorter than PostgreSQL's deadlock_timeout (1 s), so no reader is ever the victim of a deadlock.
_SWAP_LOCK: Final = "SET LOCAL lock_timeout = '100ms'"

_SWAP_RETRY_SECONDS: Final = 0.2

#: So few events to go are handled within the swap: while others write, there are always some.
_NEARLY: Final = 500

#: Several times PostgreSQL's default, for as long as the indexes are made.
_INDEX_MEMORY: Final = "SET maintenance_work_mem = '256MB'"

# One rebuild of a projection of this schema at a time.
_LOCK: Final = """
    SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '/rebuild/' || %s, 0))
"""

# The storage options of a table, such as its fillfactor.
_OPTIONS: Final = """
    SELECT option_name, option_value
    FROM pg_class, pg_options_to_table(reloptions) WHERE oid = %s::regclass
"""


# The indexes of a table, told for the same table in another schema; a primary key's own name.
_INDEXES: Final = """
    SELECT replace(pg_get_indexdef(indexrelid),
                   format(' ON %%I.%%I USING ', %(home)s::text, %(table)s::text),
                   format(' ON %%I.%%I USING ', %(side)s::text, %(table)s::text)),
           CASE WHEN indisprimary THEN relname END
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = format('%%I.%%I', %(home)s::text, %(table)s::text)::regclass
    ORDER BY indisprimary DESC, relname
"""


class RebuildRefused(Exception):
    """A rebuild cannot begin; nothing was changed."""


def rebuild(
    projections: Sequence[Projection], connect: Connect, log: Log, progress: Progress
) -> Mapping[str, int]:
    """Build read models anew and put them in the old ones' places; return the positions reached.

    The log is read once for all of them. May be interrupted at any time and started again: it
    begins from nothing. Each takes its place as soon as it is done, whatever comes of the others.
    Raises RebuildRefused where another one is under way, and PoisonedEvent: the first of all.
    """
    shared = SharedLog(log)
    readers = {projection: shared.reader() for projection in projections}
    slowest = _Slowest(projections, progress)
    with ThreadPoolExecutor(len(projections)) as threads:
        try:
            building = [
                threads.submit(_rebuild_one, projection, connect, reader, slowest)
                for projection, reader in readers.items()
            ]
            faults = [fault for done in as_completed(building) if (fault := _fault_of(done))]
        finally:
            shared.end()
    if faults:
        raise faults[0]
    return dict(done.result() for done in building)


def _fault_of(done: Future[Any]) -> PoisonedEvent | RebuildRefused | None:
    """What is one projection's own fault; any other ends all rebuilds, and is raised."""
    try:
        done.result()
    except (PoisonedEvent, RebuildRefused) as fault:
        return fault
    return None


class _Slowest:
    """Tells how far the slowest of several has come."""

    def __init__(self, projections: Iterable[Projection], progress: Progress) -> None:
        self._positions = dict.fromkeys(projections, 0)
        self._progress = progress
        self._lock = Lock()

    def told(self, projection: Projection, position: int, newest: int) -> None:
        with self._lock:
            self._positions[projection] = position
            self._progress(min(self._positions.values()), newest)

    def gone(self, projection: Projection) -> None:
        """Wait for this one no more."""
        with self._lock:
            del self._positions[projection]


def _rebuild_one(
    projection: Projection, connect: Connect, log: Reader, slowest: _Slowest
) -> tuple[str, int]:
    def progress(position: int, newest: int) -> None:
        slowest.told(projection, position, newest)

    try:
        with connect() as connection, _side_schema(connection, projection) as (home, side):
            # Its commits need not wait for the disk either, before the last one.
            prepare(connection)
            building = _Building(connection, projection, log, home, side)
            building.catch_up(progress)
            log.leave()
            building.index()
            building.catch_up(progress)
            while not building.swap():
                # A query is being answered from the old tables; nobody must wait behind us.
                time.sleep(_SWAP_RETRY_SECONDS)
                building.catch_up(progress)
    finally:
        log.leave()
        slowest.gone(projection)
    return projection.name, building.position


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
        indexed = not isinstance(projection, AppendedProjection)
        _create_copy(connection, table, home=home, side=side, indexed=indexed)
    path = sql.Identifier(side).as_string(connection) + ", " + search_path
    connection.execute("SELECT set_config('search_path', %s, false)", (path,))
    try:
        yield home, side
    finally:
        if not connection.closed:
            connection.execute(drop)


def _create_copy(
    connection: Connection[Any], table: str, *, home: str, side: str, indexed: bool
) -> None:
    """An empty table in every way like the live one; LIKE leaves its options out."""
    old, new = sql.Identifier(home, table), sql.Identifier(side, table)
    less = sql.SQL("" if indexed else " EXCLUDING INDEXES")
    create = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL{})").format(new, old, less)
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

    def index(self) -> None:
        """Make the indexes that are still to come, and let the planner know the new tables."""
        self._connection.execute(_INDEX_MEMORY)
        for table in self._projection.tables:
            name = sql.Identifier(self._side, table)
            if isinstance(self._projection, AppendedProjection):
                self._make_indexes(table)
            self._connection.execute(sql.SQL("ANALYZE {}").format(name))

    def _make_indexes(self, table: str) -> None:
        values = {"home": self._home, "side": self._side, "table": table}
        for definition, primary_key in self._connection.execute(_INDEXES, values).fetchall():
            self._connection.execute(definition)
            if primary_key is not None:
                add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {key} PRIMARY KEY USING INDEX {key}")
                name = sql.Identifier(self._side, table)
                self._connection.execute(add.format(name, key=sql.Identifier(primary_key)))

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
            self._connection,
            self._projection,
            self._log,
            _go_on,
            after=self.position,
            limit=BATCH,
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
