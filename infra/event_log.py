"""Reading the log: in order of position, stream by stream, or as one account's past.

Statements are planned anew each time: a plan that was kept from when the tables were small would
scan them when they are large.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.persistence import MapperDeserialisationError
from psycopg import Connection, InterfaceError, OperationalError, sql
from psycopg.errors import IdleInTransactionSessionTimeout, ReadOnlySqlTransaction
from psycopg.rows import TupleRow

from creditledger.domain import ids
from creditledger.domain.events import ACCOUNT_EVENTS, Event
from creditledger.domain.ids import EventRef
from creditledger.domain.snapshots import FORM
from creditledger.domain.store import Snapshot, Stream, Unavailable
from creditledger.infra.database import Pool
from creditledger.infra.frozen_log import FrozenLog, import_snapshot
from creditledger.infra.mapper import LedgerMapper
from creditledger.projections.arrays import uuid_array

#: Events that one page looks at to find those of the wanted topics, so that a rare topic costs
#: many short pages and never a long one.
LOOKED_AT_MAX: Final = 5_000

_ACCOUNT_TOPICS: Final = [kind.TOPIC for kind in ACCOUNT_EVENTS]

_HEAD: Final = "SELECT coalesce(max(notification_id), 0) FROM ledger_events"

# The accounts that the newest events are about, those with the newest first.
_IN_USE: Final = """
    SELECT originator_id
      FROM ledger_events
     WHERE notification_id > (SELECT max(notification_id) FROM ledger_events) - %(events)s
       AND topic = ANY (%(topics)s)
     GROUP BY originator_id
     ORDER BY max(notification_id) DESC
     LIMIT %(most)s
"""

# The log from a position on; the states of other topics stay where they are.
_PAGE: Final = """
    SELECT notification_id, topic,
           CASE WHEN %(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[]) THEN state END,
           originator_id, originator_version
      FROM ledger_events
     WHERE notification_id > %(after)s
     ORDER BY notification_id
     LIMIT %(rows)s
"""

# The same for a few streams, each found by its primary key.
_PAGE_OF_STREAMS: Final = """
    SELECT notification_id, topic,
           CASE WHEN %(topics)s::text[] IS NULL OR topic = ANY (%(topics)s::text[]) THEN state END,
           originator_id, originator_version
      FROM unnest(%(streams)s::uuid[]) AS wanted (stream)
     CROSS JOIN LATERAL (
           SELECT *
             FROM ledger_events
            WHERE originator_id = wanted.stream
              AND originator_version > creditledger_version_at(wanted.stream, %(after)s)
            ORDER BY originator_version
            LIMIT %(rows)s) AS found
     ORDER BY notification_id
     LIMIT %(rows)s
"""

# The latest snapshot that is not after a moment, and the events from there to that moment. The
# next snapshot bounds the search: times never go back in a stream.
_PAST: Final = """
    WITH known AS MATERIALIZED (
        SELECT originator_version, recorded_at, state
          FROM ledger_snapshots
         WHERE originator_id = %(stream)s AND form = %(form)s
    ), base AS MATERIALIZED (
        SELECT * FROM known WHERE recorded_at <= %(at)s ORDER BY originator_version DESC LIMIT 1
    )
    SELECT originator_version, NULL, recorded_at, state FROM base
    UNION ALL
    (SELECT originator_version, topic, recorded_at, state
       FROM ledger_events
      WHERE originator_id = %(stream)s
        AND originator_version > coalesce((SELECT originator_version FROM base), 0)
        AND originator_version < coalesce(
            (SELECT min(originator_version) FROM known WHERE recorded_at > %(at)s),
            9223372036854775807)
        AND recorded_at <= %(at)s
      ORDER BY originator_version)
"""

# The latest snapshot before a version, and the events from there to that version, itself included.
_BEFORE: Final = """
    WITH base AS MATERIALIZED (
        SELECT originator_version, recorded_at, state
          FROM ledger_snapshots
         WHERE originator_id = %(stream)s AND form = %(form)s
           AND originator_version < %(version)s
         ORDER BY originator_version DESC
         LIMIT 1
    )
    SELECT originator_version, NULL, recorded_at, state FROM base
    UNION ALL
    (SELECT originator_version, topic, recorded_at, state
       FROM ledger_events
      WHERE originator_id = %(stream)s
        AND originator_version > coalesce((SELECT originator_version FROM base), 0)
        AND originator_version <= %(version)s
      ORDER BY originator_version)
"""


class Logged(NamedTuple):
    """An event and its position in the log."""

    position: int
    event: Event


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the log: what was wanted of it, up to `position`, where the next page begins.

    `more` is False where the log ended here when it was read.
    """

    events: Sequence[Logged]
    position: int
    more: bool


class UnreadableEvent(Exception):
    """An event in the log cannot be understood by this release."""

    def __init__(self, position: int, event_id: str, reason: str) -> None:
        super().__init__(f"event {event_id} at position {position}: {reason}")
        self.position = position
        self.event_id = event_id


#: What says that a server or a session is gone, or is not what it was.
_TROUBLE: Final = (
    OperationalError,
    InterfaceError,
    ReadOnlySqlTransaction,
    IdleInTransactionSessionTimeout,
)


