"""Snapshots bound the cost of loading and never change a meaning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from counting_store import CountingStore
from creditledger.domain import books, ids
from creditledger.domain.amounts import Money
from creditledger.domain.errors import InsufficientCredits
from creditledger.domain.store import Unavailable
from given_when_then import (
    ADA,
    DAY,
    NOW,
    PAYMENT,
    Story,
    allow_overage,
    deduct,
    given,
    granted,
    grt,
    hold,
    refund,
    revoke,
)
from memory_store import MemoryStore
from proofs import replayed, restored, state_of

STREAM = ids.account_id(ADA, "credits")


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    """A hundred credits, and a snapshot every three events, saved at once."""
    monkeypatch.setattr(books, "SNAPSHOT_INTERVAL", 3)
    monkeypatch.setattr(books, "SNAPSHOTS_SAVED_EVERY", 1)
    return given(granted(100))


def test_a_snapshot_is_taken_every_so_many_events(story: Story) -> None:
    story.after(deduct(1))
    assert story.store.snapshots == {}
    story.after(deduct(1))
    assert story.store.snapshots[STREAM].originator_version == 3
    story.after(deduct(1), deduct(1))
    assert story.store.snapshots[STREAM].originator_version == 3
    story.after(deduct(1))
    assert story.store.snapshots[STREAM].originator_version == 6


def test_snapshots_of_many_events_are_saved_together(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that few transactions are spent on them."""
    monkeypatch.setattr(books, "SNAPSHOTS_SAVED_EVERY", 5)
    story.after(*[deduct(1) for _ in range(4)])
    assert story.store.snapshots == {}
    story.after(deduct(1))
    assert story.store.snapshots[STREAM].originator_version == 6
    story.after(*[deduct(1) for _ in range(4)])
    assert story.store.snapshots[STREAM].originator_version == 6
    story.after(deduct(1))
    assert story.store.snapshots[STREAM].originator_version == 11


def test_accounts_that_are_only_read_are_saved_when_many_are_due(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "SNAPSHOTS_SAVED_EVERY", 100)
    story.after(deduct(1), deduct(1))
    assert story.store.snapshots == {}
    monkeypatch.setattr(books, "SNAPSHOTS_SAVED_EVERY", 1)
    story.ledger = story.new_ledger()
    story.when(deduct(1_000)).then_refused(InsufficientCredits, available=98, required=1_000)
    assert story.store.snapshots[STREAM].originator_version == 3


def test_a_ledger_goes_on_from_a_snapshot_as_from_all_events(story: Story) -> None:
    story.after(hold(5), deduct(5), deduct(6))
    assert len(story.store.load([STREAM])[STREAM].events) < 4
    story.ledger = story.new_ledger()
    story.when(deduct(85)).then_refused(InsufficientCredits, available=84, required=85)
    story.after(deduct(84)).then_balance(held=5)


def test_a_snapshot_of_another_form_is_not_read(story: Story) -> None:
    story.after(deduct(1), deduct(1))
    kept = story.store.snapshots[STREAM]
    story.store.snapshots[STREAM] = replace(kept, state={"form": 0, "lots": "in an old way"})
    story.ledger = story.new_ledger()
    story.after(deduct(98)).then_balance()


@pytest.mark.parametrize("fault", [Unavailable("no room"), PermissionError("not allowed")])
def test_a_snapshot_that_cannot_be_kept_costs_time_and_nothing_else(
    story: Story, fault: Exception
) -> None:
    class Forgetful(MemoryStore):
        def save_snapshots(self, snapshots: object) -> None:
            raise fault

    story.store.__class__ = Forgetful
    story.after(deduct(1), deduct(1), deduct(1)).then_balance(available=97)


def test_a_large_state_is_saved_more_rarely(story: Story) -> None:
    """So that a snapshot's cost for each command stays the same."""
    crowded = given(*[granted(1, ends=NOW + n * DAY) for n in range(1, 21)])
    crowded.after(deduct(1))
    assert crowded.store.snapshots[STREAM].originator_version == 21
    crowded.after(*[hold(1) for _ in range(10)])
    assert crowded.store.snapshots[STREAM].originator_version == 21


def test_everything_an_account_remembers_survives() -> None:
    lots = [
        granted(10, payment=PAYMENT, cost_basis=Money(999, "EUR"), ends=NOW + DAY),
        granted(10, starts=NOW + DAY, priority=3),
        granted(10, source="gift"),
    ]
    story = given(*lots).after(allow_overage(9), hold(12), deduct(10), revoke(grt(1), 9))
    story.after(revoke(grt(3), 2, policy="write_off"))
    story.after(refund(story.answer_of("deduct")["deduction_id"], 1))
    account = replayed(story.store.streams[STREAM], STREAM)
    assert account.debts
    assert account.holds
    assert account.overage
    assert any(lot.written_off for lot in account.lots)
    again = restored(account)
    assert state_of(again) == state_of(account)
    assert again.lots.burn_order() == account.lots.burn_order()
    assert (again.next_due, again.reached) == (account.next_due, account.reached)


def test_a_long_history_loads_as_a_short_one(story: Story) -> None:
    """8.2: and the oldest deduction can still be refunded."""
    story.after(deduct(1))
    first = story.answer_of("deduct")["deduction_id"]
    story.after(*[deduct(1) for _ in range(60)])
    store = CountingStore()
    vars(store).update(vars(story.store))
    story.store = store
    story.ledger = story.new_ledger()
    story.when(refund(first)).then_answer(amount=1).then_balance(available=40)
    assert 0 < store.loaded_events <= 2 * 3 + 2
