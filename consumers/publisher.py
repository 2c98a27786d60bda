"""Publishes the log to Kafka: every event, at least once, in order for each key.

One process at a time publishes to a topic, whoever holds its advisory lock; the others stand by.
The checkpoint moves when the brokers have acknowledged, never before: what was sent and not
checkpointed is sent again. Events go out in parcels, of which each partition gets one batch, so a
partition has all of a parcel or nothing; the next one is sent when all have it. So even where some
are sent again, no event of a key appears before all earlier ones of it have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event as Signal
from time import monotonic
from typing import Any, Final

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from psycopg import Connection, InterfaceError, OperationalError

from creditledger.domain.store import Unavailable
from creditledger.infra import publications
from creditledger.infra.database import connect
from creditledger.infra.event_log import EventLog, Logged
from creditledger.infra.kafka_connection import (
    NoTopic,
    Topic,
    client_options,
    reaching_kafka,
    require_topics,
)
from creditledger.infra.kafka_sockets import closed, opened
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import Service
from creditledger.projections.feed import cloud_event

_LOG = logging.getLogger(__name__)

#: Events that are read at a time.
PAGE: Final = 1_000

#: A parcel's size: less than Kafka's limit for one batch (1 MiB) leaves room for what it adds.
PARCEL_BYTES: Final = 512 * 1024

#: The largest event that may come: one that touches tens of thousands of lots.
EVENT_BYTES_MAX: Final = 8 * 1024 * 1024

#: As the Kafka binding of CloudEvents says for its structured mode.
_HEADERS: Final = [("content-type", b"application/cloudevents+json; charset=UTF-8")]

#: How long news may go unnoticed where its notification is lost.
_LOOK_SECONDS: Final = 0.5

#: How often one that stands by tries to take over.
_STAND_BY_SECONDS: Final = 0.5

#: How long the brokers may take to acknowledge a parcel. A stop waits for that, too.
DELIVERY_SECONDS: Final = 10

_RETRY_SECONDS_MIN: Final = 0.1
RETRY_SECONDS_MAX: Final = 5.0

#: Trouble that passes by itself, or by what an operator does outside.
_PASSING: Final = (OperationalError, InterfaceError, Unavailable, NoTopic)

Connect = Callable[[], Connection[Any]]


@dataclass(slots=True)
class Parcel:
    """Messages that are sent together, up to `position`."""

    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    bytes: int = 0
    position: int = 0


def publish(service: Service, stop: Signal) -> None:
    """Publish the log of a service until `stop` is set."""
    connecting = partial(connect, service.url, "creditledger publisher")
    Publisher(service.settings, connecting, service.log).run(stop)


class Publisher:
    """Publishes one log to one topic until it is told to stop."""

    def __init__(self, settings: Settings, connect: Connect, log: EventLog) -> None:
        self._settings = settings
        self._topic = settings.kafka_events_topic
        self._connect = connect
        self._log = log
        self._retry_seconds = _RETRY_SECONDS_MIN

    def run(self, stop: Signal) -> None:
        """Lead or stand by until `stop` is set; trouble with database or brokers is waited out."""
        while not stop.is_set():
            try:
                with self._connect() as connection:
                    self._serve(connection, stop)
            except Exception as fault:  # noqa: BLE001 - nothing is skipped: all is tried again
                passing = isinstance(fault, _PASSING)
                level = logging.WARNING if passing else logging.ERROR
                _LOG.log(level, "publishing waits: %s", fault, exc_info=not passing)
                stop.wait(self._retry_seconds)
                self._retry_seconds = min(2 * self._retry_seconds, RETRY_SECONDS_MAX)

    def _serve(self, connection: Connection[Any], stop: Signal) -> None:
        # What a crash loses of the checkpoint is sent again, so it need not wait for the disk.
        connection.execute("SET synchronous_commit = off")
        while not publications.lead(connection, self._topic):
            if stop.wait(_STAND_BY_SECONDS):
                return
        connection.execute("LISTEN ledger_events")
        require_topics(self._settings, _topic(self._settings))
        with _producing(self._settings) as producer:
            publications.enlist(connection, self._topic)
            while not stop.is_set():
                self._follow(connection, producer, stop)

    def _follow(self, connection: Connection[Any], producer: KafkaProducer, stop: Signal) -> None:
        """Publish what the log holds past the checkpoint; where that is nothing, wait for more."""
        position = publications.published(connection, self._topic)
        page = self._log.read(position, PAGE)
        for parcel in parcels(page.events, self._settings.kafka_events_source):
            self._send(producer, parcel)
            self._retry_seconds = _RETRY_SECONDS_MIN
            moved = publications.advance(
                connection, self._topic, after=position, to=parcel.position
            )
            if stop.is_set() or not moved:
                return
            position = parcel.position
        if not page.more:
            for _ in connection.notifies(timeout=_LOOK_SECONDS, stop_after=1):
                pass

    def _send(self, producer: KafkaProducer, parcel: Parcel) -> None:
        """Send a parcel and wait until all of it is acknowledged. Raises Unavailable."""
        with reaching_kafka():
            futures = [
                producer.send(self._topic, key=key, value=value, headers=_HEADERS)
                for key, value in parcel.messages
            ]
            _settle(producer)
            for future in futures:
                future.get(timeout=0)


def _topic(settings: Settings) -> Topic:
    return Topic(
        name=settings.kafka_events_topic,
        partitions=settings.kafka_events_partitions,
        configs={
            "retention.ms": str(settings.kafka_events_retention_days * 86_400_000),
            "max.message.bytes": str(EVENT_BYTES_MAX),
        },
    )


@contextmanager
def _producing(settings: Settings) -> Iterator[KafkaProducer]:
    """A producer for parcels. Raises Unavailable where no broker can be reached."""
    with reaching_kafka():
        producer = opened(
            KafkaProducer,
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            # One batch for each partition, sent when the parcel is complete and no sooner.
            batch_size=2 * PARCEL_BYTES,
            linger_ms=1_000 * DELIVERY_SECONDS // 2,
            max_request_size=EVENT_BYTES_MAX,
            request_timeout_ms=1_000 * DELIVERY_SECONDS // 2,
            delivery_timeout_ms=1_000 * DELIVERY_SECONDS,
            max_block_ms=1_000 * DELIVERY_SECONDS // 2,
        )
    try:
        yield producer
    finally:
        with reaching_kafka():
            closed(producer, timeout_seconds=DELIVERY_SECONDS)


def _settle(producer: KafkaProducer) -> None:
    """Wait until all that was sent is acknowledged or given up. Raises KafkaTimeoutError."""
    deadline = monotonic() + DELIVERY_SECONDS + _LOOK_SECONDS
    while True:
        try:
            # Never without a limit: where some batches expire, the library can forget others.
            producer.flush(timeout=_LOOK_SECONDS)
        except KafkaTimeoutError:
            if monotonic() > deadline:
                raise
        else:
            return


def parcels(events: Sequence[Logged], source: str) -> Iterator[Parcel]:
    """The events in order, in parcels of a size that Kafka takes as one batch.

    An event that is larger than that goes alone.
    """
    parcel = Parcel()
    for position, event in events:
        told = cloud_event(position, event, source)
        key, value = told["partitionkey"].encode(), orjson.dumps(told)
        if parcel.messages and parcel.bytes + len(value) > PARCEL_BYTES:
            yield parcel
            parcel = Parcel()
        parcel.messages.append((key, value))
        parcel.bytes += len(value)
        parcel.position = position
    if parcel.messages:
        yield parcel
