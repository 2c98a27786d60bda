"""What every stream of deliveries promises; the same tests for each adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import chain
from threading import Thread, Timer
from time import monotonic, sleep
from typing import Any

import orjson
import pytest
from psycopg.rows import dict_row

from creditledger.domain.store import Unavailable
from creditledger.infra.database import Pool, connect, connection_pool
from creditledger.infra.delivery import Delivery, Stream, Verdict, read_delivery
from creditledger.infra.postgres_stream import PostgresStream

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
DONE = Verdict(status="done")

MakeStream = Callable[[], Stream]


def delivery(event_id: str, customer: str = "cus_1") -> Delivery:
    event = {"id": event_id, "type": "tea.brewed", "data": {"object": {"customer": customer}}}
    return read_delivery("stripe", orjson.dumps(event), {"user-agent": "tests"}, NOW)


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    with connection_pool(database_url, "tests", size=4) as pool:
        yield pool


@pytest.fixture(params=["postgres"])
def streams(request: pytest.FixtureRequest, database_url: str, pool: Pool) -> Iterator[MakeStream]:
    """Makes ends of one stream, each for a worker of its own."""
    assert request.param == "postgres"
    with ExitStack() as stack:

        def make() -> Stream:
            stream = PostgresStream(database_url, pool)
            stack.callback(stream.close)
            return stream

        yield make


@pytest.fixture
def stream(streams: MakeStream) -> Stream:
    return streams()


def take(stream: Stream, verdict: Verdict = DONE) -> str | None:
    """Take the next delivery, settle it, and say which it was."""
    with stream.take() as taken:
        if taken is None:
            return None
        taken.settle(verdict)
        return taken.delivery.provider_delivery_id


def settle_and_fail(stream: Stream) -> None:
    with suppress(ZeroDivisionError), stream.take() as taken:
        assert taken is not None
        taken.settle(DONE)
        raise ZeroDivisionError


def taken_in_order(stream: Stream) -> list[str]:
    return list(iter(lambda: take(stream), None))


def test_a_delivery_comes_out_as_it_was_put_in(stream: Stream) -> None:
    put = delivery("evt_1")
    stream.put(put)
    with stream.take() as taken:
        assert taken is not None
        assert taken.delivery == put
        assert taken.faults == 0


def test_what_is_settled_does_not_come_again(stream: Stream) -> None:
    stream.put(delivery("evt_1"))
    assert take(stream) == "evt_1"
    assert take(stream) is None


def test_a_delivery_that_comes_twice_is_kept_once(stream: Stream) -> None:
    for _ in range(3):
        stream.put(delivery("evt_1"))
    assert taken_in_order(stream) == ["evt_1"]
    stream.put(delivery("evt_1"))
    assert take(stream) is None


def test_what_belongs_together_comes_in_order(stream: Stream) -> None:
    for n in range(5):
        stream.put(delivery(f"evt_{n}"))
    assert taken_in_order(stream) == [f"evt_{n}" for n in range(5)]


def test_a_delivery_in_hand_is_nobody_elses_and_holds_up_its_own_key_alone(
    streams: MakeStream,
) -> None:
    one, other = streams(), streams()
    for event_id, customer in (("evt_1", "cus_a"), ("evt_2", "cus_a"), ("evt_3", "cus_b")):
        one.put(delivery(event_id, customer))
    with one.take() as taken:
        assert taken is not None
        assert taken.delivery.provider_delivery_id == "evt_1"
        assert taken_in_order(other) == ["evt_3"]
        taken.settle(DONE)
    assert taken_in_order(other) == ["evt_2"]


def test_what_a_worker_does_not_settle_comes_again(stream: Stream) -> None:
    stream.put(delivery("evt_1"))
    settle_and_fail(stream)
    assert take(stream) == "evt_1"


def test_what_is_to_be_tried_later_waits_and_holds_up_its_own_key_alone(stream: Stream) -> None:
    stream.put(delivery("evt_1", "cus_a"))
    take(stream, Verdict(status="received", retry_seconds=0.4, faults=1))
    stream.put(delivery("evt_2", "cus_a"))
    stream.put(delivery("evt_3", "cus_b"))
    assert taken_in_order(stream) == ["evt_3"]
    sleep(0.45)
    with stream.take() as taken:
        assert taken is not None
        assert (taken.delivery.provider_delivery_id, taken.faults) == ("evt_1", 1)
        taken.settle(DONE)
    assert take(stream) == "evt_2"


@pytest.mark.parametrize("status", ["parked", "failed"])
def test_what_is_parked_or_failed_holds_up_nothing(stream: Stream, status: Any) -> None:
    for event_id in ("evt_1", "evt_2"):
        stream.put(delivery(event_id))
    assert take(stream, Verdict(status=status, reason="unknown_price")) == "evt_1"
    assert taken_in_order(stream) == ["evt_2"]


def test_waiting_ends_as_soon_as_something_comes(streams: MakeStream) -> None:
    waiting, putting = streams(), streams()
    assert take(waiting) is None
    later = Timer(0.2, putting.put, [delivery("evt_1")])
    later.start()
    began = monotonic()
    waiting.wait(10)
    assert monotonic() - began < 5
    later.join()
    assert take(waiting) == "evt_1"


def test_waiting_ends_by_itself(stream: Stream) -> None:
    began = monotonic()
    stream.wait(0.1)
    assert 0.05 < monotonic() - began < 5


def test_many_workers_take_everything_once(streams: MakeStream) -> None:
    first = streams()
    for n in range(60):
        first.put(delivery(f"evt_{n}", f"cus_{n % 7}"))
    took: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str], stream: Stream) -> None:
        deadline = monotonic() + 20
        while sum(map(len, took)) < 60 and monotonic() < deadline:
            found = take(stream)
            if found is not None:
                mine.append(found)

    workers = [Thread(target=work, args=(mine, streams())) for mine in took]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(chain.from_iterable(took)) == sorted(f"evt_{n}" for n in range(60))


class TestPostgres:
    """What the table keeps, and what happens when the server goes away."""

    def test_a_worker_that_dies_gives_back_what_it_had(
        self, database_url: str, streams: MakeStream
    ) -> None:
        dying, living = streams(), streams()
        living.put(delivery("evt_1"))
        with pytest.raises(Unavailable):
            die_with_a_delivery(dying, database_url)
        assert take(living) == "evt_1"

    def test_a_lost_connection_is_made_again(self, database_url: str, stream: Stream) -> None:
        stream.put(delivery("evt_1"))
        stream.wait(0.01)
        terminate_others(database_url, "creditledger webhooks")
        with pytest.raises(Unavailable):
            take(stream)
        assert take(stream) == "evt_1"

    def test_a_database_that_is_away_is_told_at_once(self, pool: Pool) -> None:
        away = "postgresql://nobody@127.0.0.1:1/none"
        stream = PostgresStream(away, pool)
        with pytest.raises(Unavailable):
            stream.wait(0.1)
        with connection_pool_closed(away) as closed, pytest.raises(Unavailable):
            PostgresStream(away, closed).put(delivery("evt_1"))

    def test_what_came_of_it_is_kept_with_the_tries(
        self, database_url: str, stream: Stream
    ) -> None:
        stream.put(delivery("evt_1"))
        take(stream, Verdict(status="received", reason="error", detail="no", faults=1))
        take(stream, Verdict(status="done", position=7, payment="pi_1"))
        with connect(database_url, "tests") as connection:
            row = (
                connection.cursor(row_factory=dict_row)
                .execute("SELECT * FROM webhook_deliveries")
                .fetchone()
            )
        assert row is not None
        assert (row["status"], row["tries"], row["faults"]) == ("done", 2, 0)
        assert (row["reason"], row["detail"]) == (None, None)
        assert (row["position"], row["payment"]) == (7, "pi_1")
        assert row["headers"] == {"user-agent": "tests"}
        assert row["settled_at"] is not None


def die_with_a_delivery(stream: Stream, database_url: str) -> None:
    with stream.take() as taken:
        assert taken is not None
        terminate_others(database_url, "creditledger webhooks")
        taken.settle(DONE)


def connection_pool_closed(url: str) -> Pool:
    pool = connection_pool(url, "tests", size=1)
    pool.timeout = 0.2
    return pool


def terminate_others(database_url: str, application_name: str) -> None:
    with connect(database_url, "tests") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            (application_name,),
        )
