"""The ledger's store in PostgreSQL: what commands are decided on, and where they are saved.

Statements are planned anew each time, as in `event_log.py`; only the append, whose plans are made
inside the server, is prepared.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import MapperDeserialisationError
from psycopg import Connection
from psycopg import Error as PostgresError
from psycopg.errors import SerializationFailure, UniqueViolation
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8

from creditledger.domain import ids
from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.receipt import Receipt
from creditledger.domain.snapshots import FORM
from creditledger.domain.store import (
    NONE_SEEN,
    Conflict,
    Expectation,
    LogEnd,
    News,
    Snapshot,
    Stream,
    Unavailable,
)
from creditledger.infra.database import Pool
from creditledger.infra.event_log import reaching, stored_stream, trouble_as_unavailable
from creditledger.infra.lulls import Lulls
from creditledger.infra.mapper import LedgerMapper
from creditledger.projections.arrays import (
    bigint_array,
    bytea_array,
    text_array,
    timestamptz_array,
    uuid_array,
)

_LOG = logging.getLogger(__name__)

#: What it means that one of these has the row already: another writer was first.
_CONFLICTS: Final = frozenset({"ledger_events_pkey", "receipts_pkey"})

# Each stream's latest snapshot past the version at which it was seen, and the events after both.
_LOAD: Final = """
    WITH wanted AS MATERIALIZED (
        SELECT asked.stream, asked.seen, snapshot.*
          FROM unnest(%(streams)s::uuid[], %(seen)s::bigint[]) AS asked (stream, seen)
          LEFT JOIN LATERAL (
               SELECT originator_version AS version, recorded_at, state
                 FROM ledger_snapshots
                WHERE originator_id = asked.stream AND form = %(form)s
                  AND originator_version > asked.seen
                ORDER BY originator_version DESC
                LIMIT 1) AS snapshot ON true
    )
    SELECT stream, version, NULL, recorded_at, state FROM wanted WHERE version IS NOT NULL
    UNION ALL
    (SELECT wanted.stream, later.originator_version, later.topic, NULL, later.state
       FROM wanted
      CROSS JOIN LATERAL (
            SELECT originator_version, topic, state
              FROM ledger_events
             WHERE originator_id = wanted.stream
               AND originator_version > coalesce(wanted.version, wanted.seen)
            OFFSET 0) AS later
      ORDER BY wanted.stream, later.originator_version)
"""

# Streams that do not stand where they were seen.
_CHANGED: Final = """
    SELECT seen.stream
      FROM unnest(%(streams)s::uuid[], %(versions)s::bigint[]) AS seen (stream, version)
     WHERE (SELECT coalesce(max(originator_version), 0)
              FROM ledger_events WHERE originator_id = seen.stream) <> seen.version
"""

# Events by where they stand.
_EVENTS: Final = """
    SELECT asked.stream, asked.version, found.topic, found.state
      FROM unnest(%(streams)s::uuid[], %(versions)s::bigint[]) AS asked (stream, version)
     CROSS JOIN LATERAL (
           SELECT topic, state
             FROM ledger_events
            WHERE originator_id = asked.stream AND originator_version = asked.version
           OFFSET 0) AS found
"""

# Receipts by their ids.
_RECEIPTS: Final = """
    SELECT receipt_id, client_id, key, fingerprint, command, customer_id, asset, outcome, answer,
           recorded_at, position
      FROM receipts
     WHERE receipt_id = ANY (%s::uuid[])
"""

_APPEND: Final = """
    SELECT creditledger_append(
        %s, %s, %s, %s, %s,
        %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
        %s, %s, %s, %s)
"""

# Snapshots of one version are the same, whoever took them. One that a crash of the server loses is
# taken again, so the writer, who waits here, does not wait for the disk, too.
_SAVE_SNAPSHOTS: Final = """
    INSERT INTO ledger_snapshots (originator_id, form, originator_version, recorded_at, state)
    SELECT taken.*
      FROM set_config('synchronous_commit', 'off', true) AS relaxed
     CROSS JOIN unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::bytea[])
           AS taken
    ON CONFLICT DO NOTHING
"""

_TURN: Final = "SELECT * FROM creditledger_turn(%s, %s, %s)"

#: More news than this, and than there are streams at hand, is not told: loading what is needed
#: costs less, and keeps the others waiting for less.
NEWS_MAX: Final = 1_000

#: One encoder for all: making ready for a call costs as much as a small value.
_ENCODER: Final = msgspec.json.Encoder()


class _Held(threading.local):
    """The connection that holds this thread's turn, where there is one."""

    connection: Connection[TupleRow] | None = None


