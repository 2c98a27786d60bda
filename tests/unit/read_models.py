"""Read models that follow a log by hand, for tests that want them up to date and nothing more."""

from __future__ import annotations

from functools import partial
from time import monotonic, sleep
from typing import Any, Final

from psycopg import Connection, Cursor

from creditledger.infra.database import connect
from creditledger.infra.event_log import EventLog
from creditledger.projections import checkpoints
from creditledger.projections.catalogue import PROJECTIONS
from creditledger.projections.projection import Projection
from creditledger.projections.runner import advance

_PATIENCE_SECONDS: Final = 20.0


def catch_up(database_url: str, log: EventLog) -> None:
    """Let every projection handle all that the log holds."""
    with connect(database_url, "tests") as connection:
        for projection in PROJECTIONS:
            catch_up_one(connection, projection, log)


def catch_up_one(connection: Connection[Any], projection: Projection, log: EventLog) -> None:
    """Let one projection handle all that the log holds."""
    position = checkpoints.enlist(connection, projection).position
    claim = partial(_claim, projection)
    while (reached := advance(connection, projection, log, claim, after=position)) != position:
        position = reached


def _claim(projection: Projection, cursor: Cursor[Any], after: int, to: int) -> bool:
    return bool(checkpoints.claim(cursor, [projection], after=after, to=to))


def await_unlocked(connection: Connection[Any]) -> None:
    """Return when nobody holds an advisory lock in this database: backends end a little late."""
    deadline = monotonic() + _PATIENCE_SECONDS
    while connection.execute(
        "SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    ).fetchall():
        assert monotonic() < deadline, "an advisory lock is still held"
        sleep(0.01)
