"""The sweeper writes down what time did, and changes nothing that anybody could see."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from threading import Event, Thread

import pytest

from creditledger.domain.amounts import Credits
from creditledger.domain.commands import GrantCredits
from creditledger.domain.ledger import Ledger
from creditledger.infra.database import Pool, connect
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.group_commit import GroupCommit
from creditledger.infra.proof import verify_ledger
from creditledger.infra.sweeper import BATCH, sweep, sweep_until
from long_story import LongStory
from read_models import catch_up

A_YEAR = timedelta(days=365)


@pytest.fixture
def story(database_url: str, pool: Pool) -> LongStory:
    story = LongStory(PostgresLedgerStore(pool))
    story.go_on(400)
    # More accounts than are settled at a time.
    ends = story.now + timedelta(hours=1)
    story.tell(
        *(
            GrantCredits(customer_id=f"visitor-{number}", amount=Credits(1), expires_at=ends)
            for number in range(BATCH + 20)
        )
    )
    catch_up(database_url, EventLog(pool))
    return story


def writer_at(pool: Pool, moment: datetime) -> GroupCommit:
    """A writer whose clock stands still."""
    return GroupCommit(Ledger(PostgresLedgerStore(pool), now=lambda: moment))


def due(database_url: str, moment: datetime) -> int:
    """How many lots and holds the read models show as due and not yet written down."""
    with connect(database_url, "tests") as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM lots WHERE remaining > 0 AND expires_at <= %(at)s)"
            " + (SELECT count(*) FROM open_holds WHERE expires_at <= %(at)s)",
            {"at": moment},
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_sweep_writes_down_all_that_is_due(
    database_url: str, pool: Pool, story: LongStory
) -> None:
    later = story.now + A_YEAR
    assert due(database_url, later) > BATCH
    with writer_at(pool, later) as writer:
        settled = sweep(pool, writer, later)
        assert settled > BATCH
        catch_up(database_url, EventLog(pool))
        assert due(database_url, later) == 0
        head = EventLog(pool).head()
        assert sweep(pool, writer, later) == 0
        assert EventLog(pool).head() == head
    assert verify_ledger(database_url, later).clean


def test_only_one_process_sweeps_at_a_time(database_url: str, pool: Pool, story: LongStory) -> None:
    later = story.now + A_YEAR
    with writer_at(pool, later) as writer, connect(database_url, "another sweeper") as another:
        another.execute(
            "SELECT pg_advisory_lock(hashtextextended(current_schema() || '/sweeper', 0))"
        )
        assert sweep(pool, writer, later) == 0
        another.close()
        while not sweep(pool, writer, later):
            time.sleep(0.01)


def test_the_sweeper_goes_on_until_it_is_stopped(
    database_url: str, pool: Pool, story: LongStory
) -> None:
    later = story.now + A_YEAR
    head = EventLog(pool).head()
    stop = Event()
    with writer_at(pool, later) as writer:
        sweeper = Thread(
            target=sweep_until,
            args=(stop, pool, writer),
            kwargs={"now": lambda: later, "interval_seconds": 0.05},
        )
        sweeper.start()
        while EventLog(pool).head() == head:
            time.sleep(0.01)
        stop.set()
        sweeper.join(10)
        assert not sweeper.is_alive()
