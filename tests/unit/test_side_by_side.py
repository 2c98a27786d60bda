"""Ledgers that write side by side: each learns what the other wrote before it decides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from uuid import UUID

import pytest

from counting_store import CountingStore, available, tell, wishes
from creditledger.domain import ids
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Receipt
from creditledger.domain.store import NONE_SEEN, LogEnd, News, Stream, Unavailable
from creditledger.domain.turns import QUIET_TURNS
from given_when_then import ADA, BOB, NOW, capture, deduct, grant, hld, hold, release, wish


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def ledgers(store: CountingStore) -> tuple[Ledger, Ledger]:
    return Ledger(store, now=lambda: NOW), Ledger(store, now=lambda: NOW)


def test_turns_on_the_same_accounts_are_no_conflicts(store: CountingStore) -> None:
    one, other = ledgers(store)
    tell(one, grant(1_000), grant(1_000, customer_id=BOB))
    for _ in range(10):
        tell(other, deduct(1), deduct(2, customer_id=BOB))
        tell(one, deduct(3), deduct(4, customer_id=BOB))
    assert store.conflicts == 0
    assert (available(store, ADA), available(store, BOB)) == (960, 940)


def test_what_the_others_wrote_is_learned_and_not_loaded(store: CountingStore) -> None:
    one, other = ledgers(store)
    tell(one, grant(1_000))
    tell(other, deduct(1))
    store.loaded.clear()
    tell(other, *[deduct(1)] * 300)
    tell(one, deduct(1))
    assert store.loaded == []
    assert available(store, ADA) == 698


def test_of_two_only_the_first_can_be_in_the_others_way_and_once(store: CountingStore) -> None:
    """Who was alone for long does not wait for turns, until somebody else has written."""
    one, other = ledgers(store)
    tell(one, grant(1_000), grant(1_000, customer_id=BOB))
    for _ in range(QUIET_TURNS):
        tell(one, deduct(1))
    tell(other, deduct(1))
    store.loaded.clear()
    for _ in range(5):
        tell(one, deduct(1, customer_id=BOB), deduct(1))
        tell(other, deduct(1))
    assert store.conflicts == 1
    assert store.loaded == [{ids.account_id(ADA, "credits")}]
    assert (available(store, ADA), available(store, BOB)) == (981, 995)


def test_a_log_that_was_exchanged_is_read_anew(store: CountingStore) -> None:
    """A backup was restored behind a ledger that goes on, and others have written since."""
    one, other = ledgers(store)
    tell(one, grant(1_000), grant(1_000, customer_id=BOB))
    tell(one, deduct(1))
    gone = store.log.pop()
    store.streams[gone.originator_id].pop()
    tell(one, deduct(3))
    tell(other, deduct(5))
    tell(one, deduct(7))
    assert available(store, ADA) == 985


def test_nothing_of_a_log_that_was_exchanged_is_carried_on(store: CountingStore) -> None:
    """Where an account stands at the same version again, and somewhere else."""
    one, other = ledgers(store)
    tell(one, grant(1_000), grant(1_000, customer_id=BOB))
    tell(one, deduct(1), deduct(1, customer_id=BOB))
    for _ in range(2):
        gone = store.log.pop()
        store.streams[gone.originator_id].pop()
    tell(other, deduct(5))
    (told,) = tell(one, deduct(7))
    assert told.answer["balance"]["available"] == 988
    assert available(store, ADA) == 988


@pytest.mark.parametrize("retried_first", [False, True])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("since", [0, 1, 5])
def test_a_log_that_was_exchanged_is_known_however_long_it_is(
    store: CountingStore, *, since: int, alone: bool, retried_first: bool
) -> None:
    """A standby took over without the newest event, and others have written to it since."""
    moments = (NOW + timedelta(seconds=number) for number in count())
    one, other = (Ledger(store, now=lambda: next(moments)) for _ in range(2))
    tell(one, grant(1_000), grant(1_000, customer_id=BOB))
    if alone:
        for _ in range(QUIET_TURNS):
            tell(one, grant(1))
    before = available(store, ADA)
    lost, new = wish(deduct(1), "lost"), wish(deduct(5), "new")
    one.handle([lost])
    gone = store.log.pop()
    store.streams[gone.originator_id].pop()
    del store.kept_receipts[ids.receipt_uuid(lost.client_id, "lost")]
    for _ in range(since):
        tell(other, deduct(1, customer_id=BOB))
    # What was told of the lost log holds no more.
    for each in (lost, new) if retried_first else (new, lost):
        (told,) = one.handle([each])
        assert isinstance(told, Receipt)
        assert not told.replayed
        assert told.answer["balance"]["available"] == available(store, ADA)
    assert available(store, ADA) == before - 6


def test_what_the_other_held_is_captured_here(store: CountingStore) -> None:
    one, other = ledgers(store)
    tell(one, grant(10))
    tell(other, deduct(1))
    tell(one, deduct(1))
    held = tell(other, hold(5))[0]
    captured = tell(one, capture(held.answer["hold_id"]))[0]
    assert captured.answer["balance"]["available"] == 3
    assert available(store, ADA) == 3


def test_a_ledger_that_is_alone_waits_for_nobody(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = ledgers(store)
    for _ in range(QUIET_TURNS + 1):
        tell(one, grant(10))
    monkeypatch.setattr(store, "turn", None)
    for _ in range(3):
        tell(one, deduct(1))
    assert available(store, ADA) == 10 * (QUIET_TURNS + 1) - 3


def test_a_turn_is_kept_until_the_commands_are_saved(store: CountingStore) -> None:
    one, other = ledgers(store)
    tell(one, grant(10))
    with one.ready():
        tell(one, deduct(1))
        tell(other, deduct(2))
        tell(one, deduct(3))
    assert store.conflicts == 0
    assert available(store, ADA) == 4


def test_what_waits_is_loaded_before_its_turn(store: CountingStore) -> None:
    one, other = ledgers(store)
    tell(one, grant(10), grant(10, customer_id=BOB))
    tell(other, grant(1, customer_id="cem"))
    store.loaded.clear()
    ada, bob = ids.account_id(ADA, "credits"), ids.account_id(BOB, "credits")
    at_turn: list[list[set[UUID]]] = []
    store.before_turn = lambda: at_turn.append(list(store.loaded))
    waiting = wishes(deduct(1), deduct(2, customer_id=BOB))
    with other.ready(waiting):
        other.handle(waiting)
    assert at_turn == [[{ada, bob}]]
    assert store.loaded == [{ada, bob}]
    assert (available(store, ADA), available(store, BOB)) == (9, 8)


def test_what_is_written_between_the_loading_and_the_turn_is_not_missed(
    store: CountingStore,
) -> None:
    one, other = ledgers(store)
    tell(one, grant(10), grant(10, customer_id=BOB))
    tell(other, grant(1, customer_id="cem"))
    store.before_turn = lambda: tell(one, deduct(9))
    waiting = wishes(deduct(1), deduct(2, customer_id=BOB))
    with other.ready(waiting):
        other.handle(waiting)
    assert store.conflicts == 0
    assert (available(store, ADA), available(store, BOB)) == (0, 8)


def test_what_cannot_be_loaded_ahead_is_nobody_elses_trouble(store: CountingStore) -> None:
    one, other = ledgers(store)
    tell(one, grant(10))
    tell(other, grant(1, customer_id="cem"))
    store.__class__ = Unreadable
    with other.ready(wishes(deduct(1), deduct(2, customer_id=BOB))):
        store.__class__ = CountingStore
        tell(other, deduct(1))
    assert available(store, ADA) == 9


def test_what_was_loaded_before_the_first_command_follows_the_log(store: CountingStore) -> None:
    one, other = ledgers(store)
    tell(one, grant(10), grant(10, customer_id=BOB))
    ada, bob = ids.account_id(ADA, "credits"), ids.account_id(BOB, "credits")
    other.have_at_hand([ada, bob])
    tell(one, deduct(9))
    store.loaded.clear()
    tell(other, deduct(1), deduct(2, customer_id=BOB))
    assert store.conflicts == 0
    assert store.loaded == []
    assert (available(store, ADA), available(store, BOB)) == (0, 8)


def test_no_more_is_loaded_before_than_is_kept(store: CountingStore) -> None:
    one, _ = ledgers(store)
    tell(one, grant(10), grant(10, customer_id=BOB))
    small = Ledger(store, now=lambda: NOW, cache_limit=1)
    small.have_at_hand([ids.account_id(who, "credits") for who in (ADA, BOB)])
    store.loaded.clear()
    tell(small, deduct(1, customer_id=BOB))
    assert store.loaded == []
    tell(small, deduct(1))
    assert store.loaded == [{ids.account_id(ADA, "credits")}]


def test_holds_that_have_ended_take_no_account_s_place(store: CountingStore) -> None:
    one, _ = ledgers(store)
    tell(one, grant(10), grant(10, customer_id=BOB))
    small = Ledger(store, now=lambda: NOW, cache_limit=2)
    small.have_at_hand([ids.account_id(who, "credits") for who in (ADA, BOB)])
    store.loaded.clear()
    for end in (capture, release):
        for _ in range(3):
            (held,) = tell(small, hold(2))
            tell(small, end(held.answer["hold_id"]))
        tell(small, deduct(1, customer_id=BOB))
        assert store.loaded == []
    (again,) = small.handle(wishes(capture(held.answer["hold_id"])))
    assert isinstance(again, Receipt)
    assert again.outcome == "hold_closed"


class TooMuchNews(CountingStore):
    """A store that tells no news: there is always too much of it."""

    @contextmanager
    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> Iterator[News]:
        with super().turn(seen, wanted) as news:
            yield replace(news, changed=None)


@pytest.fixture
def busy() -> TooMuchNews:
    return TooMuchNews()


def test_of_what_was_at_hand_only_what_followed_is_loaded(busy: TooMuchNews) -> None:
    one, other = ledgers(busy)
    tell(one, grant(1_000), grant(1_000, customer_id=BOB))
    other.have_at_hand([ids.account_id(who, "credits") for who in (ADA, BOB)])
    tell(one, *[deduct(1)] * 30)
    busy.loaded.clear()
    busy.loaded_events = 0
    tell(other, deduct(2), deduct(3, customer_id=BOB))
    assert busy.loaded == [{ids.account_id(ADA, "credits"), ids.account_id(BOB, "credits")}]
    assert (busy.loaded_events, busy.conflicts) == (30, 0)
    tell(one, deduct(4), deduct(5, customer_id=BOB))
    tell(other, deduct(6), deduct(7, customer_id=BOB))
    assert (busy.loaded_events, busy.loaded_snapshots, busy.conflicts) == (34, 0, 0)
    assert (available(busy, ADA), available(busy, BOB)) == (958, 985)


def test_a_later_snapshot_takes_the_place_of_what_was_at_hand(busy: TooMuchNews) -> None:
    one, other = ledgers(busy)
    tell(one, grant(10_000), hold(1_000))
    tell(other, deduct(1))
    tell(one, *[deduct(1)] * 1_000)
    tell(one, deduct(1))
    (kept,) = busy.snapshots.values()
    busy.loaded_events = 0
    tell(other, deduct(1))
    assert (busy.loaded_snapshots, busy.conflicts) == (1, 0)
    assert busy.loaded_events == 1_004 - kept.originator_version
    assert available(busy, ADA) == 7_997


def test_what_was_not_there_when_it_was_asked_for_is_found_later(busy: TooMuchNews) -> None:
    """Also where it is a stream of another kind then."""
    one, other = ledgers(busy)
    trail = ids.event_id(ids.HOLD, ids.stream_key(ids.trail_id(hld(2))), 1)
    for made_up in (hld(2), trail):
        (told,) = other.handle(wishes(capture(made_up)))
        assert isinstance(told, Receipt)
        assert told.outcome == "hold_not_found"
    tell(one, grant(10), hold(4), release(hld(2)))
    (told,) = other.handle(wishes(capture(hld(2))))
    assert isinstance(told, Receipt)
    assert (told.outcome, told.answer["how"]) == ("hold_closed", "released")


def test_what_was_at_hand_takes_no_more_room_than_is_given(busy: TooMuchNews) -> None:
    one, _ = ledgers(busy)
    tell(one, grant(10), grant(10, customer_id=BOB))
    small = Ledger(busy, now=lambda: NOW, cache_limit=1)
    tell(small, deduct(1))
    tell(small, deduct(1, customer_id=BOB))
    busy.loaded_events = 0
    tell(small, deduct(1))
    assert busy.loaded_events == 2
    assert (available(busy, ADA), available(busy, BOB)) == (8, 9)


class Unreadable(CountingStore):
    """A store of which nothing can be read."""

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        raise Unavailable(f"{len(streams)} streams cannot be read")
