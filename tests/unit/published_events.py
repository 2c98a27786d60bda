"""What stands on a topic of published events, as a consumer sees it, and what must hold of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from kafka import KafkaConsumer, TopicPartition

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Message:
    """A record as a consumer gets it."""

    partition: int
    key: str
    headers: list[tuple[str, bytes]]
    event: dict[str, Any]

    @property
    def position(self) -> int:
        """Where the event stands in the log."""
        return int(self.event["position"])


def published(address: str, topic: str) -> list[Message]:
    """All that stands on the topic now, each partition in order."""
    consumer = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
    try:
        numbers = consumer.partitions_for_topic(topic) or set()
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        found: list[Message] = []
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(timeout_ms=500).values():
                found += [
                    Message(r.partition, r.key.decode(), r.headers, orjson.loads(r.value))
                    for r in records
                ]
        return found
    finally:
        consumer.close()


def in_order_and_complete(messages: Sequence[Message], head: int) -> None:
    """Each event is there, and no event of a key appears before an earlier one of it."""
    seen: set[int] = set()
    last: dict[str, int] = {}
    homes: dict[str, int] = {}
    for message in messages:
        if message.position not in seen:
            seen.add(message.position)
            assert message.position > last.get(message.key, 0), message.event["id"]
            last[message.key] = message.position
        assert homes.setdefault(message.key, message.partition) == message.partition
    assert seen == set(range(1, head + 1))


def eventually(true: Callable[[], bool]) -> None:
    """Wait until it is so; fail where it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
