"""The log is read in order of position, stream by stream, and as it was at a moment."""

from __future__ import annotations

from datetime import timedelta
from time import perf_counter

import pytest

from creditledger.domain.events import Deducted, Event, Held
from creditledger.domain.snapshots import FORM
from creditledger.domain.store import Unavailable
from creditledger.infra import event_log
from creditledger.infra.database import connect
from creditledger.infra.event_log import EventLog, Page, UnreadableEvent
from creditledger.infra.event_store import PostgresLedgerStore
from log_story import T0, account, deducted, history, moment, snapshot
from stored_events import EXAMPLES

ADA, BOB, EVE = account("ada"), account("bob"), account("eve")
HELD = next(event for event in EXAMPLES if isinstance(event, Held))
AN_INSTANT = timedelta(microseconds=1)


def held(customer_id: str, version: int) -> Held:
    """A hold instead of a deduction."""
    common = {name: getattr(deducted(customer_id, version), name) for name in _COMMON}
    return Held(**common, amount=HELD.amount, expires_at=HELD.expires_at, lots=HELD.lots)


_COMMON = ("originator_id", "originator_version", "recorded_at", "context", "customer_id", "asset",
           "after")  # fmt: skip


def positions(page: Page) -> list[int]:
    return [logged.position for logged in page.events]


def events(page: Page) -> list[Event]:
    return [logged.event for logged in page.events]


# By position.


def test_an_empty_log_has_no_end(log: EventLog) -> None:
    assert log.head() == 0
    assert log.read(0, 10) == Page([], 0, more=False)


def test_pages_follow_one_another(store: PostgresLedgerStore, log: EventLog) -> None:
    store.append(history("ada", last=7), [], [])
    first = log.read(0, 3)
    second = log.read(first.position, 3)
    third = log.read(second.position, 3)
    assert [positions(page) for page in (first, second, third)] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [page.more for page in (first, second, third)] == [True, True, False]
    assert log.read(third.position, 3) == Page([], 7, more=False)
    assert log.head() == 7


