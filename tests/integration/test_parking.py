"""What is parked comes again as soon as there is news, however much is parked; old ones go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest
from psycopg import AsyncConnection

from creditledger.consumers.worker import clean_until, step
from creditledger.domain.amounts import Credits
from creditledger.domain.provider_commands import SetPrice
from creditledger.infra import deliveries
from creditledger.infra.database import Pool, connect, connection_pool
from creditledger.infra.delivery import Taken
from creditledger.infra.parking import LOOK_THROUGH_SECONDS, Parking
from provider_bodies import PRICES, STRIPE_PACK, changed
from set_clock import Clock
from webhook_desk import SESSION, Desk, eventually

MANY = 10_000

#: Rows of deliveries that wait for streams in which nothing ever happens.
FILL = """
    INSERT INTO webhook_deliveries (
        delivery_id, provider, provider_delivery_id, stream_key, body, headers, received_at,
        status, reason, awaits, due_at, settled_at
    )
    SELECT status || n, 'stripe', status || n, 'stripe:' || n, '', '{}', now(), status,
           'unknown_price', ARRAY[gen_random_uuid(), gen_random_uuid()], now(),
           now() - interval '91 days'
    FROM generate_series(1, %s) AS n, unnest(%s::text[]) AS status
"""

READ = """
    SELECT seq_tup_read + idx_tup_fetch
    FROM pg_stat_user_tables WHERE relname = 'webhook_deliveries'
"""


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    """One connection, so that its figures can be asked for."""
    with connection_pool(database_url, "tests", size=1) as pool:
        yield pool


def fill(desk: Desk, count: int, *statuses: str) -> None:
    with desk.parts.pool.connection() as connection:
        connection.execute(FILL, (count, list(statuses)))


def rows_read(pool: Pool) -> int:
    """How many rows of the table were ever read by the pool's connection."""
    with pool.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(READ).fetchone()
    assert row is not None
    return int(row[0])


def test_news_is_found_among_many_that_have_none(desk: Desk, pool: Pool) -> None:
    fill(desk, MANY, "parked")
    desk.put(SESSION)
    parking = Parking(pool)
    parking.parked(step(desk.stream, desk.runner))
    assert desk.statuses()[-1] == ("parked", "unknown_price")
    assert parking.free() == 0
    before = rows_read(pool)
    for n in range(10):
        desk.wish(SetPrice(provider="stripe", price_id=f"price_{n}", credits=Credits(1)))
        assert parking.free() == 0
    desk.wish(*PRICES)
    assert parking.free() == 1
    assert rows_read(pool) - before < 50
    desk.work_off()
    assert desk.available() == 600


@pytest.mark.parametrize("others", [0, 3, 100])
def test_news_is_found_among_much_that_concerns_nobody(desk: Desk, pool: Pool, others: int) -> None:
    fill(desk, others, "parked")
    parking = Parking(pool)
    assert parking.free() == 0
    desk.put(SESSION)
    parking.parked(step(desk.stream, desk.runner))
    assert parking.free() == 0
    news = [
        SetPrice(provider="stripe", price_id=f"price_{n}", credits=Credits(1)) for n in range(80)
    ]
    desk.wish(*news[:40])
    assert parking.free() == 0
    desk.wish(*news[40:], *PRICES)
    assert parking.free() == 1


def test_news_that_came_before_it_was_parked_is_not_missed(desk: Desk, pool: Pool) -> None:
    parking = Parking(pool)
    assert parking.free() == 0
    batch = parked_behind_its_news(desk, parking)
    parking.parked(batch)
    assert parking.free() == 1


def test_nor_where_the_worker_died_that_had_parked_it(desk: Desk, pool: Pool) -> None:
    clock = Clock(0.0)
    parking = Parking(pool, clock)
    assert parking.free() == 0
    parked_behind_its_news(desk, parking)
    clock.now = LOOK_THROUGH_SECONDS - 1
    assert parking.free() == 0
    clock.now = LOOK_THROUGH_SECONDS
    assert parking.free() == 1


