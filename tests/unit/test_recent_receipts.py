"""Recent receipts: at least the newest so many are at hand, at most twice as many."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from creditledger.domain import ids, recent
from creditledger.domain.receipt import ACCEPTED, Receipt
from creditledger.domain.recent import RecentReceipts

KEPT = 3


def receipt(number: int) -> Receipt:
    return Receipt(
        id=ids.receipt_uuid("shop", f"order-{number}"),
        client_id="shop",
        key=f"order-{number}",
        fingerprint=b"",
        command="deduct",
        customer_id="acme",
        asset="credits",
        outcome=ACCEPTED,
        answer={},
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_the_newest_are_at_hand_and_twice_as_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "RECENT_RECEIPTS", KEPT)
    receipts = [receipt(number) for number in range(10)]
    at_hand = RecentReceipts()
    for count, new in enumerate(receipts, start=1):
        at_hand.update({new.id: new})
        found = [one for one in receipts if at_hand.get(one.id) is one]
        assert found == receipts[:count][-len(found) :]
        assert min(count, KEPT) <= len(found) < 2 * KEPT
