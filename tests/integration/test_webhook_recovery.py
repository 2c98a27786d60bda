"""What is booked in the end, whatever fails on the way and for how long, on either stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from kafka import KafkaConsumer

from creditledger.consumers.runner import FAULTS_MAX, UNAVAILABLE_SECONDS, Runner
from creditledger.consumers.worker import consume
from creditledger.domain.receipt import Batch, Outcome, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.kafka_connection import client_options
from creditledger.infra.migrate import migrate
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import machine_clock
from kafka_broker import kafka_settings, running_broker
from provider_bodies import PRICES, TERN, body
from webhook_desk import PARTIAL_CHARGE, SESSION, Desk, eventually, open_desk

HOUR_SECONDS = 3600


@pytest.fixture
def desk(database_url: str, settings: Settings) -> Iterator[Desk]:
    with open_desk(database_url, *PRICES, settings=settings) as desk:
        yield desk


def of_customer(name: str, number: int) -> bytes:
    """A body of Stripe's that tells the same of another customer."""
    raw = body(name)
    for text in (TERN, "cus_ncpckeCHVGLA5q", "pi_8kIJbT1rN7biotKnxdcLFdQT", "evt_", "ch_", "cs_"):
        raw = raw.replace(text.encode(), f"{text}{number}".encode())
    return raw


class Failing:
    """A door to the ledger that fails for what some deliveries wish, for a while."""

    def __init__(self, desk: Desk, fault: Callable[[], Exception], *customers: int) -> None:
        self._desk = desk
        self._fault = fault
        self._marks = [f"{TERN}{customer}" for customer in customers]
        self.repaired = False

    def submit(self, item: Wish | Batch) -> Future[Outcome]:
        if not self.repaired and any(mark in str(item) for mark in self._marks):
            raise self._fault()
        return self._desk.parts.writer.submit(item)


def failing(desk: Desk, fault: Callable[[], Exception], *customers: int) -> Failing:
    writer = Failing(desk, fault, *customers)
    desk.runner = Runner(writer, now=machine_clock, stripe_livemode=False)
    return writer


def test_a_dead_letter_holds_up_no_other_and_can_be_replayed(
    desk: Desk, settings: Settings
) -> None:
    failing(desk, lambda: ValueError("a bug"), 1)
    dead = desk.put(of_customer(SESSION, 1))
    for customer in (2, 3):
        desk.put(of_customer(SESSION, customer))
    desk.work_until(lambda: desk.available(f"{TERN}2") == desk.available(f"{TERN}3") == 600)
    for tried in range(1, FAULTS_MAX):
        desk.work_until(lambda tried=tried: row_of(desk, dead.delivery_id)["tries"] == tried)  # type: ignore[misc]
        assert row_of(desk, dead.delivery_id)["status"] == "received"
        desk.hurry()
    desk.work_until(lambda: ("failed", "error") in desk.statuses())
    row = row_of(desk, dead.delivery_id)
    assert (row["detail"], row["tries"]) == ("ValueError: a bug", FAULTS_MAX)
    assert "Traceback" in row["trace"]
    if settings.kafka_bootstrap_servers is not None:
        [letter] = dead_letters(settings)
        assert letter.value == dead.body
        told = dict(letter.headers)
        assert told["delivery_id"].decode() == dead.delivery_id
        assert told["reason"] == b"error"
        assert told["tries"].decode() == str(FAULTS_MAX)
        assert b"ValueError: a bug" in told["trace"]
    failing(desk, ZeroDivisionError)
    with desk.parts.pool.connection() as connection:
        connection.execute("UPDATE webhook_deliveries SET status = 'received', due_at = now()")
    desk.work_until(lambda: desk.available(f"{TERN}1") == 600)


