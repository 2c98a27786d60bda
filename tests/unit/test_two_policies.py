"""Processes with different policies, as while a new version is rolled out: one answer to a key.

What one of them does not know is refused there and not remembered; what either has decided is the
answer of both (domain/README.md, 9.2, 9.3, 9.5).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from creditledger.domain.commands import Command
from creditledger.domain.errors import Invalid
from creditledger.domain.ledger import Ledger
from creditledger.domain.policies import DEFAULT_PRIORITIES, Policies
from creditledger.domain.receipt import ACCEPTED, Batch, BatchReceipt, Outcome, Receipt, Wish
from given_when_then import DAY, NOW, ded, deduct, grant, grt, hold, refund, revoke, wish
from memory_store import MemoryStore

OLD = Policies()
NEW = Policies(
    hold_expires_in_default=60,
    refund_grace=timedelta(days=30),
    revocation_policy="write_off",
    priorities={**DEFAULT_PRIORITIES, "loyalty": 12},
)

#: Of a source that the old one does not know.
LOYALTY = wish(grant(10, source="loyalty"), "loyalty")


def told(
    store: MemoryStore, policies: Policies, *items: Wish | Batch, at: datetime = NOW
) -> Outcome:
    """What a process with these policies, and nothing at hand, tells of the last of these."""
    return Ledger(store, now=lambda: at, policies=policies).handle(items)[-1]


def batch(*wishes: Wish, all_or_nothing: bool) -> Batch:
    return Batch(
        wishes=wishes,
        all_or_nothing=all_or_nothing,
        client_id="shop",
        key="batch",
        fingerprint=b"batch",
    )


def test_what_one_does_not_know_the_other_decides_and_then_both_tell_it() -> None:
    store = MemoryStore()
    old = Ledger(store, now=lambda: NOW, policies=OLD)
    new = Ledger(store, now=lambda: NOW, policies=NEW)

    [refused] = old.handle([LOYALTY])
    assert isinstance(refused, Invalid)
    assert (store.log, store.kept_receipts) == ([], {})
    [first] = new.handle([LOYALTY])
    again = [*old.handle([LOYALTY]), told(store, OLD, LOYALTY), told(store, NEW, LOYALTY)]

    assert isinstance(first, Receipt)
    assert (first.outcome, first.replayed) == (ACCEPTED, False)
    assert again == [first.as_replay()] * 3
    assert len(store.log) == 1


@pytest.mark.parametrize("all_or_nothing", [False, True])
def test_a_batch_keeps_its_first_answer_and_what_was_not_tried_in_it_its_key(
    all_or_nothing: bool,
) -> None:
    store = MemoryStore()
    both = batch(wish(grant(5), "known"), LOYALTY, all_or_nothing=all_or_nothing)

    first = told(store, OLD, both)
    written = len(store.log)
    again = told(store, NEW, both)

    assert isinstance(first, BatchReceipt)
    assert isinstance(again, BatchReceipt)
    assert first.receipt.outcome == ("batch_refused" if all_or_nothing else ACCEPTED)
    assert again.receipt == first.receipt.as_replay()
    assert len(store.log) == written == (0 if all_or_nothing else 1)
    alone = told(store, NEW, LOYALTY)
    assert isinstance(alone, Receipt)
    assert (alone.outcome, alone.replayed) == (ACCEPTED, False)


@pytest.mark.parametrize(("first", "second"), [(OLD, NEW), (NEW, OLD)])
@pytest.mark.parametrize("command", [hold(5), refund(ded(2)), revoke(grt(1))])
def test_what_each_would_decide_otherwise_is_decided_by_the_first(
    command: Command, first: Policies, second: Policies
) -> None:
    asked, later = wish(command, "the key"), NOW + 2 * DAY
    by_first, by_second = begun(), begun()
    done = told(by_first, first, asked, at=later)
    told(by_second, second, asked, at=later)
    assert by_first.log != by_second.log
    written = list(by_first.log)

    again = told(by_first, second, asked, at=later)

    assert isinstance(done, Receipt)
    assert done.outcome == ACCEPTED
    assert again == done.as_replay()
    assert by_first.log == written


def begun() -> MemoryStore:
    """An account with a spent lot that will have expired, and another one."""
    store = MemoryStore()
    told(store, OLD, wish(grant(10, expires_at=NOW + DAY)), wish(deduct(10)), wish(grant(5)))
    return store
