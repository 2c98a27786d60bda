"""`creditledger work` killed while it publishes: everything arrives, in order for each key."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from creditledger.infra import publications
from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from long_story import LongStory
from processes import Process
from published_events import eventually, in_order_and_complete, published

pytestmark = pytest.mark.slow

_ROUNDS = 3


@dataclass(frozen=True)
class Scene:
    """A process that publishes a ledger, and a look at what it does."""

    work: Process
    topic: str
    looking: Connection[Any]
    log: EventLog
    story: LongStory

    def checkpoint(self) -> int:
        return publications.published(self.looking, self.topic)

    def publishers(self, *, waiting: bool) -> list[int]:
        """The processes of PostgreSQL that serve a publisher, perhaps such that wait for a lock."""
        rows = self.looking.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'creditledger publisher'"
            " AND (NOT %s OR (wait_event_type = 'Lock' AND query LIKE '%%UPDATE publications%%'))",
            [waiting],
        ).fetchall()
        return [int(pid) for (pid,) in rows]

    def finish(self) -> None:
        """Let it publish all there is, and stop."""
        self.work.start()
        head = self.log.head()
        eventually(lambda: self.checkpoint() >= head)
        self.work.stop()


@pytest.fixture
def scene(
    database_url: str, kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    name = f"test-{uuid.uuid4().hex}"
    for variable, value in {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_WEBHOOKS_TOPIC": name,
        "KAFKA_WEBHOOKS_GROUP": name,
        "KAFKA_EVENTS_TOPIC": f"{name}.events",
        "KAFKA_EVENTS_PARTITIONS": "3",
        # The story has a clock of its own: nobody else shall expire what is in it.
        "SWEEP_INTERVAL_SECONDS": "86400",
    }.items():
        monkeypatch.setenv(f"CREDITLEDGER_{variable}", value)
    work = Process("work", database_url, tmp_path)
    with (
        connect(database_url, "tests") as looking,
        connection_pool(database_url, "tests", size=3) as pool,
    ):
        publications.enlist(looking, f"{name}.events")
        story = LongStory(PostgresLedgerStore(pool))
        try:
            yield Scene(work, f"{name}.events", looking, EventLog(pool), story)
        finally:
            work.__exit__()


@contextmanager
def held_checkpoint(database_url: str, topic: str) -> Iterator[None]:
    """Nobody can move the checkpoint in the block: what is sent stays unwritten."""
    with connect(database_url, "tests") as holder, holder.transaction():
        holder.execute("SELECT FROM publications WHERE topic = %s FOR UPDATE", [topic])
        yield


def test_killed_between_send_and_checkpoint(scene: Scene, database_url: str, kafka: str) -> None:
    for number in range(1, _ROUNDS + 1):
        scene.story.go_on(200)
        with held_checkpoint(database_url, scene.topic):
            scene.work.start()
            # All of a parcel is acknowledged, and that is about to be written down.
            eventually(lambda: len(scene.publishers(waiting=True)) == 1)
            scene.work.kill()
            # PostgreSQL would go on with the statement of a client that is gone.
            for pid in scene.publishers(waiting=False):
                scene.looking.execute("SELECT pg_terminate_backend(%s)", [pid])
            eventually(lambda: not scene.publishers(waiting=False))
        assert scene.checkpoint() == 0
        sent = Counter(message.position for message in published(kafka, scene.topic))
        assert sent[1] == number
    scene.finish()
    messages = published(kafka, scene.topic)
    in_order_and_complete(messages, scene.log.head())
    assert Counter(message.position for message in messages)[1] == _ROUNDS + 1


def test_killed_at_any_moment(scene: Scene, kafka: str) -> None:
    scene.story.go_on(6_000, batch=100)
    for _ in range(_ROUNDS):
        before = scene.checkpoint()
        scene.work.start()
        eventually(lambda before=before: scene.checkpoint() > before)  # type: ignore[misc]
        scene.work.kill()
    assert scene.checkpoint() < scene.log.head(), "it was through before it was killed"
    scene.finish()
    in_order_and_complete(published(kafka, scene.topic), scene.log.head())
