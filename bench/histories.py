"""How long it takes to load an account of many events, and to refund the first of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from creditledger.domain import commands as c
from creditledger.domain.amounts import Credits
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Receipt, Wish
from creditledger.infra.database import connection_pool
from creditledger.infra.event_store import PostgresLedgerStore

_BATCH = 1_000

#: Each is timed so often, because the disk may be busy with what was written; and the first
#: deduction is of so many credits, of which each refund gives one back.
_TIMES = 5


@dataclass(frozen=True)
class History:
    """An account of so many events: its first command after a restart, and an old refund."""

    events: int
    first_command_ms: float
    refund_of_the_first_ms: float


def measure(dsn: str, events: int, progress: Callable[[int], None]) -> History:
    """Write the history, forget it, and time a deduction and a refund on cold accounts."""
    with connection_pool(dsn, "bench", size=2) as pool:
        pool.wait()
        store = PostgresLedgerStore(pool)
        customer_id = f"history-{events}"
        ledger = _ledger(store)
        _told(ledger, c.GrantCredits(customer_id=customer_id, amount=Credits(10**12)))
        first = _told(ledger, c.DeductCredits(customer_id=customer_id, amount=Credits(_TIMES)))
        deduct = c.DeductCredits(customer_id=customer_id, amount=Credits(1))
        for done in range(2, events, _BATCH):
            ledger.handle([_wish(deduct)] * min(_BATCH, events - done))
            progress(done)
        cold = _timed(store, deduct)
        refund = c.RefundDeduction(
            deduction_id=str(first.answer["deduction_id"]), amount=Credits(1)
        )
        return History(events, cold, _timed(store, refund))


def _ledger(store: PostgresLedgerStore) -> Ledger:
    return Ledger(store, now=lambda: datetime.now(UTC))


def _wish(command: c.Command) -> Wish:
    return Wish(command=command, actor="system:bench", client_id="bench", key=None)


def _told(ledger: Ledger, command: c.Command) -> Receipt:
    told = ledger.handle([_wish(command)])[0]
    if not isinstance(told, Receipt) or told.outcome != "accepted":
        raise RuntimeError(f"{command} was told {told}")
    return told


def _timed(store: PostgresLedgerStore, command: c.Command) -> float:
    """The median of what it takes ledgers that have just started, in milliseconds."""

    def once() -> float:
        ledger, started = _ledger(store), time.perf_counter()
        _told(ledger, command)
        return (time.perf_counter() - started) * 1_000

    return median(once() for _ in range(_TIMES))
