"""The table of deliveries: what came of each, and those that are tried now or again.

A worker holds its deliveries by row locks for as long as their try lasts. Where the worker dies,
the locks go with its connection, and the next worker takes them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from psycopg import Connection, InterfaceError, OperationalError
from psycopg.rows import TupleRow

from creditledger.domain.store import Unavailable
from creditledger.infra.database import connect
from creditledger.infra.delivery import Delivery, Taken, Verdict
from creditledger.projections.arrays import bytea_array, text_array, timestamptz_array

#: The channel on which a new delivery is announced.
CHANNEL: Final = "webhook_deliveries"

#: Enough to see what was wrong; a body's own words may be longer.
DETAIL_LENGTH_MAX: Final = 1_000
TRACE_LENGTH_MAX: Final = 10_000

#: In their order; a delivery that came before is kept as it is.
_KEEP: Final = """
    INSERT INTO webhook_deliveries (
        delivery_id, provider, provider_delivery_id, type, stream_key,
        body, headers, received_at, status, due_at
    )
    SELECT delivery_id, provider, provider_delivery_id, type, stream_key,
           body, headers::jsonb, received_at, 'received', now()
    FROM unnest(
        %(delivery_ids)s::text[], %(providers)s::text[], %(provider_delivery_ids)s::text[],
        %(types)s::text[], %(stream_keys)s::text[], %(bodies)s::bytea[], %(headers)s::text[],
        %(received_ats)s::timestamptz[]
    ) WITH ORDINALITY AS arrived (
        delivery_id, provider, provider_delivery_id, type, stream_key,
        body, headers, received_at, place
    )
    ORDER BY place
    ON CONFLICT DO NOTHING
"""

#: The oldest deliveries that are due and in nobody's hands. Keys of which one waits for its next
#: try are left out: what comes behind it may be more than there is room for.
_TAKE: Final = """
    SELECT delivery_id, provider, provider_delivery_id, type, stream_key,
           body, headers, received_at, tries, faults,
           (SELECT coalesce(max(notification_id), 0) FROM ledger_events), sequence
    FROM webhook_deliveries
    WHERE status = 'received'
      AND due_at <= now()
      AND stream_key NOT IN (
          SELECT stream_key FROM webhook_deliveries WHERE status = 'received' AND due_at > now()
      )
    ORDER BY sequence
    LIMIT %s
    FOR UPDATE SKIP LOCKED
"""

#: All that stand in line for these keys, up to a place in it.
_LINES: Final = """
    SELECT stream_key, delivery_id
    FROM webhook_deliveries
    WHERE status = 'received' AND stream_key = ANY(%s) AND sequence <= %s
    ORDER BY sequence
"""

#: What came of tries; columns that say nothing now lose what they said of an earlier one.
_SETTLE: Final = """
    UPDATE webhook_deliveries AS delivery
    SET status = verdict.status,
        reason = verdict.reason,
        detail = verdict.detail,
        trace = verdict.trace,
        waits_for = verdict.waits_for,
        awaits = verdict.awaits,
        seen_position = verdict.seen_position,
        payment = coalesce(verdict.payment, delivery.payment),
        position = coalesce(verdict.position, delivery.position),
        tries = delivery.tries + 1,
        faults = verdict.faults,
        due_at = clock_timestamp() + make_interval(secs => verdict.retry_seconds),
        settled_at = CASE WHEN verdict.status = 'received' THEN NULL ELSE clock_timestamp() END
    FROM jsonb_to_recordset(%s::jsonb) AS verdict (
        delivery_id text, status text, reason text, detail text, trace text, waits_for text,
        awaits uuid[], seen_position bigint, payment text, position bigint,
        retry_seconds double precision, faults integer
    )
    WHERE delivery.delivery_id = verdict.delivery_id
"""

#: Another try of what was settled: it waits for nothing but its turn. What came of the last try is
#: told until the next one.
TRY_AGAIN: Final = """
    status = 'received', due_at = now(), settled_at = NULL, waits_for = NULL, awaits = '{}'
"""

#: The statements above are to follow the indexes in their order, whether the table was analysed
#: since a burst came or not: other plans read and sort all that waits, for each batch.
_PLAN: Final = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"

#: Deliveries whose turn it is, or that could have been handled had the ledger been there.
_HELD_UP: Final = """
    SELECT count(*) FROM (
        SELECT FROM webhook_deliveries
        WHERE status = 'received' AND (due_at <= now() OR reason = 'unavailable')
        LIMIT %s
    ) AS held_up
