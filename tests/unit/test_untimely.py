"""What only its moment rules out is remembered (domain/README.md, 9.3).

Whoever is told that a value does not fit, and had tried before, need not fear that the first try,
decided by another clock, comes late.
"""

from __future__ import annotations

from datetime import datetime

import pytest

from creditledger.domain.commands import Command
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import ACCEPTED, Receipt
from given_when_then import DAY, NOW, TICK, deduct, grant, wish
from memory_store import MemoryStore


def told(store: MemoryStore, command: Command, at: datetime, key: str = "the key") -> Receipt:
    """What a process by this clock, with nothing at hand, tells of a command."""
    [outcome] = Ledger(store, now=lambda: at).handle([wish(command, key)])
    assert isinstance(outcome, Receipt), outcome
    return outcome


@pytest.mark.parametrize(
    ("command", "fits_at"),
    [
        (grant(10, expires_at=NOW), NOW - TICK),
        (deduct(1, happened_at=NOW + TICK), NOW + TICK),
    ],
)
def test_it_stays_refused_by_a_clock_that_would_allow_it(
    command: Command, fits_at: datetime
) -> None:
    store = MemoryStore()
    told(store, grant(1), NOW - DAY, "before")
    first = told(store, command, NOW)
    late = told(store, command, fits_at)
    assert (first.outcome, late.outcome) == ("invalid_request", "invalid_request")
    assert (first.replayed, late.replayed) == (False, True)
    assert len(store.log) == 1


def test_what_was_done_in_time_stays_done() -> None:
    store = MemoryStore()
    command = grant(10, expires_at=NOW + DAY)
    assert told(store, command, NOW).outcome == ACCEPTED
    late = told(store, command, NOW + 2 * DAY)
    assert (late.outcome, late.replayed) == (ACCEPTED, True)
