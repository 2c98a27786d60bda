"""What every stream of deliveries promises; the same tests for each adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread, Timer
from time import monotonic, sleep
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from creditledger.domain.store import Unavailable
from creditledger.infra import deliveries
from creditledger.infra.database import Pool, connect, connection_pool
from creditledger.infra.delivery import Stream, Verdict
from creditledger.infra.postgres_stream import PostgresStream
from creditledger.infra.settings import Settings
from kafka_broker import kafka_settings
from stream_ends import (
    DONE,
    PATIENCE_SECONDS,
    Ends,
    delivery,
    ends_of,
    nothing_comes,
    take,
    take_all,
)
from webhook_desk import eventually

PARKED = Verdict(status="parked", reason="unknown_price")


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    with connection_pool(database_url, "tests", size=6) as pool:
        yield pool


@pytest.fixture(params=["postgres", "kafka"])
def ends(request: pytest.FixtureRequest, database_url: str, pool: Pool) -> Iterator[Ends]:
    """Makes ends of one stream, each for a worker of its own."""
    if request.param == "kafka":
        settings = kafka_settings(request.getfixturevalue("kafka"))
    else:
        settings = Settings()
    with ends_of(settings, database_url, pool) as ends:
        yield ends


@pytest.fixture
def stream(ends: Ends) -> Stream:
    return ends()


def settle_and_fail(stream: Stream) -> None:
    """Take something, and go away before it is written down what came of it."""
    deadline = monotonic() + PATIENCE_SECONDS
    with suppress(ZeroDivisionError):
        while monotonic() < deadline:
            with stream.take(10) as batch:
                for taken in batch:
                    taken.settle(DONE)
                if batch:
                    raise ZeroDivisionError
            stream.wait(0.1)
        pytest.fail("nothing came")


class TestOneWorker:
    def test_a_delivery_comes_out_as_it_was_put_in(self, stream: Stream) -> None:
        put = delivery("evt_1")
        stream.put(put)
        deadline = monotonic() + PATIENCE_SECONDS
        while monotonic() < deadline:
            with stream.take(10) as batch:
                if batch:
                    [taken] = batch
                    break
            stream.wait(0.1)
        assert taken.delivery == put
        assert (taken.tries, taken.faults) == (0, 0)

    def test_what_is_settled_does_not_come_again(self, ends: Ends) -> None:
        stream = ends()
        stream.put(delivery("evt_1"))
        assert take(stream) == ["evt_1"]
        assert nothing_comes(stream)
        stream.close()
        assert nothing_comes(ends())

    def test_a_delivery_that_comes_twice_is_handled_once(self, stream: Stream) -> None:
        for _ in range(3):
            stream.put(delivery("evt_1"))
        assert take(stream) == ["evt_1"]
        assert nothing_comes(stream)
        stream.put(delivery("evt_1"))
        stream.put(delivery("evt_2"))
        assert take(stream) == ["evt_2"]
        assert nothing_comes(stream)

    def test_what_is_put_together_is_kept_once_and_in_order(self, stream: Stream) -> None:
        names = [f"evt_{n}" for n in (1, 2, 1, 3, 2)]
        stream.put(*map(delivery, names))
        stream.put(*map(delivery, ["evt_3", "evt_4"]))
        assert take_all(stream, 4) == ["evt_1", "evt_2", "evt_3", "evt_4"]
        assert nothing_comes(stream)

    @pytest.mark.parametrize("limit", [1, 3, 10])
    def test_what_belongs_together_comes_in_order(self, stream: Stream, limit: int) -> None:
        for n in range(7):
            stream.put(delivery(f"evt_{n}"))
        assert take_all(stream, 7, limit=limit) == [f"evt_{n}" for n in range(7)]

    def test_no_more_is_taken_than_was_asked_for(self, stream: Stream) -> None:
        for n in range(9):
            stream.put(delivery(f"evt_{n}", f"cus_{n}"))
        took: list[str] = []
        while len(took) < 9:
            more = take(stream, limit=4)
            assert 1 <= len(more) <= 4
            took += more
        assert sorted(took) == [f"evt_{n}" for n in range(9)]

    def test_what_a_worker_does_not_settle_comes_again(self, stream: Stream) -> None:
        stream.put(delivery("evt_1"))
        settle_and_fail(stream)
        assert take(stream) == ["evt_1"]

    def test_what_is_to_be_tried_later_waits_and_holds_up_its_own_key_alone(
        self, stream: Stream
    ) -> None:
        stream.put(delivery("evt_1", "cus_a"))
        take(stream, Verdict(status="received", retry_seconds=1.5, faults=1))
        stream.put(delivery("evt_2", "cus_a"))
        stream.put(delivery("evt_3", "cus_b"))
        assert take(stream, seconds=1) == ["evt_3"]
        sleep(1.5)
        with stream.take(10) as batch:
            told = [(taken.delivery.provider_delivery_id, taken.faults) for taken in batch]
            for taken in batch:
                taken.settle(DONE)
        assert told == [("evt_1", 1), ("evt_2", 0)]
        assert nothing_comes(stream)

    def test_those_behind_one_that_is_tried_again_stay_behind_it(self, stream: Stream) -> None:
        for event_id in ("evt_1", "evt_2", "evt_3"):
            stream.put(delivery(event_id))
        while True:
            with stream.take(10) as batch:
                if batch:
                    batch[0].settle(Verdict(status="received", retry_seconds=0.5))
                    break
            stream.wait(0.1)
        assert take_all(stream, 3) == ["evt_1", "evt_2", "evt_3"]

    @pytest.mark.parametrize("status", ["parked", "failed"])
    def test_what_is_parked_or_failed_holds_up_nothing(self, stream: Stream, status: Any) -> None:
        stream.put(delivery("evt_1"))
        assert take(stream, Verdict(status=status, reason="unknown_price")) == ["evt_1"]
        stream.put(delivery("evt_2"))
        assert take(stream) == ["evt_2"]
        assert nothing_comes(stream)

    def test_what_is_replayed_comes_again_with_its_tries(self, ends: Ends) -> None:
        stream = ends()
        stream.put(delivery("evt_1"))
        take(stream, PARKED)
        assert nothing_comes(stream)
        assert replayed(ends.url, "unknown_price") == 1
        with stream.take(10) as [taken]:
            assert taken.delivery == delivery("evt_1")
            assert taken.tries == 1

    def test_waiting_ends_as_soon_as_something_comes(self, ends: Ends) -> None:
        waiting, putting = ends(), ends()
        waiting.put(delivery("evt_1"))
        assert take(waiting) == ["evt_1"]
        later = Timer(0.2, putting.put, [delivery("evt_2")])
        later.start()
        began = monotonic()
        waiting.wait(10)
        assert monotonic() - began < 5
        later.join()
        assert take(waiting) == ["evt_2"]

    def test_waiting_ends_by_itself(self, stream: Stream) -> None:
        began = monotonic()
        stream.wait(0.1)
        assert 0.05 < monotonic() - began < 5

    def test_what_waits_is_counted_until_it_is_settled(self, stream: Stream) -> None:
        for n in range(3):
            stream.put(delivery(f"evt_{n}"))
        assert stream.waiting() == 3
        take(stream, Verdict(status="received", retry_seconds=60))
        eventually(lambda: stream.waiting() == 3)
        stream.put(delivery("evt_other", "cus_other"))
        assert take(stream, PARKED) == ["evt_other"]
        eventually(lambda: stream.waiting() == 3)


class TestManyWorkers:
    def test_they_take_everything_once_and_in_order(self, ends: Ends) -> None:
        first = ends()
        for n in range(90):
            first.put(delivery(f"evt_{n:03}", f"cus_{n % 7}"))
        took: list[str] = []
        run_workers(ends, took, 90, workers=4, stop_after=None)
        assert sorted(took) == [f"evt_{n:03}" for n in range(90)]
        assert_in_order(took, 7)

    def test_workers_that_come_and_go_lose_nothing(self, ends: Ends) -> None:
        """Each goes after some batches, and another comes: on Kafka, partitions move each time."""
        first = ends()
        for n in range(120):
            first.put(delivery(f"evt_{n:03}", f"cus_{n % 11}"))
        took: list[str] = []
        run_workers(ends, took, 120, workers=2, stop_after=4)
        assert sorted(took) == [f"evt_{n:03}" for n in range(120)]
        assert_in_order(took, 11)


def run_workers(
    ends: Ends, took: list[str], count: int, *, workers: int, stop_after: int | None
) -> None:
    """Threads that take until so many came; each goes and comes again after some batches."""
    deadline = monotonic() + 60

    def work() -> None:
        while len(took) < count and monotonic() < deadline:
            stream, batches = ends(), 0
            while len(took) < count and monotonic() < deadline and batches != stop_after:
                with stream.take(5) as batch:
                    for taken in batch:
                        taken.settle(DONE)
                    # Before others may take what comes behind it.
                    took.extend(taken.delivery.provider_delivery_id for taken in batch)
                if batch:
                    batches += 1
                else:
                    stream.wait(0.05)
            stream.close()

    threads = [Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def assert_in_order(took: list[str], customers: int) -> None:
    """Each customer's events came in the order of their numbers."""
    numbers = [int(event_id.removeprefix("evt_")) for event_id in took]
    for customer in range(customers):
        mine = [number for number in numbers if number % customers == customer]
        assert mine == sorted(mine)


