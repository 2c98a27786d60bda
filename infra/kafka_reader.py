"""Reads a topic as a member of a consumer group, in a thread of its own.

The thread asks the brokers all the time, so that a member who is slow stays a member: where
records wait in memory it pauses its partitions instead. Offsets are committed for what was handled,
and for nothing else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Condition, Event, Thread
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from creditledger.infra.kafka_sockets import opened

_LOG = logging.getLogger(__name__)

#: How long a member that says nothing more is thought to be there.
SESSION_SECONDS: Final = 10.0

#: Records in memory past which nothing more is asked for.
_BUFFERED_MAX: Final = 1_000

#: How long one question to the brokers may last; what was handled is committed in between.
_POLL_SECONDS: Final = 0.2

#: How long to wait before trying to reach the brokers again.
_RECONNECT_SECONDS: Final = 1.0

_COMMIT_SECONDS_MAX: Final = 5.0
_CLOSE_SECONDS_MAX: Final = 10.0


class KafkaReader:
    """One member of a group, from construction to `close`.

    `pop`, `give_back`, `handled` and `wait` are for one thread. A record that was popped comes
    again, here or at another member, unless it was handled.
    """

    def __init__(
        self, options: Mapping[str, Any], topic: str, group: str, *, session_seconds: float
    ) -> None:
        self._options = options
        self._topic = topic
        self._group = group
        self._session_seconds = session_seconds
        self._records: deque[ConsumerRecord] = deque()
        self._handled: dict[TopicPartition, int] = {}
        self._closing = Event()
        self._changed = Condition()
        self._thread = Thread(target=self._read, name="kafka-reader", daemon=True)
        self._thread.start()

    def pop(self, limit: int) -> list[ConsumerRecord]:
        """The next records, as many as there are at the moment."""
        with self._changed:
            return [self._records.popleft() for _ in range(min(limit, len(self._records)))]

    def give_back(self, records: Sequence[ConsumerRecord]) -> None:
        """These were not handled: they are next again."""
        with self._changed:
            self._records.extendleft(reversed(records))

    def handled(self, records: Iterable[ConsumerRecord]) -> None:
        """These need not come again, nor any before them in their partition."""
        with self._changed:
            for record in records:
                partition = TopicPartition(record.topic, record.partition)
                self._handled[partition] = max(record.offset + 1, self._handled.get(partition, 0))

    def wait(self, seconds: float) -> None:
        """Return when there is a record to pop, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._records) or self._closing.is_set(), seconds)

    def close(self) -> None:
        """Commit what was handled and leave the group, so that others go on at once."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_CLOSE_SECONDS_MAX)

    def _read(self) -> None:
        while not self._closing.is_set():
            consumer: KafkaConsumer | None = None
            try:
                consumer = self._joined()
                while not self._closing.is_set():
                    self._ask(consumer)
                self._commit(consumer)
            except KafkaError as error:
                _LOG.warning("Kafka is tried again: %s", error)
            except Exception:  # noqa: BLE001 - a reader that is gone would read nothing ever after
                _LOG.exception("Kafka is tried again after a fault")
            finally:
                if consumer is not None:
                    with suppress(KafkaError):
                        consumer.close(timeout_ms=_COMMIT_SECONDS_MAX * 1_000)
            self._keep_records_of(set())
            self._closing.wait(_RECONNECT_SECONDS)

    def _joined(self) -> KafkaConsumer:
        return opened(
            KafkaConsumer,
            self._topic,
            **self._options,
            group_id=self._group,
            # A group without offsets is a new one, which has to handle everything.
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            # Who joins or leaves moves the partitions that have to move, and stops no other.
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=round(self._session_seconds * 1_000),
            heartbeat_interval_ms=round(self._session_seconds * 1_000 / 4),
            max_poll_records=_BUFFERED_MAX,
        )

    def _ask(self, consumer: KafkaConsumer) -> None:
        """One question to the brokers, and what was handled meanwhile."""
        self._commit(consumer)
        if len(self._records) >= _BUFFERED_MAX:
            consumer.pause(*consumer.assignment())
        elif paused := consumer.paused():
            consumer.resume(*paused)
        if consumer._coordinator.rejoining:
            # A question that ended while the group was being joined: kafka-python 3.0 may take
            # that for done, and would have no partitions and no heartbeat ever after.
            consumer._coordinator.request_rejoin()
        polled = consumer.poll(timeout_ms=round(_POLL_SECONDS * 1_000))
        self._keep_records_of(consumer.assignment())
        if polled:
            with self._changed:
                for records in polled.values():
                    self._records.extend(records)
                self._changed.notify_all()

    def _commit(self, consumer: KafkaConsumer) -> None:
        with self._changed:
            handled, self._handled = self._handled, {}
        mine = consumer.assignment()
        offsets = {
            partition: OffsetAndMetadata(offset, "", -1)
            for partition, offset in handled.items()
            if partition in mine
        }
        if offsets:
            try:
                consumer.commit(offsets, timeout_ms=_COMMIT_SECONDS_MAX * 1_000)
            except CommitFailedError:
                _LOG.info("the partitions went to another member, who reads some records again")

    def _keep_records_of(self, partitions: set[TopicPartition]) -> None:
        """Records of other partitions are another member's by now."""
        with self._changed:
            if any(_partition(record) not in partitions for record in self._records):
                mine = [record for record in self._records if _partition(record) in partitions]
                self._records = deque(mine)


def _partition(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
