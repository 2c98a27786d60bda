"""The log at one moment: for a proof, which several processes may share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from eventsourcing.persistence import MapperDeserialisationError
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.infra.mapper import LedgerMapper
from creditledger.projections.arrays import bigint_array, uuid_array

#: Events that the server sends at a time while the whole log is read.
_FETCHED_AT_ONCE: Final = 2_000

# Where the positions are not one after the other, from 1 on.
_GAPS: Final = """
    SELECT previous, position FROM (
        SELECT notification_id AS position,
            lag(notification_id, 1, 0::bigint) OVER (ORDER BY notification_id) AS previous
        FROM ledger_events
    ) AS pairs
    WHERE position <> previous + 1
    ORDER BY position LIMIT 100
"""

# Every stream from one id up to another, stream by stream.
_BY_STREAM: Final = """
    SELECT notification_id, topic, state, uuid_send(originator_id), originator_version, recorded_at
      FROM ledger_events
     WHERE originator_id >= %(first)s AND (%(beyond)s::uuid IS NULL OR originator_id < %(beyond)s)
     ORDER BY originator_id, originator_version
"""

# All events of some topics.
_OF_TOPICS: Final = """
    SELECT notification_id, topic, state, uuid_send(originator_id), originator_version, recorded_at
      FROM ledger_events
     WHERE topic = ANY (%(topics)s)
     ORDER BY notification_id
"""

# A few streams, whole.
_STREAMS: Final = """
    SELECT notification_id, topic, state, uuid_send(originator_id), originator_version, recorded_at
      FROM ledger_events
     WHERE originator_id = ANY (%(streams)s::uuid[])
     ORDER BY originator_id, originator_version
"""

# Single events by where they stand.
_SINGLE: Final = """
    SELECT notification_id, topic, state, uuid_send(originator_id), originator_version, recorded_at
      FROM unnest(%(streams)s::uuid[], %(versions)s::bigint[]) AS asked (stream, version)
      JOIN ledger_events ON originator_id = stream AND originator_version = version
"""


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with the columns beside it; `event` is None where `fault` says why."""

    position: int
    topic: str
    stream: UUID
    version: int
    recorded_at: datetime
    event: Event | None
    fault: str | None


class FrozenLog:
    """The log at one moment. `connection` sees all tables as they were then, and is read-only."""

    def __init__(self, connection: Connection[TupleRow], head: int, mapper: LedgerMapper) -> None:
        self.connection = connection
        self.head = head
        self._mapper = mapper
        self._range: tuple[UUID, UUID | None] = (UUID(int=0), None)

    def part(self, first: UUID, beyond: UUID | None) -> FrozenLog:
        """The same, of which `by_stream` tells only the streams from `first` to before `beyond`."""
        part = FrozenLog(self.connection, self.head, self._mapper)
        part._range = (first, beyond)
        return part

    def snapshot(self) -> str:
        """What lets other sessions see the same, until this one's transaction ends."""
        row = self.connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        return str(row[0])

    def gaps(self) -> list[tuple[int, int]]:
        """Positions that do not follow the one before: that one and the position, the first few."""
        return [(row[0], row[1]) for row in self.connection.execute(_GAPS)]

    def by_stream(self) -> Iterator[Sequence[StoredEvent]]:
        """All events, stream by stream, each in order of its versions, a long one in pieces."""
        first, beyond = self._range
        for events in self._told(_BY_STREAM, {"first": first, "beyond": beyond}):
            begins, stream = 0, events[0].stream
            for place, event in enumerate(events):
                # Events of one stream that were read together have the very same.
                if event.stream is not stream:
                    yield events[begins:place]
                    begins, stream = place, event.stream
            yield events[begins:]

    def of_topics(self, topics: Collection[str]) -> Iterator[StoredEvent]:
        """All events of these topics, in order of their positions."""
        told = self._told(_OF_TOPICS, {"topics": list(topics)})
        return chain.from_iterable(told)

    def _told(self, statement: str, values: dict[str, Any]) -> Iterator[list[StoredEvent]]:
        # The whole will be read, so the plan that ends first is wanted, not the one that begins so.
        self.connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        # A part may be gone through once more on the way through another one.
        with self.connection.cursor(f"ledger_{uuid4().hex}", binary=True) as cursor:
            cursor.itersize = _FETCHED_AT_ONCE
            cursor.execute(statement, values)
            while rows := cursor.fetchmany(_FETCHED_AT_ONCE):
                yield self._stored(rows)

    def of_streams(self, streams: Collection[UUID]) -> list[StoredEvent]:
        """All events of these streams, stream by stream."""
        return self._events(_STREAMS, {"streams": uuid_array(streams)})

    def at(self, refs: Collection[EventRef]) -> list[StoredEvent]:
        """Single events by where they stand; missing ones are left out."""
        values = {
            "streams": uuid_array(ref.stream for ref in refs),
            "versions": bigint_array(ref.version for ref in refs),
        }
        return self._events(_SINGLE, values)

    def _events(self, statement: str, values: dict[str, Any]) -> list[StoredEvent]:
        with self.connection.cursor(binary=True) as cursor:
            rows = cursor.execute(statement, values, prepare=False).fetchall()
        return self._stored(rows)

    def _stored(self, rows: Sequence[TupleRow]) -> list[StoredEvent]:
        decode = self._mapper.decode
        stream, stream_bytes = UUID(int=0), b""
        events = []
        for position, topic, state, its_stream, version, recorded_at in rows:
            if its_stream != stream_bytes:
                stream, stream_bytes = UUID(bytes=its_stream), its_stream
            event, fault = None, None
            try:
                event = decode(topic, state)
            except MapperDeserialisationError as error:
                fault = str(error)
            stored = StoredEvent(position, topic, stream, version, recorded_at, event, fault)
            events.append(stored)
        return events


def prepare_to_prove(connection: Connection[Any]) -> None:
    """Set a transaction up for going through whole tables beside others that do the same.

    Rows are sorted in memory, and no help is called: each processor has a part of its own.
    """
    connection.execute("SET LOCAL work_mem = '64MB'")
    connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")


def import_snapshot(connection: Connection[Any], snapshot: str) -> None:
    """Let the transaction that has just begun see what that of another session sees."""
    statement = sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot))
    connection.execute(statement)