def replayed(url: str, reason: str) -> int:
    """Have all that are parked or failed for a reason tried again."""

    async def replay() -> int:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            return await deliveries.replay_all(connection, reason)

    return asyncio.run(replay())


class TestTheTable:
    """What the table keeps, and what happens when its server goes away."""

    def test_a_lost_connection_is_made_again(self, ends: Ends) -> None:
        stream = ends()
        stream.put(delivery("evt_1"))
        with stream.take(10):
            pass
        terminate_others(ends.url, "creditledger webhooks")
        with pytest.raises(Unavailable):
            take(stream)
        assert take(stream) == ["evt_1"]

    def test_what_came_of_it_is_kept_with_the_tries(self, ends: Ends) -> None:
        stream = ends()
        stream.put(delivery("evt_1"))
        trace = "Traceback: \0 of a fault"
        take(stream, Verdict(status="received", reason="error", detail="no", trace=trace, faults=1))
        with connect(ends.url, "tests") as connection, connection.cursor() as cursor:
            row = cursor.execute("SELECT reason, detail, trace FROM webhook_deliveries").fetchone()
        assert row == ("error", "no", trace.replace("\0", "\ufffd"))
        take(stream, Verdict(status="done", position=7, payment="pi_1"))
        with connect(ends.url, "tests") as connection:
            found = connection.cursor(row_factory=dict_row)
            kept = found.execute("SELECT * FROM webhook_deliveries").fetchone()
        assert kept is not None
        assert (kept["status"], kept["tries"], kept["faults"]) == ("done", 2, 0)
        assert (kept["reason"], kept["detail"], kept["trace"]) == (None, None, None)
        assert (kept["position"], kept["payment"]) == (7, "pi_1")
        assert kept["headers"] == {"user-agent": "tests"}
        assert kept["settled_at"] is not None