def test_a_page_of_some_topics_tells_how_far_it_has_looked(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append([deducted("ada", 1), held("ada", 2), deducted("ada", 3)], [], [])
    page = log.read(0, 10, topics=[Held.TOPIC])
    assert events(page) == [held("ada", 2)]
    assert (page.position, page.more) == (3, False)
    assert log.read(0, 10, topics=[]) == Page([], 3, more=False)


def test_a_full_page_of_some_topics_ends_at_its_last_event(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append([deducted("ada", 1), held("ada", 2), held("ada", 3)], [], [])
    page = log.read(0, 1, topics=[Held.TOPIC])
    assert (positions(page), page.position, page.more) == ([2], 2, True)
    page = log.read(page.position, 1, topics=[Held.TOPIC])
    assert (positions(page), page.position, page.more) == ([3], 3, False)


def test_a_rare_topic_is_looked_for_in_short_pages(
    store: PostgresLedgerStore, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LOOKED_AT_MAX", 4)
    store.append([*history("ada", last=9), held("ada", 10)], [], [])
    pages = [log.read(0, 2, topics=[Held.TOPIC])]
    while pages[-1].more:
        pages.append(log.read(pages[-1].position, 2, topics=[Held.TOPIC]))
    assert [positions(page) for page in pages] == [[], [], [10]]


# By streams.


def test_a_few_streams_are_read_in_order_of_position(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    for version in range(1, 5):
        store.append([deducted(name, version) for name in ("ada", "bob", "eve")], [], [])
    first = log.read(0, 3, streams=[EVE, ADA])
    assert (positions(first), first.position, first.more) == ([1, 3, 4], 4, True)
    second = log.read(first.position, 9, streams=[EVE, ADA])
    assert (positions(second), second.position, second.more) == ([6, 7, 9, 10, 12], 12, False)
    assert log.read(12, 3, streams=[EVE, ADA]) == Page([], 12, more=False)
    assert log.read(5, 3, streams=[]) == Page([], 5, more=False)


@pytest.mark.parametrize("after", range(8))
def test_a_stream_is_read_after_any_position(
    store: PostgresLedgerStore, log: EventLog, after: int
) -> None:
    for name, version in (("ada", 1), ("bob", 1), ("ada", 2), ("ada", 3), ("bob", 2), ("ada", 4)):
        store.append([deducted(name, version)], [], [])
    assert positions(log.read(after, 9, streams=[ADA])) == [p for p in (1, 3, 4, 6) if p > after]


def test_streams_and_topics_are_asked_for_together(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append([deducted("ada", 1), held("ada", 2), held("bob", 1), held("ada", 3)], [], [])
    page = log.read(0, 1, streams=[ADA], topics=[Held.TOPIC])
    assert (positions(page), page.more) == ([2], True)
    page = log.read(page.position, 1, streams=[ADA], topics=[Held.TOPIC])
    assert (positions(page), page.more) == ([4], False)


# What cannot be read.


def spoil(database_url: str, position: int) -> None:
    """An event that a newer release, or a fault, has left in the log."""
    with connect(database_url, "tests") as connection:
        connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER USER")
        connection.execute(
            "UPDATE ledger_events SET topic = 'creditledger.Later' WHERE notification_id = %s",
            (position,),
        )


def test_an_event_that_cannot_be_read_ends_the_page_before_it(
    store: PostgresLedgerStore, log: EventLog, database_url: str
) -> None:
    store.append(history("ada", last=4), [], [])
    spoil(database_url, 3)
    page = log.read(0, 10)
    assert (positions(page), page.position, page.more) == ([1, 2], 2, True)
    with pytest.raises(UnreadableEvent, match=r"evt_\w+3 at position 3: .*creditledger\.Later"):
        log.read(page.position, 10)
    assert positions(log.read(3, 10)) == [4]
    with log.frozen() as frozen:
        faults = [stored.fault for piece in frozen.by_stream() for stored in piece]
    assert [bool(fault) for fault in faults] == [False, False, True, False]


# As it was.


@pytest.mark.parametrize(
    ("version", "base"), [(1, 0), (2, 0), (3, 3), (5, 3), (6, 6), (7, 6), (8, 6)]
)
def test_a_past_state_begins_at_the_nearest_snapshot_before_it(
    store: PostgresLedgerStore, log: EventLog, version: int, base: int
) -> None:
    store.append(history("ada", last=8), [], [])
    store.save_snapshots([snapshot("ada", 3), snapshot("ada", 6), snapshot("bob", 1)])
    expected = snapshot("ada", base) if base else None
    for at in (moment(version), moment(version + 1) - AN_INSTANT):
        past = log.state_at(ADA, at)
        assert past.snapshot == expected
        assert past.events == history("ada", first=base + 1, last=version)


def test_before_its_first_event_a_stream_is_empty(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append(history("ada", last=2), [], [])
    past = log.state_at(ADA, moment(1) - AN_INSTANT)
    assert (past.snapshot, past.events) == (None, [])
    assert log.state_at(EVE, T0).events == []


def test_a_snapshot_of_another_form_does_not_count_for_the_past(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append(history("ada", last=5), [], [])
    store.save_snapshots([snapshot("ada", 3, form=FORM + 1)])
    assert log.state_at(ADA, moment(4)).events == history("ada", last=4)


def test_the_past_of_a_long_history_is_found_between_its_snapshots(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    last = 20_000
    for first in range(1, last, 5_000):
        store.append(history("ada", first=first, last=first + 4_999), [], [])
    store.save_snapshots([snapshot("ada", version) for version in range(1_000, last, 1_000)])
    began = perf_counter()
    past = log.state_at(ADA, moment(5_500))
    assert perf_counter() - began < 1.0
    assert past.snapshot == snapshot("ada", 5_000)
    assert len(past.events) == 500


# Frozen.


def test_a_frozen_log_does_not_see_what_is_written_meanwhile(
    store: PostgresLedgerStore, log: EventLog
) -> None:
    store.append([deducted("bob", 1), deducted("ada", 1), deducted("bob", 2)], [], [])
    with log.frozen() as frozen:
        store.append([deducted("ada", 2), deducted("eve", 1)], [], [])
        found = [(event.stream, event.version) for piece in frozen.by_stream() for event in piece]
        row = frozen.connection.execute("SELECT count(*) FROM ledger_events").fetchone()
    assert found == sorted([(ADA, 1), (BOB, 1), (BOB, 2)])
    assert (frozen.head, row) == (3, (3,))
    assert log.head() == 5


def test_a_frozen_log_cannot_be_written_to(log: EventLog) -> None:
    with (
        pytest.raises(Unavailable, match="read-only"),
        log.frozen() as frozen,
    ):
        frozen.connection.execute("DELETE FROM ledger_snapshots")


def test_people_read_the_log_in_a_view(store: PostgresLedgerStore, database_url: str) -> None:
    store.append(history("ada", last=2), [], [])
    with connect(database_url, "tests") as connection:
        rows = connection.execute(
            "SELECT position, stream, version, topic, recorded_at, state->>'customer_id'"
            " FROM ledger_log ORDER BY position"
        ).fetchall()
    assert rows == [(v, ADA, v, Deducted.TOPIC, moment(v), "ada") for v in (1, 2)]