@contextmanager
def trouble_as_unavailable() -> Iterator[None]:
    """Trouble with a connection, or with its server, is raised as Unavailable."""
    try:
        yield
    except _TROUBLE as error:
        raise Unavailable(f"PostgreSQL: {error}") from error


@contextmanager
def reaching(pool: Pool) -> Iterator[Connection[TupleRow]]:
    """A connection of the pool; trouble with it, or with its server, is raised as Unavailable."""
    with trouble_as_unavailable(), pool.connection() as connection:
        yield connection


class EventLog:
    """The log as others read it. Any thread may; every method raises Unavailable."""

    def __init__(self, pool: Pool, mapper: LedgerMapper | None = None) -> None:
        self._pool = pool
        self._mapper = mapper or LedgerMapper()

    def head(self) -> int:
        """The newest position; 0 where nothing is stored."""
        with reaching(self._pool) as connection:
            return _head(connection)

    def read(
        self,
        after: int,
        limit: int,
        *,
        streams: Collection[UUID] | None = None,
        topics: Collection[str] | None = None,
    ) -> Page:
        """Up to `limit` events past the position `after`, in order, of these streams and topics.

        An event that cannot be read ends the page before it, and raises UnreadableEvent where
        it would be the first.
        """
        values: dict[str, Any] = {
            "after": after,
            "rows": limit if topics is None else max(limit, LOOKED_AT_MAX),
            "topics": None if topics is None else list(topics),
        }
        statement = _PAGE
        if streams is not None:
            statement, values["streams"] = _PAGE_OF_STREAMS, uuid_array(streams)
        with reaching(self._pool) as connection, connection.cursor(binary=True) as cursor:
            rows = cursor.execute(statement, values, prepare=False).fetchall()
        return self._page(rows, after, limit, more=len(rows) == values["rows"])

    def accounts_in_use(self, *, events: int, most: int) -> list[UUID]:
        """The accounts that the newest so many events are about, those used last first.

        Raises Unavailable.
        """
        values = {"events": events, "topics": _ACCOUNT_TOPICS, "most": most}
        with reaching(self._pool) as connection:
            return [row[0] for row in connection.execute(_IN_USE, values, prepare=False)]

    def _page(self, rows: Sequence[TupleRow], after: int, limit: int, *, more: bool) -> Page:
        events: list[Logged] = []
        position = after
        decode = self._mapper.decode
        for row in rows:
            place, topic, state, _, _ = row
            if state is not None:
                if len(events) == limit:
                    return Page(events, position, more=True)
                try:
                    events.append(Logged(place, decode(topic, state)))
                except MapperDeserialisationError as error:
                    if events:
                        return Page(events, position, more=True)
                    raise _unreadable(row, error) from error
            position = place
        return Page(events, position, more)

    def state_at(self, stream: UUID, at: datetime) -> Stream:
        """What was stored of a stream at a past moment, from the nearest snapshot before it on."""
        return self._stream(_PAST, {"stream": stream, "at": at, "form": FORM})

    def before(self, ref: EventRef) -> tuple[Stream, Event] | None:
        """An event, and what was stored of its stream before it; None where it is not there."""
        found = self._stream(_BEFORE, {**ref._asdict(), "form": FORM})
        if not found.events or found.events[-1].originator_version != ref.version:
            return None
        return replace(found, events=found.events[:-1]), found.events[-1]

    def _stream(self, statement: str, values: dict[str, Any]) -> Stream:
        with reaching(self._pool) as connection, connection.cursor(binary=True) as cursor:
            rows = cursor.execute(statement, values, prepare=False).fetchall()
        return stored_stream(values["stream"], rows, self._mapper)

    @contextmanager
    def frozen(
        self, tables: Iterable[str] = (), *, snapshot: str | None = None
    ) -> Iterator[FrozenLog]:
        """The log as it is now, whatever is written meanwhile, with the tables beside it.

        `tables` keep their places until the end: a rebuild that is done waits with its swap.
        With `snapshot`, it is the log as another one sees it that is still open.
        """
        with reaching(self._pool) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if snapshot is not None:
                import_snapshot(connection, snapshot)
            for table in tables:
                # Before the first query, which decides what this transaction will see.
                lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE")
                connection.execute(lock.format(sql.Identifier(table)))
            yield FrozenLog(connection, _head(connection), self._mapper)


def _unreadable(row: TupleRow, error: MapperDeserialisationError) -> UnreadableEvent:
    position, _, _, stream, version = row
    event_id = ids.event_id(ids.EVENT, ids.stream_key(stream), version)
    return UnreadableEvent(position, event_id, str(error))


def stored_stream(stream: UUID, rows: Iterable[TupleRow], mapper: LedgerMapper) -> Stream:
    """A stream from rows of version, topic, time and state; a row without topic is a snapshot."""
    snapshot = None
    events = []
    for version, topic, recorded_at, state in rows:
        if topic is None:
            plain = msgspec.json.decode(state)
            snapshot = Snapshot(stream, version, recorded_at.astimezone(UTC), plain)
        else:
            events.append(mapper.decode(topic, state))
    return Stream(snapshot, events)


def _head(connection: Connection[TupleRow]) -> int:
    row = connection.execute(_HEAD, prepare=False).fetchone()
    assert row is not None
    return int(row[0])
