"""Events published to a real Kafka: every one, at least once, in order for each key."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pytest
from jsonschema_rs import Draft202012Validator

from api_server import running_api
from creditledger.api.asyncapi import document
from creditledger.consumers import publisher
from creditledger.consumers.publisher import PARCEL_BYTES, Publisher, parcels
from creditledger.domain.amounts import Credits
from creditledger.domain.events import LotAmount
from creditledger.infra import publications
from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog, Logged
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.kafka_connection import Topic, require_topics
from creditledger.infra.settings import Settings
from creditledger.projections.feed import public_event
from kafka_broker import kafka_settings, running_broker
from log_story import deducted
from long_story import LongStory
from published_events import (
    PATIENCE_SECONDS,
    Message,
    eventually,
    in_order_and_complete,
    published,
)

#: In place of ten seconds to acknowledge a parcel and five between two tries, so that as many
#: tries take less time.
_DELIVERY_SECONDS = 2
_RETRY_SECONDS_MAX = 1.0

#: With the two and a half seconds in which a broker is given up, there are three tries in it.
_SOME_TRIES_SECONDS = 11.0

#: So many parcels that a broker hangs amid them.
_SMALL_PARCEL_BYTES = 16 * 1024


@dataclass(frozen=True)
class Stage:
    """A ledger with a story in it, and a topic of its own."""

    url: str
    settings: Settings
    log: EventLog
    story: LongStory

    @property
    def topic(self) -> str:
        return self.settings.kafka_events_topic

    def publisher(self) -> Publisher:
        return Publisher(
            self.settings, partial(connect, self.url, "creditledger publisher"), self.log
        )

    def checkpoint(self) -> int:
        with connect(self.url, "tests") as connection:
            publications.enlist(connection, self.topic)
            return publications.published(connection, self.topic)

    def wait_until_published(self) -> None:
        """Wait until the checkpoint has reached the end of the log as it is now."""
        head = self.log.head()
        eventually(lambda: self.checkpoint() >= head)

    def messages(self) -> list[Message]:
        """All that stands on the topic now, each partition in order."""
        assert self.settings.kafka_bootstrap_servers is not None
        return published(self.settings.kafka_bootstrap_servers, self.topic)


@contextmanager
def staged(database_url: str, address: str, **settings: Any) -> Iterator[Stage]:
    values = kafka_settings(address, kafka_events_partitions=3, **settings)
    topic = f"{values.kafka_webhooks_topic}.events"
    values = values.model_copy(update={"kafka_events_topic": topic})
    with connection_pool(database_url, "tests", size=4) as pool:
        yield Stage(database_url, values, EventLog(pool), LongStory(PostgresLedgerStore(pool)))


@pytest.fixture
def stage(database_url: str, kafka: str) -> Iterator[Stage]:
    with staged(database_url, kafka) as stage:
        yield stage


@contextmanager
def publishing(*publishers: Publisher) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=publisher.run, args=(stop,)) for publisher in publishers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


def test_all_events_arrive_as_the_document_and_the_feed_say(stage: Stage) -> None:
    stage.story.go_on(600)
    with publishing(stage.publisher()):
        stage.wait_until_published()
        messages = stage.messages()
        assert len(messages) == stage.log.head()
        in_order_and_complete(messages, stage.log.head())
        # Whatever is new goes out without being asked for.
        stage.story.go_on(40)
        stage.wait_until_published()
    messages = stage.messages()
    in_order_and_complete(messages, stage.log.head())
    described = document(stage.settings)["components"]
    schemas = {
        name: Draft202012Validator({**message["payload"], "components": described})
        for name, message in described["messages"].items()
    }
    logged = dict(stage.log.read(0, 100_000).events)
    for message in messages:
        schemas[message.event["type"]].validate(message.event)
        told = orjson.loads(orjson.dumps(public_event(message.position, logged[message.position])))
        assert message.event["data"] == told["data"]
        assert message.event["id"] == told["event_id"]
        assert message.key == message.event["partitionkey"] == told["stream"]
        assert message.headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def test_two_publishers_take_turns_and_send_nothing_twice(stage: Stage) -> None:
    stage.story.go_on(300)
    with publishing(stage.publisher(), stage.publisher()):
        stage.wait_until_published()
        stage.story.go_on(200)
        stage.wait_until_published()
        assert len(stage.messages()) == stage.log.head()
        with connect(stage.url, "tests") as connection:
            before = _leaders(connection)
            assert len(before) == 1
            connection.execute("SELECT pg_terminate_backend(%s)", before)
            stage.story.go_on(200)
            stage.wait_until_published()
            after = _leaders(connection)
            assert len(after) == 1
            assert after != before
    in_order_and_complete(stage.messages(), stage.log.head())


def _leaders(connection: Any) -> list[int]:
    """The connections that hold an advisory lock and publish."""
    rows = connection.execute(
        "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory'"
        " AND granted AND application_name = 'creditledger publisher'"
        " AND pg_stat_activity.datname = current_database()"
    ).fetchall()
    return [int(pid) for (pid,) in rows]


def _resources() -> int:
    """Threads and open files of this process."""
    return threading.active_count() + len(os.listdir("/dev/fd"))


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "DELIVERY_SECONDS", _DELIVERY_SECONDS)
    monkeypatch.setattr(publisher, "RETRY_SECONDS_MAX", _RETRY_SECONDS_MAX)


@pytest.mark.slow
@pytest.mark.usefixtures("_impatient")
def test_a_broker_that_goes_away_is_waited_for(database_url: str) -> None:
    with running_broker() as broker, staged(database_url, broker.address) as stage:
        stage.story.go_on(200)
        with publishing(stage.publisher()):
            stage.wait_until_published()
            for _ in range(2):
                reached = stage.checkpoint()
                broker.stop()
                stage.story.go_on(200)
                time.sleep(1)
                assert stage.checkpoint() == reached
                before = _resources()
                time.sleep(_SOME_TRIES_SECONDS)
                assert _resources() <= before + 10
                broker.start()
                stage.wait_until_published()
        in_order_and_complete(stage.messages(), stage.log.head())


@pytest.mark.slow
@pytest.mark.usefixtures("_impatient")
def test_a_broker_that_hangs_is_waited_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PARCEL_BYTES", _SMALL_PARCEL_BYTES)
    with running_broker() as broker, staged(database_url, broker.address) as stage:
        stage.story.go_on(4_000, batch=100)
        with publishing(stage.publisher()):
            eventually(lambda: stage.checkpoint() > 0)
            broker.signal(signal.SIGSTOP)
            time.sleep(_SOME_TRIES_SECONDS)
            assert stage.checkpoint() < stage.log.head(), "it was through before the broker hung"
            before = _resources()
            broker.signal(signal.SIGCONT)
            stage.wait_until_published()
            assert _resources() <= before + 10
        in_order_and_complete(stage.messages(), stage.log.head())


def test_a_topic_that_is_missing_is_said_and_waited_for(
    database_url: str, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    with staged(database_url, kafka, kafka_create_topics=False) as stage:
        with caplog.at_level(logging.WARNING), publishing(stage.publisher()):
            missing = f"the Kafka topic {stage.topic} is missing: create it, or set"
            eventually(lambda: missing in caplog.text)
            allowed = stage.settings.model_copy(update={"kafka_create_topics": True})
            require_topics(allowed, Topic(name=stage.topic, partitions=1))
            stage.wait_until_published()
        in_order_and_complete(stage.messages(), stage.log.head())


def test_a_checkpoint_that_is_set_back_has_all_sent_again(stage: Stage) -> None:
    with publishing(stage.publisher()):
        stage.wait_until_published()
        with connect(stage.url, "tests") as connection:
            connection.execute("UPDATE publications SET position = 0")
        eventually(lambda: len(stage.messages()) == 2 * stage.log.head())
    in_order_and_complete(stage.messages(), stage.log.head())


def test_the_lag_is_told_to_prometheus(stage: Stage) -> None:
    with running_api(stage.url, read_side=False) as api:
        metric = f'creditledger_publisher_lag_events{{topic="{stage.topic}"}}'
        assert metric not in api.http.get("/metrics").text
        assert stage.checkpoint() == 0
        assert f"{metric} {float(stage.log.head())}" in api.http.get("/metrics").text
        with publishing(stage.publisher()):
            stage.wait_until_published()
        assert f"{metric} 0.0" in api.http.get("/metrics").text


def test_parcels_keep_the_order_and_their_size() -> None:
    lots = tuple(LotAmount(f"grt_{number}", Credits(1)) for number in range(20_000))
    small = [deducted("ada", version) for version in range(1, 1_001)]
    large = deducted("ada", 1_001)
    object.__setattr__(large, "lots", lots)
    events = [Logged(n, event) for n, event in enumerate((*small, large, *small), 1)]
    made = list(parcels(events, "/creditledger"))
    sent = [orjson.loads(value)["position"] for parcel in made for _, value in parcel.messages]
    assert sent == [str(position) for position, _ in events]
    for parcel in made:
        assert parcel.bytes == sum(len(value) for _, value in parcel.messages)
        assert parcel.bytes <= PARCEL_BYTES or len(parcel.messages) == 1
        assert parcel.position == int(orjson.loads(parcel.messages[-1][1])["position"])
    assert [len(parcel.messages) for parcel in made if parcel.bytes > PARCEL_BYTES] == [1]
    assert list(parcels([], "/creditledger")) == []