"""


class DeliveryTable:
    """One worker's way to the table, by a connection of its own.

    The connection is made when it is first needed, and again after it was lost. Every method
    raises Unavailable.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection[TupleRow] | None = None

    @contextmanager
    def take(self, limit: int, arrived: Sequence[Delivery] = ()) -> Iterator[list[Taken]]:
        """The next deliveries, among them those that just arrived, in one transaction.

        It ends with the block. An exception takes back what was settled and what arrived.
        """
        with self._lost_is_unavailable():
            connection = self._connected()
            with connection.transaction():
                if arrived:
                    keep(connection, arrived)
                batch = _take(connection, limit)
                yield batch
                _settle(connection, batch)

    def held_up(self, limit: int) -> int:
        """How many deliveries wait for nothing but a worker or the ledger, counted up to here."""
        with self._lost_is_unavailable():
            row = self._connected().execute(_HELD_UP, (limit,)).fetchone()
        assert row is not None
        return int(row[0])

    def wait(self, seconds: float) -> None:
        """Return at once when a delivery is announced."""
        with self._lost_is_unavailable():
            for _ in self._connected().notifies(timeout=seconds, stop_after=1):
                pass

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection[TupleRow]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, "creditledger webhooks")
            self._connection.execute(f"LISTEN {CHANNEL}; {_PLAN}")
        return self._connection

    @contextmanager
    def _lost_is_unavailable(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            self.close()
            raise Unavailable(f"the table of deliveries cannot be reached: {error}") from error


def keep(connection: Connection[TupleRow], arrived: Sequence[Delivery]) -> int:
    """Keep deliveries to be handled in this order; return how many were not known already."""
    values = {
        "delivery_ids": text_array(delivery.delivery_id for delivery in arrived),
        "providers": text_array(delivery.provider for delivery in arrived),
        "provider_delivery_ids": text_array(d.provider_delivery_id for d in arrived),
        "types": text_array(delivery.type for delivery in arrived),
        "stream_keys": text_array(delivery.stream_key for delivery in arrived),
        "bodies": bytea_array(delivery.body for delivery in arrived),
        "headers": text_array(orjson.dumps(dict(d.headers)).decode() for d in arrived),
        "received_ats": timestamptz_array(delivery.received_at for delivery in arrived),
    }
    return connection.execute(_KEEP, values).rowcount


def _take(connection: Connection[TupleRow], limit: int) -> list[Taken]:
    rows = connection.execute(_TAKE, (limit,)).fetchall()
    if not rows:
        return []
    batch = [_taken(row) for row in rows]
    # Of each key, what stands in line without a gap: another worker may have what comes before.
    mine = {taken.delivery.delivery_id for taken in batch}
    keys = list({taken.delivery.stream_key for taken in batch})
    cut: set[str] = set()
    for key, delivery_id in connection.execute(_LINES, (keys, rows[-1][-1])):
        if delivery_id not in mine:
            cut.add(key)
        elif key in cut:
            mine.remove(delivery_id)
    return [taken for taken in batch if taken.delivery.delivery_id in mine]


def _settle(connection: Connection[TupleRow], batch: Sequence[Taken]) -> None:
    verdicts = [
        _written(taken.delivery.delivery_id, taken.verdict)
        for taken in batch
        if taken.verdict is not None
    ]
    if verdicts:
        connection.execute(_SETTLE, (orjson.dumps(verdicts).decode(),))


def _written(delivery_id: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "delivery_id": delivery_id,
        "status": verdict.status,
        "reason": verdict.reason,
        "detail": _storable(verdict.detail, DETAIL_LENGTH_MAX),
        "trace": _storable(verdict.trace, TRACE_LENGTH_MAX),
        "waits_for": verdict.waits_for,
        "awaits": verdict.awaits,
        "seen_position": verdict.seen_position,
        "payment": verdict.payment,
        "position": verdict.position,
        "retry_seconds": verdict.retry_seconds,
        "faults": verdict.faults,
    }


def _storable(text: str | None, length_max: int) -> str | None:
    """A text of any origin as PostgreSQL can keep it."""
    if text is None:
        return None
    return text[:length_max].replace("\0", "\ufffd").encode(errors="replace").decode()


def _taken(row: tuple[Any, ...]) -> Taken:
    received_at: datetime = row[7]
    delivery = Delivery(
        delivery_id=row[0],
        provider=row[1],
        provider_delivery_id=row[2],
        type=row[3],
        stream_key=row[4],
        body=bytes(row[5]),
        headers=row[6],
        received_at=received_at.astimezone(UTC),
    )
    return Taken(delivery=delivery, tries=row[8], faults=row[9], position=row[10])
