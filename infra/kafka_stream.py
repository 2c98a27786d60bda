"""The stream of deliveries in Apache Kafka.

The edge puts each delivery on a topic, by its key. A worker takes what arrives there together with
what waits in the table of deliveries, and writes down what came of it; only then are the offsets
committed. What has to be tried again is tried from the table, so that it holds up no other key of
its partition, and what comes later for its key goes behind it. What failed is also put on another
topic, for whoever looks there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from creditledger.domain.store import Unavailable
from creditledger.infra.database import Pool
from creditledger.infra.delivery import Delivery, Taken
from creditledger.infra.delivery_table import DeliveryTable
from creditledger.infra.kafka_connection import (
    NoTopic,
    Topic,
    client_options,
    lag,
    require_topics,
)
from creditledger.infra.kafka_producer import NewRecord, Producer
from creditledger.infra.kafka_reader import SESSION_SECONDS, KafkaReader
from creditledger.infra.kafka_records import (
    Record,
    Unreadable,
    dead_headers_of,
    delivery_of,
    headers_of,
)
from creditledger.infra.postgres_stream import waiting
from creditledger.infra.settings import Settings

_LOG = logging.getLogger(__name__)

#: Deliveries in the table that wait for nothing but a worker or the ledger, past which nothing new
#: is taken from Kafka: there they wait as safely, and cost less.
_HELD_UP_MAX: Final = 1_000

_DAY_MILLISECONDS: Final = 86_400_000


class KafkaStream:
    """One end of the stream; it joins the consumer group with the first `take` or `wait`."""

    def __init__(
        self, settings: Settings, url: str, pool: Pool, *, session_seconds: float = SESSION_SECONDS
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._session_seconds = session_seconds
        self._topic = settings.kafka_webhooks_topic
        self._table = DeliveryTable(url)
        self._producer = Producer(self._options)
        self._reader: KafkaReader | None = None

    def require_topics(self) -> None:
        """See to it that the topics are there. Raises NoTopic, Unavailable."""
        retention = self._settings.kafka_webhooks_retention_days * _DAY_MILLISECONDS
        configs = {"retention.ms": str(retention)}
        partitions = self._settings.kafka_webhooks_partitions
        require_topics(
            self._settings,
            Topic(name=self._topic, partitions=partitions, configs=configs),
            Topic(name=self._dead_topic, partitions=1, configs=configs),
        )

    def put(self, *deliveries: Delivery) -> None:
        """Keep deliveries on the topic; one that is known already is noticed as it is taken."""
        self._producer.put([self._record(delivery) for delivery in deliveries])

    @contextmanager
    def take(self, limit: int) -> Iterator[list[Taken]]:
        """The next deliveries, from the topic and from the table, in one transaction."""
        reader = self._joined()
        room = limit if self._table.held_up(_HELD_UP_MAX) < _HELD_UP_MAX else 0
        records = reader.pop(room)
        try:
            arrived, dead = _read(records, self._dead_topic)
            with self._table.take(limit, arrived) as batch:
                yield batch
                # Before the record that it failed: a dead letter may come twice, never not at all.
                dead += [self._dead_letter(t) for t in batch if _failed(t)]
                if dead:
                    self._producer.put(dead)
        except BaseException:
            reader.give_back(records)
            raise
        reader.handled(records)

    def wait(self, seconds: float) -> None:
        """Return as soon as something arrives; what is to be tried again does not end it."""
        self._joined().wait(seconds)

    def waiting(self) -> int:
        """Deliveries that the group has yet to take, and those in the table that wait."""
        group = self._settings.kafka_webhooks_group
        return lag(self._settings, self._topic, group) + waiting(self._pool)

    def close(self) -> None:
        """Leave the group, and let go of all connections."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._producer.close()
        self._table.close()

    @property
    def _dead_topic(self) -> str:
        return f"{self._topic}.dead"

    def _options(self) -> dict[str, Any]:
        try:
            self.require_topics()
        except NoTopic as error:
            raise Unavailable(str(error)) from error
        return client_options(self._settings)

    def _joined(self) -> KafkaReader:
        if self._reader is None:
            self._reader = KafkaReader(
                client_options(self._settings),
                self._topic,
                self._settings.kafka_webhooks_group,
                session_seconds=self._session_seconds,
            )
        return self._reader

    def _record(self, delivery: Delivery) -> NewRecord:
        key = delivery.stream_key.encode()
        return NewRecord(self._topic, key, delivery.body, headers_of(delivery))

    def _dead_letter(self, taken: Taken) -> NewRecord:
        delivery = taken.delivery
        key = delivery.stream_key.encode()
        return NewRecord(self._dead_topic, key, delivery.body, dead_headers_of(taken))


def _failed(taken: Taken) -> bool:
    return taken.verdict is not None and taken.verdict.status == "failed"


def _read(records: Sequence[Record], dead_topic: str) -> tuple[list[Delivery], list[NewRecord]]:
    """The deliveries among the records, and dead letters of the others."""
    deliveries, dead = [], []
    for record in records:
        try:
            deliveries.append(delivery_of(record))
        except Unreadable as error:
            _LOG.error("a record on the topic of deliveries is none: %s", error)
            why = [("reason", b"unreadable"), ("detail", str(error).encode())]
            value = b"" if record.value is None else record.value
            dead.append(NewRecord(dead_topic, record.key, value, [*record.headers, *why]))
    return deliveries, dead
