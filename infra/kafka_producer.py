"""Puts records on topics, durably or not at all, and says soon which of the two it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from creditledger.domain.store import Unavailable
from creditledger.infra.kafka_connection import REACH_SECONDS_MAX, reaching_kafka
from creditledger.infra.kafka_sockets import closed, opened

_CLOSE_SECONDS_MAX: Final = 2.0

#: Kafka's own limit of a request, far above a body with all its headers.
_BATCH_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What is put on a topic."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class Producer:
    """For many threads. `options` makes the options of the client, and may raise Unavailable.

    While the brokers are away, one caller at a time finds out whether they are back and all
    others are told at once: nobody queues up behind a broker that does not answer, and nothing
    waits in memory but what a caller stands by for.
    """

    def __init__(self, options: Callable[[], dict[str, Any]]) -> None:
        self._options = options
        self._producer: KafkaProducer | None = None
        self._connecting = Lock()
        self._away = False
        self._finding_out = Lock()

    def put(self, records: Sequence[NewRecord]) -> None:
        """Return when all replicas that are in sync have the records. Raises Unavailable.

        What was told Unavailable may have been put all the same.
        """
        finds_out = self._away
        if finds_out and not self._finding_out.acquire(blocking=False):
            raise Unavailable("Kafka is away")
        producer: KafkaProducer | None = None
        try:
            with reaching_kafka():
                producer = self._connected(finds_out)
                sent = [
                    producer.send(record.topic, record.value, record.key, record.headers)
                    for record in records
                ]
                for future in sent:
                    future.get(REACH_SECONDS_MAX)
            self._away = False
        except Unavailable:
            self._away = True
            # A new one takes its place: this one keeps what it could not send, and has been seen
            # to wait for ever for a broker that was long back.
            self._let_go_of(producer)
            raise
        finally:
            if finds_out:
                self._finding_out.release()

    def close(self) -> None:
        """Let go of the connections."""
        producer = self._producer
        self._let_go_of(producer)

    def _let_go_of(self, producer: KafkaProducer | None) -> None:
        with self._connecting:
            if producer is None or producer is not self._producer:
                return
            self._producer = None
        Thread(target=_close, args=(producer,), name="kafka-close", daemon=True).start()

    def _connected(self, finds_out: bool) -> KafkaProducer:
        with self._connecting:
            if self._producer is None:
                if self._away and not finds_out:
                    raise Unavailable("Kafka is away")
                try:
                    self._producer = self._connect()
                except Exception:
                    self._away = True
                    raise
            return self._producer

    def _connect(self) -> KafkaProducer:
        milliseconds = round(REACH_SECONDS_MAX * 1_000)
        return opened(
            KafkaProducer,
            **self._options(),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            max_block_ms=milliseconds,
            delivery_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds,
            batch_size=_BATCH_BYTES,
        )


def _close(producer: KafkaProducer) -> None:
    """Close a producer, whatever it still has: nobody stands by for that any more."""
    with suppress(KafkaError):
        closed(producer, timeout_seconds=_CLOSE_SECONDS_MAX)