class PostgresLedgerStore:
    """Events, receipts and snapshots of one database. All but snapshots may raise Unavailable.

    What a writer waits for here are its `lulls`.
    """

    def __init__(
        self, pool: Pool, mapper: LedgerMapper | None = None, *, lulls: Lulls | None = None
    ) -> None:
        self._pool = pool
        self._mapper = mapper or LedgerMapper()
        self._lulls = lulls or Lulls()
        self._held = _Held()

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        """Streams from their latest snapshots on, in one query; missing ones are left out.

        Of those that were `seen` at a version, what follows it; left out where nothing does.
        """
        versions = bigint_array([seen.get(stream, 0) for stream in streams])
        values = {"streams": uuid_array(streams), "seen": versions, "form": FORM}
        rows: defaultdict[UUID, list[TupleRow]] = defaultdict(list)
        for stream, *row in self._rows(_LOAD, values):
            rows[stream].append(tuple(row))
        return {
            stream: stored_stream(stream, found, self._mapper) for stream, found in rows.items()
        }

    def changed(self, versions: Mapping[UUID, int]) -> set[UUID]:
        """Those streams that do not stand at the given versions."""
        values = {
            "streams": uuid_array(versions),
            "versions": bigint_array(versions.values()),
        }
        return {row[0] for row in self._rows(_CHANGED, values)}

    def events(self, refs: Collection[EventRef]) -> Mapping[EventRef, Event]:
        """Single events by where they stand; missing ones are left out."""
        values = {
            "streams": uuid_array(ref.stream for ref in refs),
            "versions": bigint_array(ref.version for ref in refs),
        }
        return {
            EventRef(stream, version): self._mapper.decode(topic, state)
            for stream, version, topic, state in self._rows(_EVENTS, values)
        }

    def receipts(self, receipt_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Receipts by their ids; missing ones are left out."""
        rows = self._rows(_RECEIPTS, (uuid_array(receipt_ids),))
        return {row[0]: _receipt(row) for row in rows}

    def receipt_by_key(self, client_id: str, key: str) -> Receipt | None:
        """The receipt of a client's idempotency key, where it was used."""
        receipt_id = ids.receipt_uuid(client_id, key)
        return self.receipts([receipt_id]).get(receipt_id)

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        """Save it all in one transaction and one round trip; return the newest position before it.

        Raises Conflict where a stream does not stand where its events, or the expectations, say
        it was seen, where a receipt exists, or where the log is another than was `seen`: then
        nothing was saved. Raises Unavailable where the outcome is unknown; it is never tried
        again from here.
        """
        values = _append_values(self._mapper, events, receipts, expectations, seen)
        with self._reaching() as connection:
            try:
                row = connection.execute(_APPEND, values, prepare=True).fetchone()
                if connection is self._held.connection:
                    connection.execute("COMMIT")
            except SerializationFailure as error:
                raise Conflict(str(error.diag.message_primary)) from error
            except UniqueViolation as error:
                if error.diag.constraint_name in _CONFLICTS:
                    raise Conflict(str(error.diag.message_detail)) from error
                raise
        assert row is not None
        return int(row[0])

    @contextmanager
    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> Iterator[News]:
        """Until an append or the block ends, nobody else appends; it begins with the news.

        It is a transaction, whose connection serves all of this thread's statements. If that is
        lost, or fails, so is the turn, and the others are let in.
        """
        values = (*_end_values(seen), Int8(max(NEWS_MAX, len(wanted))))
        with reaching(self._pool) as connection:
            try:
                with self._lulls.during(), connection.cursor(binary=True) as cursor:
                    connection.execute("BEGIN")
                    rows = cursor.execute(_TURN, values, prepare=True).fetchall()
                self._held.connection = connection
                yield self._news(seen, rows, wanted)
            finally:
                self._held.connection = None
                _end(connection)

    def _news(
        self, seen: LogEnd | None, rows: Sequence[TupleRow], wanted: Collection[UUID]
    ) -> News:
        if not rows:
            assert seen is not None
            return News(seen, {})
        position, recorded_at, another, last_stream, _, _ = rows[-1]
        end = LogEnd(position, recorded_at)
        if last_stream is None:
            return News(end, None, another)
        changed: defaultdict[UUID, list[Event]] = defaultdict(list)
        unreadable = set()
        for _, _, _, stream, topic, state in rows:
            if stream in wanted:
                try:
                    changed[stream].append(self._mapper.decode(topic, state))
                except MapperDeserialisationError:
                    # Who needs the stream will load it, and alone be told why that fails.
                    unreadable.add(stream)
        return News(end, changed | dict.fromkeys(unreadable, ()))

    def save_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep these states, each beside the older ones of its stream. What fails is logged."""
        # In one order for all writers, so that two of them cannot wait for each other.
        ordered = sorted(snapshots, key=lambda snapshot: snapshot.originator_id)
        values = (
            uuid_array(snapshot.originator_id for snapshot in ordered),
            bigint_array(snapshot.state["form"] for snapshot in ordered),
            bigint_array(snapshot.originator_version for snapshot in ordered),
            timestamptz_array(snapshot.recorded_at for snapshot in ordered),
            bytea_array(msgspec.json.encode(snapshot.state) for snapshot in ordered),
        )
        try:
            with self._reaching() as connection:
                connection.execute(_SAVE_SNAPSHOTS, values, prepare=False)
        except (PostgresError, Unavailable) as error:
            _LOG.warning("snapshots were not saved (%d): %s", len(ordered), error)

    def _rows(self, statement: str, values: Any) -> list[TupleRow]:
        with self._reaching() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(statement, values, prepare=False).fetchall()

    @contextmanager
    def _reaching(self) -> Iterator[Connection[TupleRow]]:
        held = self._held.connection
        if held is None or held.closed:
            with self._lulls.during(), reaching(self._pool) as connection:
                yield connection
        else:
            with self._lulls.during(), trouble_as_unavailable():
                try:
                    yield held
                except BaseException:
                    # Nothing more can be done in a transaction that has failed.
                    _end(held)
                    raise


def _end(connection: Connection[TupleRow]) -> None:
    """End the transaction that the connection may be in; a session that cannot must end itself."""
    if connection.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        connection.execute("ROLLBACK")
    except PostgresError:
        connection.close()


def _append_values(
    mapper: LedgerMapper,
    events: Sequence[Event],
    receipts: Sequence[tuple[Receipt, int]],
    expectations: Sequence[Expectation],
    seen: LogEnd | None,
) -> tuple[bytes | Int8 | datetime | None, ...]:
    """The parameters of `_APPEND`: columns of events, of receipts, and what was seen."""
    encode = mapper.encode
    # Each stream's first event comes last here, and so it is the one that stays.
    versions = {event.originator_id: event.originator_version - 1 for event in reversed(events)}
    versions.update((expected.originator_id, expected.version) for expected in expectations)
    own = [receipt for receipt, _ in receipts]
    return (
        uuid_array([event.originator_id for event in events]),
        bigint_array([event.originator_version for event in events]),
        text_array([event.TOPIC for event in events]),
        timestamptz_array([event.recorded_at for event in events]),
        bytea_array([encode(event) for event in events]),
        uuid_array([receipt.id for receipt in own]),
        bigint_array([number for _, number in receipts]),
        text_array([receipt.client_id for receipt in own]),
        text_array([receipt.key for receipt in own]),
        bytea_array([receipt.fingerprint for receipt in own]),
        text_array([receipt.command for receipt in own]),
        text_array([receipt.customer_id for receipt in own]),
        text_array([receipt.asset for receipt in own]),
        text_array([receipt.outcome for receipt in own]),
        bytea_array([_ENCODER.encode(receipt.answer) for receipt in own]),
        timestamptz_array([receipt.recorded_at for receipt in own]),
        uuid_array(versions),
        bigint_array(versions.values()),
        *_end_values(seen),
    )


def _end_values(seen: LogEnd | None) -> tuple[Int8 | None, datetime | None]:
    """What of the log a writer has seen, as the server's functions take it."""
    return (None, None) if seen is None else (Int8(seen.position), seen.recorded_at)


def _receipt(row: TupleRow) -> Receipt:
    return Receipt(
        id=row[0],
        client_id=row[1],
        key=row[2],
        fingerprint=row[3],
        command=row[4],
        customer_id=row[5],
        asset=row[6],
        outcome=row[7],
        answer=msgspec.json.decode(row[8]),
        recorded_at=row[9].astimezone(UTC),
        position=row[10],
    )
