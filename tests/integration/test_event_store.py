"""The store keeps every promise of its port on a real PostgreSQL."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter
from uuid import UUID

import psycopg
import pytest

from commit_story import PATIENCE_SECONDS, throw_out
from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.snapshots import FORM
from creditledger.domain.store import Conflict, Expectation, LogEnd, News, Stream, Unavailable
from creditledger.infra import event_store
from creditledger.infra.database import Pool, connect
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.mapper import LedgerMapper
from creditledger.infra.migrate import migrate
from log_story import (
    CLIENT,
    account,
    at_position,
    deducted,
    history,
    moment,
    pool_for,
    receipt,
    snapshot,
)
from stored_events import EXAMPLES

ADA, BOB, EVE = account("ada"), account("bob"), account("eve")


def end(position: int, *, of: int) -> LogEnd:
    """A log that ends there, with an event of this version."""
    return LogEnd(position, moment(of))


def each_in_its_place(events: tuple[Event, ...]) -> list[Event]:
    """The events with the versions that they have in this order."""
    versions: Counter[UUID] = Counter()
    placed = []
    for event in events:
        versions[event.originator_id] += 1
        placed.append(replace(event, originator_version=versions[event.originator_id]))
    return placed


# Append.


def test_positions_follow_one_another_from_1(store: PostgresLedgerStore, log: EventLog) -> None:
    assert store.append([deducted("ada", 1), deducted("bob", 1)], [], []) == 0
    assert store.append([deducted("ada", 2)], [], []) == 2
    assert store.append([], [], []) == 3
    assert [(logged.position, logged.event) for logged in log.read(0, 10).events] == [
        (1, deducted("ada", 1)),
        (2, deducted("bob", 1)),
        (3, deducted("ada", 2)),
    ]


def test_events_of_every_class_come_back_as_they_were(store: PostgresLedgerStore) -> None:
    events = each_in_its_place(EXAMPLES)
    store.append(events, [], [])
    refs = [EventRef(event.originator_id, event.originator_version) for event in events]
    assert store.events(refs) == dict(zip(refs, events, strict=True))


def test_receipts_stand_at_the_last_event_of_their_command(store: PostgresLedgerStore) -> None:
    store.append(history("ada", last=5), [], [])
    receipts = [receipt("refused"), receipt("two", customer_id=None), receipt("one")]
    store.append(history("bob", last=3), list(zip(receipts, (0, 2, 3), strict=True)), [])
    assert store.receipts([r.id for r in receipts] + [EVE]) == {
        receipts[0].id: at_position(receipts[0], 5),
        receipts[1].id: at_position(receipts[1], 7),
        receipts[2].id: at_position(receipts[2], 8),
    }


def test_a_receipt_is_found_by_client_and_key(store: PostgresLedgerStore) -> None:
    store.append([], [(receipt("k"), 0)], [])
    assert store.receipt_by_key(CLIENT, "k") == at_position(receipt("k"), 0)
    assert store.receipt_by_key("client_2", "k") is None


def test_an_answer_keeps_the_order_of_its_fields(store: PostgresLedgerStore) -> None:
    store.append([], [(receipt("k"), 0)], [])
    found = store.receipt_by_key(CLIENT, "k")
    assert found is not None
    assert list(found.answer) == ["key", "z", "a"]


def nothing_more_than(log: EventLog, events: int) -> bool:
    return log.head() == events and len(log.read(0, 100).events) == events


def test_an_event_that_exists_is_a_conflict_and_nothing_is_saved(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append([deducted("ada", 1)], [], [])
    with pytest.raises(Conflict, match=str(ADA)):
        store.append([deducted("bob", 1), deducted("ada", 1)], [(receipt("k"), 2)], [])
    assert nothing_more_than(log, 1)
    assert store.receipt_by_key(CLIENT, "k") is None


def test_an_event_twice_in_one_append_is_a_conflict(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    with pytest.raises(Conflict):
        store.append([deducted("ada", 1), deducted("ada", 1)], [], [])
    assert nothing_more_than(log, 0)


def test_a_writer_that_remembers_more_than_is_stored_is_a_conflict(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    """A database that was restored to an earlier moment gets no gap in a stream."""
    store.append([deducted("ada", 1)], [], [])
    with pytest.raises(Conflict):
        store.append([deducted("ada", 3)], [], [])
    assert nothing_more_than(log, 1)


def test_a_receipt_that_exists_is_a_conflict_and_nothing_is_saved(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append([], [(receipt("k"), 0)], [])
    with pytest.raises(Conflict):
        store.append([deducted("ada", 1)], [(receipt("other"), 1), (receipt("k"), 1)], [])
    assert nothing_more_than(log, 0)
    assert store.receipt_by_key(CLIENT, "other") is None


@pytest.mark.parametrize("version", [1, 3])
def test_a_stream_that_was_only_read_and_stands_elsewhere_is_a_conflict(
    store: PostgresLedgerStore, log: EventLog, version: int
) -> None:
    store.append(history("ada", last=2), [], [])
    with pytest.raises(Conflict, match=str(ADA)):
        store.append([deducted("bob", 1)], [], [Expectation(ADA, version)])
    assert nothing_more_than(log, 2)


def test_a_stream_that_was_only_read_and_stands_there_still_is_none(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append(history("ada", last=2), [], [])
    store.append([deducted("bob", 1)], [], [Expectation(ADA, 2), Expectation(EVE, 0)])
    assert nothing_more_than(log, 3)


def test_streams_are_looked_at_unless_the_log_ends_where_the_writer_has_followed_it_to(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append(history("ada", last=2), [], [])
    wrong = [Expectation(ADA, 1)]
    for elsewhere in (None, LogEnd(0, None), end(1, of=1)):
        with pytest.raises(Conflict, match=str(ADA)):
            store.append([deducted("bob", 1)], [], wrong, elsewhere)
    # Its word is taken, for such a writer cannot be wrong.
    assert store.append([deducted("bob", 1)], [], wrong, end(2, of=2)) == 2
    assert nothing_more_than(log, 3)


def test_what_exists_is_a_conflict_wherever_the_log_ends(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append([deducted("ada", 1)], [(receipt("k"), 1)], [])
    with pytest.raises(Conflict):
        store.append([deducted("ada", 1)], [], [], end(1, of=1))
    with pytest.raises(Conflict):
        store.append([deducted("ada", 2)], [(receipt("k"), 1)], [], end(1, of=1))
    assert nothing_more_than(log, 1)


def test_a_text_that_postgresql_cannot_hold_is_no_conflict(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    with pytest.raises(ValueError, match="NUL"):
        store.append([deducted("ada", 1)], [(receipt("k\x00"), 1)], [])
    assert nothing_more_than(log, 0)


# Turns.


def test_a_turn_begins_with_the_news_about_what_is_wanted(store: PostgresLedgerStore) -> None:
    with store.turn(None, ()) as news:
        assert news == News(LogEnd(0, None), None)
    store.append(history("ada", last=2) + history("bob", last=1), [], [])
    store.append([deducted("ada", 3)], [], [])
    with store.turn(end(1, of=1), {ADA, EVE}) as news:
        assert news == News(end(4, of=3), {ADA: history("ada", first=2, last=3)})
    with store.turn(end(4, of=3), {ADA}) as news:
        assert news == News(end(4, of=3), {})


def test_of_a_log_with_much_news_only_its_end_is_told(
    store: PostgresLedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(history("ada", last=3), [], [])
    monkeypatch.setattr(event_store, "NEWS_MAX", 2)
    with store.turn(LogEnd(0, None), {ADA}) as news:
        assert news == News(end(3, of=3), None)
    with store.turn(end(1, of=1), {ADA}) as news:
        assert news == News(end(3, of=3), {ADA: history("ada", first=2, last=3)})
    # For many streams it is worth reading.
    with store.turn(LogEnd(0, None), {ADA, BOB, EVE}) as news:
        assert news == News(end(3, of=3), {ADA: history("ada", last=3)})


@pytest.mark.parametrize(("position", "of"), [(7, 7), (3, 4), (2, 1)])
def test_of_another_log_it_is_told_that_it_is_another(
    store: PostgresLedgerStore, position: int, of: int
) -> None:
    """A backup was restored: it is shorter, as long as what was seen, or longer."""
    store.append(history("ada", last=3), [], [])
    with store.turn(end(position, of=of), {ADA}) as news:
        assert news == News(end(3, of=3), None, another=True)
    with pytest.raises(Conflict, match=f"position {position}"):
        store.append([deducted("ada", 4)], [], [], end(position, of=of))
    assert store.append([deducted("ada", 4)], [], [], end(2, of=2)) == 3


def test_what_cannot_be_read_is_no_news(store: PostgresLedgerStore, pool: Pool) -> None:
    store.append([deducted("ada", 1), deducted("bob", 1)], [], [])
    older = LedgerMapper(event_classes=[])
    with PostgresLedgerStore(pool, older).turn(LogEnd(0, None), {ADA}) as news:
        assert news == News(end(2, of=1), {ADA: ()})


def test_in_a_turn_one_reads_and_appends_while_others_wait(
    store: PostgresLedgerStore, pool: Pool
) -> None:
    other = PostgresLedgerStore(pool)
    with ThreadPoolExecutor(1) as threads:
        with store.turn(None, ()):
            waiting = threads.submit(other.append, [deducted("bob", 1)], [], [])
            assert store.load([ADA]) == {}
            assert not waiting.done()
            assert store.append([deducted("ada", 1)], [], []) == 0
            # The turn is over with the append, not with the block.
            assert waiting.result(PATIENCE_SECONDS) == 1
        assert store.append([deducted("ada", 2)], [], []) == 2


def test_a_conflict_ends_a_turn_and_saves_nothing(store: PostgresLedgerStore, pool: Pool) -> None:
    other = PostgresLedgerStore(pool)
    store.append([deducted("ada", 1)], [], [])
    with store.turn(None, ()):
        with pytest.raises(Conflict):
            store.append([deducted("bob", 1), deducted("ada", 1)], [], [])
        assert other.append([deducted("bob", 1)], [], []) == 1
        assert store.append([deducted("ada", 2)], [], []) == 2


def test_a_turn_ends_with_an_error_or_a_lost_connection(
    store: PostgresLedgerStore, database_url: str
) -> None:
    with pytest.raises(ZeroDivisionError), store.turn(None, ()):
        raise ZeroDivisionError
    with store.turn(None, ()):
        assert throw_out(database_url) >= 1
        with pytest.raises(Unavailable):
            store.append([deducted("ada", 1)], [], [])
        # The lock is lost with the connection; what follows takes another one.
        assert store.append([deducted("ada", 1)], [], []) == 0
    assert store.append([deducted("ada", 2)], [], []) == 1


def test_whoever_falls_silent_in_a_turn_loses_it(store: PostgresLedgerStore, pool: Pool) -> None:
    other = PostgresLedgerStore(pool)
    with ThreadPoolExecutor(1) as threads, store.turn(None, ()):
        waiting = threads.submit(other.append, [deducted("bob", 1)], [], [])
        # Nothing is asked meanwhile, as by a process that was stopped.
        assert waiting.result(PATIENCE_SECONDS) == 0
        with pytest.raises(Unavailable):
            store.append([deducted("ada", 1)], [], [])
        assert store.append([deducted("ada", 1)], [], []) == 1


# Load.


def test_streams_are_loaded_together_and_missing_ones_left_out(
    store: PostgresLedgerStore,
) -> None:
    store.append(history("ada", last=3) + history("bob", last=1), [], [])
    loaded = store.load([ADA, BOB, EVE])
    assert set(loaded) == {ADA, BOB}
    assert (loaded[ADA].snapshot, loaded[ADA].events) == (None, history("ada", last=3))
    assert (loaded[BOB].snapshot, loaded[BOB].events) == (None, history("bob", last=1))


def test_a_stream_is_loaded_from_its_latest_snapshot_on(store: PostgresLedgerStore) -> None:
    store.append(history("ada", last=9) + history("bob", last=2), [], [])
    store.save_snapshots([snapshot("ada", 3), snapshot("ada", 7), snapshot("bob", 2)])
    loaded = store.load([ADA, BOB])
    assert loaded[ADA].snapshot == snapshot("ada", 7)
    assert loaded[ADA].events == history("ada", first=8, last=9)
    assert loaded[BOB].snapshot == snapshot("bob", 2)
    assert loaded[BOB].events == []


def test_of_a_stream_that_was_seen_what_follows_is_loaded(store: PostgresLedgerStore) -> None:
    store.append(history("ada", last=9) + history("bob", last=4) + history("eve", last=2), [], [])
    store.save_snapshots([snapshot("ada", 3), snapshot("ada", 7), snapshot("bob", 2)])
    loaded = store.load([ADA, BOB, EVE], {ADA: 5, BOB: 2, EVE: 2})
    assert loaded[ADA] == Stream(snapshot("ada", 7), history("ada", first=8, last=9))
    assert loaded[BOB] == Stream(None, history("bob", first=3, last=4))
    assert EVE not in loaded
    assert store.load([ADA, BOB, EVE], {ADA: 7}) == {
        ADA: Stream(None, history("ada", first=8, last=9)),
        **store.load([BOB, EVE]),
    }


def test_a_snapshot_of_another_form_is_not_read(store: PostgresLedgerStore) -> None:
    store.append(history("ada", last=9), [], [])
    store.save_snapshots([snapshot("ada", 3), snapshot("ada", 7, form=FORM + 1)])
    loaded = store.load([ADA])[ADA]
    assert loaded.snapshot == snapshot("ada", 3)
    assert loaded.events == history("ada", first=4, last=9)


def test_a_snapshot_may_be_saved_twice(store: PostgresLedgerStore) -> None:
    store.append(history("ada", last=3), [], [])
    store.save_snapshots([snapshot("ada", 3)])
    store.save_snapshots([snapshot("ada", 3), snapshot("ada", 2)])
    assert store.load([ADA])[ADA].snapshot == snapshot("ada", 3)


def test_streams_that_stand_elsewhere_have_changed(store: PostgresLedgerStore) -> None:
    store.append(history("ada", last=3) + history("bob", last=2), [], [])
    assert store.changed({ADA: 3, BOB: 2, EVE: 0}) == set()
    assert store.changed({ADA: 2, BOB: 3, EVE: 1}) == {ADA, BOB, EVE}
    assert store.changed({}) == set()


def test_events_that_are_missing_are_left_out(store: PostgresLedgerStore) -> None:
    store.append(history("ada", last=3), [], [])
    refs = [EventRef(ADA, 2), EventRef(ADA, 4), EventRef(EVE, 1)]
    assert store.events(refs) == {EventRef(ADA, 2): deducted("ada", 2)}


def test_nothing_asked_is_nothing_found(store: PostgresLedgerStore) -> None:
    assert store.load([]) == {}
    assert store.events([]) == {}
    assert store.receipts([]) == {}
    store.save_snapshots([])


def test_an_account_of_100_000_events_is_loaded_in_the_time_of_its_latest(
    store: PostgresLedgerStore, database_url: str
) -> None:
    first = deducted("ada", 1)
    with connect(database_url, "tests") as connection:
        connection.execute(
            """
            INSERT INTO ledger_events
            SELECT %s, n, %s, convert_to(replace(%s, '"originator_version":1,',
                                                 '"originator_version":' || n || ','), 'UTF8'),
                   n, %s::timestamptz + n * interval '1 second'
            FROM generate_series(1, 100000) AS n
            """,
            (ADA, first.TOPIC, LedgerMapper().encode(first).decode(), moment(0)),
        )
    store.save_snapshots([snapshot("ada", 99_000)])
    began = perf_counter()
    loaded = store.load([ADA])[ADA]
    assert perf_counter() - began < 1.0
    assert loaded.snapshot == snapshot("ada", 99_000)
    assert [event.originator_version for event in loaded.events] == list(range(99_001, 100_001))


# What guards the tables.


@pytest.mark.parametrize("table", ["ledger_events", "receipts"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET recorded_at = now()", "DELETE FROM {}", "TRUNCATE {}"]
)
def test_what_was_written_cannot_be_changed_by_accident(
    store: PostgresLedgerStore, log: EventLog, database_url: str, table: str, statement: str
) -> None:
    store.append([deducted("ada", 1)], [(receipt("k"), 1)], [])
    with (
        connect(database_url, "tests") as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match=f"{table} is append-only"),
    ):
        connection.execute(statement.format(table).encode())
    assert nothing_more_than(log, 1)


def test_an_append_at_another_isolation_level_is_refused(
    store: PostgresLedgerStore, pool: Pool, log: EventLog
) -> None:
    with pool.connection() as connection:
        connection.execute("SET default_transaction_isolation = 'repeatable read'")
    with pytest.raises(psycopg.errors.InvalidTransactionState, match="READ COMMITTED"):
        store.append([deducted("ada", 1)], [], [])
    assert nothing_more_than(log, 0)


def test_every_shard_has_a_log_of_its_own_in_its_schema(empty_database_url: str) -> None:
    options = ("&" if "?" in empty_database_url else "?") + "options=-csearch_path%3D"
    with connect(empty_database_url, "tests") as connection:
        connection.execute("CREATE SCHEMA shard_1")
        connection.execute("CREATE SCHEMA shard_2")
    for shard in ("shard_1", "shard_2"):
        migrate(f"{empty_database_url}{options}{shard}")
    for shard in ("shard_1", "shard_2"):
        with pool_for(f"{empty_database_url}{options}{shard}") as pool:
            sharded = PostgresLedgerStore(pool)
            assert sharded.append([deducted(shard, 1)], [(receipt(shard), 1)], []) == 0
            assert EventLog(pool).read(0, 9).events[0].event == deducted(shard, 1)


# Trouble.


def test_a_server_that_cannot_be_reached_is_unavailable(database_url: str) -> None:
    with pool_for(database_url) as pool:
        store, log = PostgresLedgerStore(pool), EventLog(pool)
    for attempt in (
        lambda: store.append([deducted("ada", 1)], [], []),
        lambda: store.load([ADA]),
        lambda: store.receipts([ADA]),
        log.head,
    ):
        with pytest.raises(Unavailable):
            attempt()


def test_snapshots_that_cannot_be_saved_are_only_logged(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pool_for(database_url) as pool:
        store = PostgresLedgerStore(pool)
    store.save_snapshots([snapshot("ada", 1)])
    assert "snapshots were not saved (1)" in caplog.text


def test_a_server_that_became_read_only_is_unavailable(
    store: PostgresLedgerStore, pool: Pool
) -> None:
    with pool.connection() as connection:
        connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(Unavailable, match="read-only"):
        store.append([deducted("ada", 1)], [], [])