def test_a_ledger_that_refuses_for_an_hour_is_asked_until_it_does_not(desk: Desk) -> None:
    """As many tries as an hour has; the wait between them is cut short."""
    writer = failing(desk, lambda: Unavailable("not now"), 1)
    desk.put(of_customer(SESSION, 1))
    desk.put(of_customer(PARTIAL_CHARGE, 1))
    tries = round(HOUR_SECONDS / UNAVAILABLE_SECONDS)
    desk.work_until(lambda: bool(desk.rows()))
    first = desk.rows()[0]["delivery_id"]
    for tried in range(1, tries):
        desk.work_until(lambda tried=tried: row_of(desk, first)["tries"] >= tried)  # type: ignore[misc]
        if tried % 240 == 0:
            desk.put(of_customer(SESSION, 1 + tried))
            desk.work_until(lambda tried=tried: desk.available(f"{TERN}{1 + tried}") == 600)  # type: ignore[misc]
        desk.hurry()
    row = row_of(desk, first)
    assert (row["status"], row["reason"], row["faults"]) == ("received", "unavailable", 0)
    writer.repaired = True
    desk.hurry()
    desk.work_until(lambda: desk.available(f"{TERN}1") == 450)
    assert {status for status, _ in desk.statuses()} == {"done"}


CUSTOMERS = 60


def test_brokers_that_stop_and_start_under_load_lose_nothing(database_url: str) -> None:
    with (
        running_broker() as broker,
        open_desk(database_url, *PRICES, settings=kafka_settings(broker.address)) as desk,
        delivering(desk) as delivered,
    ):
        for _ in range(2):
            so_far = len(delivered)
            eventually(lambda so_far=so_far: len(delivered) > so_far + 5)  # type: ignore[misc]
            broker.stop()
            sleep(1)
            broker.start()
        assert_all_are_booked(desk, delivered)


@pytest.mark.parametrize("stream", ["postgres", "kafka"])
def test_a_database_that_stops_and_starts_under_load_loses_nothing(
    request: pytest.FixtureRequest, stream: str
) -> None:
    settings = Settings()
    if stream == "kafka":
        settings = kafka_settings(request.getfixturevalue("kafka"))
    with TemporaryDirectory(prefix="creditledger-test-", ignore_cleanup_errors=True) as folder:
        server = ExitStack()
        url = server.enter_context(embedded_postgres(Path(folder)))
        migrate(url)
        with open_desk(url, *PRICES, settings=settings) as desk, delivering(desk) as delivered:
            for _ in range(2):
                so_far = len(delivered)
                eventually(lambda so_far=so_far: len(delivered) > so_far + 5)  # type: ignore[misc]
                server.close()
                sleep(1)
                assert server.enter_context(embedded_postgres(Path(folder))) == url
            assert_all_are_booked(desk, delivered)
        server.close()


@contextmanager
def delivering(desk: Desk) -> Iterator[list[int]]:
    """A provider that tells of a purchase of each customer, and again until it is taken, beside
    the workers; yields those whose purchase was taken."""
    stop = Event()
    delivered: list[int] = []

    def deliver() -> None:
        for customer in range(CUSTOMERS):
            while not stop.is_set():
                try:
                    desk.put(of_customer(SESSION, customer))
                except Unavailable:
                    stop.wait(0.2)
                else:
                    delivered.append(customer)
                    break
            stop.wait(0.1)

    threads = [Thread(target=deliver), Thread(target=consume, args=(desk.parts, stop))]
    for thread in threads:
        thread.start()
    try:
        yield delivered
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def assert_all_are_booked(desk: Desk, delivered: list[int]) -> None:
    eventually(lambda: len(delivered) == CUSTOMERS, 60)
    names = [f"{TERN}{customer}" for customer in range(CUSTOMERS)]
    eventually(lambda: all(desk.available(name) == 600 for name in names), 60)


def row_of(desk: Desk, delivery_id: str) -> dict[str, Any]:
    """The record of one delivery, or one that says nothing where there is none yet."""
    found = [row for row in desk.rows() if row["delivery_id"] == delivery_id]
    return found[0] if found else {"tries": 0}


def dead_letters(settings: Settings) -> list[Any]:
    """All that is on the topic of dead letters."""
    consumer = KafkaConsumer(
        f"{settings.kafka_webhooks_topic}.dead",
        **client_options(settings),
        auto_offset_reset="earliest",
        consumer_timeout_ms=2_000,
    )
    try:
        return list(consumer)
    finally:
        consumer.close()