class TestPostgres:
    def test_a_delivery_in_hand_is_nobody_elses_and_holds_up_its_own_key_alone(
        self, database_url: str, pool: Pool
    ) -> None:
        with ends_of(Settings(), database_url, pool) as ends:
            one, other = ends(), ends()
            for event_id, customer in (("evt_1", "cus_a"), ("evt_2", "cus_a"), ("evt_3", "cus_b")):
                one.put(delivery(event_id, customer))
            with one.take(1) as [taken]:
                assert taken.delivery.provider_delivery_id == "evt_1"
                assert take(other) == ["evt_3"]
                assert take(other, seconds=0) == []
                taken.settle(DONE)
            assert take(other) == ["evt_2"]

    def test_a_worker_whose_connection_is_cut_gives_back_what_it_had(
        self, database_url: str, pool: Pool
    ) -> None:
        with ends_of(Settings(), database_url, pool) as ends:
            dying, living = ends(), ends()
            living.put(delivery("evt_1"))
            with pytest.raises(Unavailable):
                die_with_a_delivery(dying, database_url)
            assert take(living) == ["evt_1"]

    def test_a_database_that_is_away_is_told_at_once(self, pool: Pool) -> None:
        away = "postgresql://nobody@127.0.0.1:1/none"
        stream = PostgresStream(away, pool)
        with pytest.raises(Unavailable):
            stream.wait(0.1)
        closed = connection_pool(away, "tests", size=1)
        closed.timeout = 0.2
        with closed as none, pytest.raises(Unavailable):
            PostgresStream(away, none).put(delivery("evt_1"))


def die_with_a_delivery(stream: Stream, database_url: str) -> None:
    with stream.take(1) as [taken]:
        terminate_others(database_url, "creditledger webhooks")
        taken.settle(DONE)


def terminate_others(database_url: str, application_name: str) -> None:
    with connect(database_url, "tests") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            (application_name,),
        )
