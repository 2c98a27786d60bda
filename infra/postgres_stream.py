"""The stream of deliveries in a PostgreSQL table: the default where there is no Kafka."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from creditledger.infra.database import Pool
from creditledger.infra.delivery import Delivery, Taken
from creditledger.infra.delivery_table import CHANNEL, DeliveryTable, keep
from creditledger.infra.event_log import reaching

_WAITING: Final = "SELECT count(*) FROM webhook_deliveries WHERE status = 'received'"


class PostgresStream:
    """One end of the stream. What is put is announced, so that a worker who waits takes it."""

    def __init__(self, url: str, pool: Pool) -> None:
        self._pool = pool
        self._table = DeliveryTable(url)

    def put(self, *deliveries: Delivery) -> None:
        """Keep deliveries, all or none. Raises Unavailable."""
        with reaching(self._pool) as connection:
            if keep(connection, deliveries):
                # Announced on its own: transactions that announce are committed one by one.
                connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))

    def take(self, limit: int) -> AbstractContextManager[list[Taken]]:
        """The next deliveries in a transaction that ends with the block."""
        return self._table.take(limit)

    def wait(self, seconds: float) -> None:
        """Return at once when a delivery is announced."""
        self._table.wait(seconds)

    def waiting(self) -> int:
        """How many deliveries have yet to be handled, or to be tried again."""
        return waiting(self._pool)

    def close(self) -> None:
        """Let go of the connection of `take` and `wait`."""
        self._table.close()


def waiting(pool: Pool) -> int:
    """How many deliveries wait in the table. Raises Unavailable."""
    with reaching(pool) as connection:
        row = connection.execute(_WAITING).fetchone()
    assert row is not None
    return int(row[0])