def parked_behind_its_news(desk: Desk, parking: Parking) -> list[Taken]:
    """A delivery for which the news came, and was looked for, while it was being parked."""
    desk.put(SESSION)
    with desk.stream.take(1) as batch:
        desk.runner.handle(batch)
        desk.wish(*PRICES)
        assert parking.free() == 0
    return list(batch)


def test_what_is_tried_again_waits_for_nothing_but_its_turn(
    desk: Desk, pool: Pool, database_url: str
) -> None:
    def by_news(_: str) -> None:
        desk.wish(*PRICES)
        assert Parking(pool).free() == 1

    def by_its_id(delivery_id: str) -> None:
        asyncio.run(replay(database_url, partial(deliveries.replay, delivery_id=delivery_id)))

    def by_its_reason(_: str) -> None:
        asyncio.run(replay(database_url, partial(deliveries.replay_all, reason="unknown_price")))

    delivery_id = desk.put(SESSION).delivery_id
    for tried_again in (by_its_id, by_its_reason, by_news):
        step(desk.stream, desk.runner)
        [parked] = desk.rows()
        assert (parked["status"], parked["waits_for"]) == ("parked", f"price:stripe:{STRIPE_PACK}")
        assert parked["awaits"]
        assert parked["settled_at"]

        tried_again(delivery_id)

        [row] = desk.rows()
        assert (row["status"], row["waits_for"], row["settled_at"]) == ("received", None, None)
        assert row["awaits"] == []
        assert row["reason"] == "unknown_price"  # that came of the last try
    desk.work_off()
    assert desk.available() == 600


async def replay(url: str, ask: Callable[[AsyncConnection[Any]], Awaitable[Any]]) -> None:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        assert await ask(connection) == 1


def test_what_somebody_holds_is_left_to_him(desk: Desk, pool: Pool, database_url: str) -> None:
    for n in range(2):
        price = {"metadata": {"price_id": STRIPE_PACK, "ledger_account": f"c{n}"}}
        desk.put(changed(SESSION, {"id": f"evt_{n}"}, payment_intent=f"pi_{n}", **price))
    step(desk.stream, desk.runner)
    desk.wish(*PRICES)
    with connect(database_url, "tests") as holder, holder.transaction():
        holder.execute("SELECT FROM webhook_deliveries ORDER BY sequence LIMIT 1 FOR UPDATE")
        assert Parking(pool).free() == 1
    assert Parking(pool).free() == 1


def test_old_ones_are_deleted_some_at_a_time_and_nobody_is_waited_for(
    desk: Desk, database_url: str
) -> None:
    fill(desk, deliveries.CLEANED_AT_ONCE, "done", "ignored", "parked", "failed", "received")
    pool, retention = desk.parts.pool, timedelta(days=90)
    with connect(database_url, "tests") as holder, holder.transaction():
        holder.execute("SELECT FROM webhook_deliveries WHERE status = 'done' LIMIT 1 FOR UPDATE")
        assert deliveries.clean(pool, retention) == deliveries.CLEANED_AT_ONCE
        assert deliveries.clean(pool, retention) == deliveries.CLEANED_AT_ONCE - 1
        assert deliveries.clean(pool, retention) == 0
    assert deliveries.clean(pool, retention) == 1
    assert {status for status, _ in desk.statuses()} == {"parked", "failed", "received"}
    assert len(desk.rows()) == 3 * deliveries.CLEANED_AT_ONCE


def test_what_is_not_old_enough_stays(desk: Desk) -> None:
    fill(desk, 1, "done")
    assert deliveries.clean(desk.parts.pool, timedelta(days=92)) == 0


def test_cleaning_goes_on_beside_the_workers_until_it_is_told_to_stop(desk: Desk) -> None:
    fill(desk, 3 * deliveries.CLEANED_AT_ONCE + 7, "done", "failed")
    stop = Event()
    cleaning = Thread(target=clean_until, args=(stop, desk.parts.pool, timedelta(days=90)))
    cleaning.start()
    try:
        eventually(lambda: {status for status, _ in desk.statuses()} == {"failed"})
    finally:
        stop.set()
        cleaning.join(10)
    assert not cleaning.is_alive()
