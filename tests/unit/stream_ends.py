"""Ends of a stream of deliveries for tests, on either adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic

import orjson

from creditledger.infra.database import Pool
from creditledger.infra.delivery import Delivery, Stream, Verdict, read_delivery
from creditledger.infra.kafka_stream import KafkaStream
from creditledger.infra.postgres_stream import PostgresStream
from creditledger.infra.settings import Settings

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
DONE = Verdict(status="done")

#: How long something may take to come that has to come: joining a group takes a while.
PATIENCE_SECONDS = 20.0

#: How long it is waited for what should not come.
QUIET_SECONDS = 0.7

#: How long a worker that died is thought to be there.
SESSION_SECONDS = 2.0


class Ends:
    """Makes ends of one stream, each for a worker of its own."""

    def __init__(self, settings: Settings, url: str, pool: Pool) -> None:
        self.settings = settings
        self.url = url
        self.pool = pool
        self.on_kafka = settings.kafka_bootstrap_servers is not None
        self._made: list[Stream] = []

    def __call__(self) -> Stream:
        if self.on_kafka:
            stream: Stream = KafkaStream(
                self.settings, self.url, self.pool, session_seconds=SESSION_SECONDS
            )
        else:
            stream = PostgresStream(self.url, self.pool)
        self._made.append(stream)
        return stream

    def close(self) -> None:
        for stream in self._made:
            stream.close()


@contextmanager
def ends_of(settings: Settings, url: str, pool: Pool) -> Iterator[Ends]:
    """Ends that are closed after the block."""
    ends = Ends(settings, url, pool)
    try:
        yield ends
    finally:
        ends.close()


def delivery(event_id: str, customer: str = "cus_1") -> Delivery:
    """A delivery that tells of a customer."""
    event = {"id": event_id, "type": "tea.brewed", "data": {"object": {"customer": customer}}}
    return read_delivery("stripe", orjson.dumps(event), {"user-agent": "tests"}, NOW)


def take(
    stream: Stream, verdict: Verdict = DONE, *, limit: int = 10, seconds: float = PATIENCE_SECONDS
) -> list[str]:
    """Take what comes within so many seconds, settle it, and say which it was."""
    deadline = monotonic() + seconds
    while True:
        with stream.take(limit) as batch:
            for taken in batch:
                taken.settle(verdict)
        if batch or monotonic() > deadline:
            return [taken.delivery.provider_delivery_id for taken in batch]
        stream.wait(min(0.1, seconds))


def take_all(stream: Stream, count: int, *, limit: int = 10) -> list[str]:
    """Take until there were so many."""
    took: list[str] = []
    while len(took) < count:
        more = take(stream, limit=limit)
        assert more, f"only {took} came"
        took += more
    return took


def nothing_comes(stream: Stream) -> bool:
    """Whether nothing is there to take, for a while."""
    return take(stream, seconds=QUIET_SECONDS) == []
