"""The stream of deliveries in a PostgreSQL table: the default where there is no Kafka.

A worker holds its delivery by a row lock for as long as the try lasts. Where the worker dies, the
lock goes with its connection, and the next worker takes the delivery again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from psycopg import Connection, InterfaceError, OperationalError
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from creditledger.domain.store import Unavailable
from creditledger.infra.database import Pool, connect
from creditledger.infra.delivery import Delivery, Verdict
from creditledger.infra.event_log import reaching

#: The channel on which a new delivery is announced.
CHANNEL: Final = "webhook_deliveries"

#: Enough to see what was wrong; a body's own words may be longer.
_DETAIL_LENGTH_MAX: Final = 1_000

#: A delivery that came before is kept as it is.
_PUT: Final = """
    WITH kept AS (
        INSERT INTO webhook_deliveries (
            delivery_id, provider, provider_delivery_id, type, stream_key,
            body, headers, received_at, status, due_at
        )
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'received', now())
        ON CONFLICT DO NOTHING
        RETURNING delivery_id
    )
    SELECT pg_notify(%s, delivery_id) FROM kept
"""

#: The oldest delivery that is due, has no older one of its key before it, and is in nobody's hands.
_TAKE: Final = """
    SELECT delivery_id, provider, provider_delivery_id, type, stream_key,
           body, headers, received_at, faults,
           (SELECT coalesce(max(notification_id), 0) FROM ledger_events)
    FROM webhook_deliveries AS next
    WHERE status = 'received'
      AND due_at <= now()
      AND NOT EXISTS (
          SELECT FROM webhook_deliveries AS earlier
          WHERE earlier.stream_key = next.stream_key
            AND earlier.status = 'received'
            AND earlier.sequence < next.sequence
      )
    ORDER BY sequence
    LIMIT 1
    FOR UPDATE SKIP LOCKED
"""

#: What came of a try; columns that say nothing now lose what they said of an earlier one.
_SETTLE: Final = """
    UPDATE webhook_deliveries
    SET status = %(status)s,
        reason = %(reason)s,
        detail = %(detail)s,
        waits_for = %(waits_for)s,
        awaits = %(awaits)s,
        seen_position = %(seen_position)s,
        payment = coalesce(%(payment)s, payment),
        position = coalesce(%(position)s, position),
        tries = tries + 1,
        faults = %(faults)s,
        due_at = now() + make_interval(secs => %(retry_seconds)s),
        settled_at = CASE WHEN %(status)s = 'received' THEN NULL ELSE now() END
    WHERE delivery_id = %(delivery_id)s
"""


class PostgresTaken:
    """A delivery whose row this worker has locked."""

    def __init__(
        self, connection: Connection[TupleRow], delivery: Delivery, faults: int, position: int
    ) -> None:
        self._connection = connection
        self.delivery = delivery
        self.faults = faults
        self.position = position

    def settle(self, verdict: Verdict) -> None:
        """Write down what came of it, to be committed as the worker lets go of it."""
        self._connection.execute(
            _SETTLE,
            {
                "delivery_id": self.delivery.delivery_id,
                "status": verdict.status,
                "reason": verdict.reason,
                "detail": None if verdict.detail is None else _storable(verdict.detail),
                "waits_for": verdict.waits_for,
                "awaits": list(verdict.awaits),
                "seen_position": verdict.seen_position,
                "payment": verdict.payment,
                "position": verdict.position,
                "retry_seconds": verdict.retry_seconds,
                "faults": verdict.faults,
            },
        )


class PostgresStream:
    """One end of the stream: `put` may be called by many threads, `take` and `wait` by one.

    `take` and `wait` use a connection of their own, made when it is first needed and again after
    it was lost.
    """

    def __init__(self, url: str, pool: Pool) -> None:
        self._url = url
        self._pool = pool
        self._connection: Connection[TupleRow] | None = None

    def put(self, delivery: Delivery) -> None:
        """Keep a delivery. Raises Unavailable where the database cannot be reached."""
        with reaching(self._pool) as connection:
            connection.execute(
                _PUT,
                (
                    delivery.delivery_id,
                    delivery.provider,
                    delivery.provider_delivery_id,
                    delivery.type,
                    delivery.stream_key,
                    delivery.body,
                    Jsonb(dict(delivery.headers)),
                    delivery.received_at,
                    CHANNEL,
                ),
            )

    @contextmanager
    def take(self) -> Iterator[PostgresTaken | None]:
        """The next delivery in a transaction that ends with the block.

        An exception in the block takes back what was settled, and the delivery comes again.
        """
        with self._lost_is_unavailable():
            connection = self._connected()
            with connection.transaction():
                row = connection.execute(_TAKE).fetchone()
                yield None if row is None else _taken(connection, row)

    def wait(self, seconds: float) -> None:
        """Return at once when a delivery is announced."""
        with self._lost_is_unavailable():
            for _ in self._connected().notifies(timeout=seconds, stop_after=1):
                pass

    def close(self) -> None:
        """Let go of the connection of `take` and `wait`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection[TupleRow]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, "creditledger webhooks")
            self._connection.execute(f"LISTEN {CHANNEL}")
        return self._connection

    @contextmanager
    def _lost_is_unavailable(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            self.close()
            raise Unavailable(f"the stream of deliveries cannot be read: {error}") from error


def _storable(text: str) -> str:
    """A text of any origin as PostgreSQL can keep it."""
    return text[:_DETAIL_LENGTH_MAX].replace("\0", "\ufffd").encode(errors="replace").decode()


def _taken(connection: Connection[TupleRow], row: tuple[Any, ...]) -> PostgresTaken:
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
    return PostgresTaken(connection, delivery, faults=row[8], position=row[9])
