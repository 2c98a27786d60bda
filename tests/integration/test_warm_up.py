"""A process begins with the accounts used last at hand, and starts whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import count
from uuid import UUID

import pytest

from commit_story import deduct, grant, ledger, wish
from creditledger.domain import ids
from creditledger.domain.commands import RefundDeduction
from creditledger.domain.receipt import Receipt
from creditledger.domain.store import NONE_SEEN, Stream
from creditledger.infra import warm_up as warming
from creditledger.infra.database import Pool, connect
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.warm_up import warm_up

WHO = ("ada", "bob", "cem")


class LoadingStore(PostgresLedgerStore):
    """The store, which notes what it was asked to load."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.loaded: list[UUID] = []

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        self.loaded += streams
        return super().load(streams, seen)


@pytest.fixture
def store(pool: Pool) -> LoadingStore:
    return LoadingStore(pool)


@pytest.fixture
def log(pool: Pool) -> EventLog:
    """A log in which Ada's account was used last, and Cem's before it."""
    writer = ledger(PostgresLedgerStore(pool))
    writer.handle([wish(f"grant {who}", grant(who, 100)) for who in WHO])
    writer.handle([wish("one", deduct("cem")), wish("two", deduct("ada"))])
    return EventLog(pool)


def stream(who: str) -> UUID:
    return ids.account_id(who, "credits")


def test_accounts_in_use_come_with_those_used_last_first(log: EventLog) -> None:
    found = log.accounts_in_use(events=100, most=100)
    assert found == [stream(who) for who in ("ada", "cem", "bob")]
    assert log.accounts_in_use(events=100, most=2) == found[:2]
    assert log.accounts_in_use(events=1, most=100) == found[:1]


def test_what_is_no_account_is_not_in_use(log: EventLog, pool: Pool) -> None:
    """A refund leaves a trail, too: a small stream of its own."""
    writer = ledger(PostgresLedgerStore(pool))
    spent = writer.handle([wish("spend", deduct("ada"))])[0]
    assert isinstance(spent, Receipt)
    refund = RefundDeduction(deduction_id=spent.answer["deduction_id"])
    writer.handle([wish("refund", refund)])
    with pool.connection() as connection:
        row = connection.execute("SELECT count(DISTINCT originator_id) FROM ledger_events")
        assert row.fetchone() == (len(WHO) + 1,)
    assert set(log.accounts_in_use(events=100, most=100)) == {stream(who) for who in WHO}


def test_nothing_is_in_use_where_the_log_is_empty(pool: Pool) -> None:
    assert EventLog(pool).accounts_in_use(events=100, most=100) == []


def test_commands_about_what_was_used_last_load_nothing(log: EventLog, store: LoadingStore) -> None:
    warm = ledger(store)
    assert warm_up(warm, log, most=2) == 2
    store.loaded.clear()
    warm.handle([wish("three", deduct("ada")), wish("four", deduct("cem"))])
    assert store.loaded == []
    warm.handle([wish("five", deduct("bob"))])
    assert store.loaded == [stream("bob")]


def test_a_start_takes_no_longer_for_it(
    log: EventLog, store: LoadingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "_ACCOUNTS_AT_ONCE", 1)
    seconds = count(step=warming.SECONDS_MAX * 0.6)
    assert warm_up(ledger(store), log, most=100, clock=lambda: next(seconds)) == 1
    assert store.loaded == [stream("ada")]


def test_an_account_that_cannot_be_read_is_left_out(
    log: EventLog, store: LoadingStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "_ACCOUNTS_AT_ONCE", 1)
    with connect(database_url, "tests") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE ledger_events SET state = 'no event' WHERE originator_id = %s",
            (stream("ada"),),
        )
    warm = ledger(store)
    assert warm_up(warm, log, most=100) == 2
    store.loaded.clear()
    warm.handle([wish("three", deduct("cem"))])
    assert store.loaded == []


def test_a_database_that_is_away_stops_no_start(log: EventLog, pool: Pool) -> None:
    warm = ledger(PostgresLedgerStore(pool))
    pool.close()
    assert warm_up(warm, log, most=100) == 0
