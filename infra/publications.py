"""How far the log has been published: one row of `publications` for each topic it goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

# A topic that is new here gets everything from the first event on.
_ENLIST: Final = """
    INSERT INTO publications (topic) VALUES (%(topic)s) ON CONFLICT (topic) DO NOTHING
"""

_FIND: Final = "SELECT position FROM publications WHERE topic = %(topic)s"

# Only from where the publisher saw it: whoever was overtaken, or sent back, has to look again.
_ADVANCE: Final = """
    UPDATE publications SET position = %(to)s, updated_at = clock_timestamp()
    WHERE topic = %(topic)s AND position = %(after)s
"""

# Every topic with the distance to the end of the log.
_LAGS: Final = """
    SELECT topic, greatest(newest - position, 0) AS lag
    FROM publications,
        (SELECT coalesce(max(notification_id), 0) AS newest FROM ledger_events) AS log
    ORDER BY topic
"""

# Whoever holds this lock publishes this schema's log to the topic.
_LEAD: Final = """
    SELECT pg_try_advisory_lock(
        hashtextextended(current_schema() || '/publications/' || %(topic)s, 0))
"""


@dataclass(frozen=True, slots=True)
class Lag:
    """How many events a topic has yet to get."""

    topic: str
    lag: int


def lead(connection: Connection[Any], topic: str) -> bool:
    """Become the one that publishes to the topic, as long as the connection lives; False where
    another is.
    """
    row = connection.execute(_LEAD, {"topic": topic}).fetchone()
    return row is not None and bool(row[0])


def enlist(connection: Connection[Any], topic: str) -> None:
    """Give the topic a checkpoint where it has none."""
    connection.execute(_ENLIST, {"topic": topic})


def published(connection: Connection[Any], topic: str) -> int:
    """Up to which position the topic has everything; it must have been enlisted."""
    row = connection.execute(_FIND, {"topic": topic}).fetchone()
    assert row is not None
    return int(row[0])


def advance(connection: Connection[Any], topic: str, *, after: int, to: int) -> bool:
    """Move the checkpoint; False where it is no longer at `after`."""
    values = {"topic": topic, "after": after, "to": to}
    return connection.execute(_ADVANCE, values).rowcount == 1


async def lags(connection: AsyncConnection[Any]) -> list[Lag]:
    """All topics that were ever published to, by name."""
    async with connection.cursor(row_factory=class_row(Lag)) as cursor:
        await cursor.execute(_LAGS)
        return await cursor.fetchall()
