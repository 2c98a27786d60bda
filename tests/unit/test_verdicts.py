"""What the ledger's answers mean for a delivery."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from creditledger.consumers.reading import Told
from creditledger.consumers.runner import Runner
from creditledger.domain.amounts import Credits
from creditledger.domain.commands import Command
from creditledger.domain.ledger import Ledger
from creditledger.domain.provider_commands import PurchaseLine, SetPrice
from creditledger.infra.delivery import Taken, Verdict, read_delivery
from given_when_then import NOW
from memory_store import MemoryStore
from purchase_story import purchase
from writer_at_once import AtOnce


def verdict_on(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    *,
    ledger_now: Callable[[], datetime] = lambda: NOW,
) -> Verdict:
    """What comes of a delivery that says this command."""
    writer = AtOnce(Ledger(MemoryStore(), now=ledger_now))
    runner = Runner(writer, now=lambda: NOW, stripe_livemode=True)
    monkeypatch.setattr(runner, "_translate", lambda _delivery: Told((command,)))
    delivery = read_delivery("stripe", b'{"id": "evt_1", "type": "any"}', {}, NOW)
    taken = Taken(delivery=delivery, tries=0, faults=0, position=0)
    runner.handle([taken])
    assert taken.verdict is not None
    return taken.verdict


def test_what_nothing_but_a_person_can_free_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """11.7: the whole purchase waits, although its payment is recorded."""
    proration = PurchaseLine(price_id="price_1", proration=True)
    verdict = verdict_on(purchase(lines=(proration,)), monkeypatch)
    assert (verdict.status, verdict.reason) == ("parked", "unknown_value")
    assert (verdict.waits_for, verdict.awaits) == (None, ())


def test_a_clock_that_is_set_back_puts_a_delivery_off(monkeypatch: pytest.MonkeyPatch) -> None:
    just_now = SetPrice(
        provider="stripe",
        price_id="price_1",
        credits=Credits(5),
        happened_at=NOW - timedelta(milliseconds=1),
    )
    verdict = verdict_on(just_now, monkeypatch, ledger_now=lambda: NOW - timedelta(seconds=1))
    assert verdict.status == "received"
    assert verdict.retry_seconds > 0
