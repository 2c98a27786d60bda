"""A writer that is frozen when it has decided: run as a program, with a database and a way.

It wishes a deduction, stops itself before it saves what it has decided, and tells what came of it
when it is let go on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from commit_story import deduct, wish
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Receipt, Wish
from creditledger.domain.turns import QUIET_TURNS
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.wiring import machine_clock
from log_story import pool_for

#: In a turn of its own, which others wait for; or without one, as a writer that is alone.
WAYS: Final = ("in a turn", "alone")

#: What it wishes.
WISHED: Final = wish("frozen", deduct("ada", 60))


class FreezingStore(PostgresLedgerStore):
    """Stops the process once, before it saves what it was told to freeze at."""

    freeze_at: Wish | None = None

    def append(
        self,
        events: Sequence[Any],
        receipts: Sequence[Any],
        expectations: Sequence[Any],
        seen: Any = None,
    ) -> int:
        """Save it all, if somebody lets the process go on."""
        wished = self.freeze_at
        if wished is not None and any(one.id == wished.receipt_id for one, _ in receipts):
            self.freeze_at = None
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().append(events, receipts, expectations, seen)


def main(url: str, way: str) -> None:
    """Decide, freeze, save, and tell."""
    with pool_for(url) as pool:
        store = FreezingStore(pool)
        ledger = Ledger(store, now=machine_clock)
        if way == "alone":
            for number in range(QUIET_TURNS + 1):
                ledger.handle([wish(f"before-{number}", deduct("somebody"))])
        store.freeze_at = WISHED
        [told] = ledger.handle([WISHED])
    assert isinstance(told, Receipt), told
    print(json.dumps({"outcome": told.outcome, "replayed": told.replayed, **told.answer}))


if __name__ == "__main__":
    main(*sys.argv[1:])
