"""A log to measure with: many accounts that are granted, spend, hold, capture and refund.

It is told to the ledger itself, without HTTP, so every event, trail and receipt is what the service
would have written. The same numbers make the same log each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Final

from creditledger.domain import commands as c
from creditledger.domain.amounts import Credits
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import ACCEPTED, Receipt, Wish
from creditledger.domain.store import LedgerStore

BEGINS_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_BATCH: Final = 1_000
_CREDITS_EACH: Final = Credits(1_000_000_000)
_LATELY: Final = 5_000

#: How often which command is told, among a hundred.
_WEIGHTS: Final = {"deduct": 70, "hold": 12, "capture": 10, "release": 2, "grant": 3, "refund": 3}


class Population:
    """Tells commands of many customers to a ledger, each with a key of its own."""

    def __init__(self, store: LedgerStore, *, accounts: int) -> None:
        self.now = BEGINS_AT
        self.ledger = Ledger(store, now=lambda: self.now, cache_limit=2 * accounts)
        self._customers = [f"bench-{number}" for number in range(accounts)]
        self._random = Random(accounts)
        self._told = 0
        self._open_holds: list[str] = []
        self._deductions: list[str] = []

    def begin(self) -> None:
        """Give every customer more than all commands can spend."""
        self._tell_all(
            c.GrantCredits(customer_id=customer, amount=_CREDITS_EACH)
            for customer in self._customers
        )

    def go_on(self, commands: int) -> None:
        """Tell so many more commands."""
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        chosen = self._random.choices(kinds, weights, k=commands)
        self._tell_all(self._command(kind) for kind in chosen)

    def fill(self, head: Callable[[], int], *, events: int) -> None:
        """Go on until the log holds at least so many events."""
        while (missing := events - head()) > 0:
            self.go_on(min(missing, 20 * _BATCH))

    def tell(self, commands: Sequence[c.Command]) -> list[Receipt]:
        """Let these be decided together; raises RuntimeError where one is not accepted."""
        receipts = []
        for outcome in self.ledger.handle([self._wish(command) for command in commands]):
            if not isinstance(outcome, Receipt) or outcome.outcome != ACCEPTED:
                raise RuntimeError(f"a command was told {outcome}")
            receipts.append(outcome)
        return receipts

    def _tell_all(self, commands: Iterator[c.Command]) -> None:
        while some := list(islice(commands, _BATCH)):
            self.now += timedelta(seconds=1)
            for receipt in self.tell(some):
                self._remember(receipt)

    def _wish(self, command: c.Command) -> Wish:
        self._told += 1
        return Wish(
            command=command,
            actor="client:bench",
            client_id="bench",
            key=f"key-{self._told}",
            fingerprint=self._told.to_bytes(32, "big"),
        )

    def _remember(self, receipt: Receipt) -> None:
        if receipt.command == "hold":
            self._open_holds.append(str(receipt.answer["hold_id"]))
        elif receipt.command == "deduct":
            self._deductions.append(str(receipt.answer["deduction_id"]))
            del self._deductions[:-_LATELY]

    def _command(self, kind: str) -> c.Command:
        """A command of this kind, or a deduction where there is nothing to do it to."""
        amount = Credits(self._random.randint(2, 200))
        if kind == "capture" and self._open_holds:
            return c.CaptureHold(hold_id=self._open_holds.pop())
        if kind == "release" and self._open_holds:
            return c.ReleaseHold(hold_id=self._open_holds.pop())
        if kind == "refund" and self._deductions:
            return c.RefundDeduction(deduction_id=self._a_deduction(), amount=Credits(1))
        customer = self._random.choice(self._customers)
        if kind == "hold":
            return c.HoldCredits(customer_id=customer, amount=amount, expires_in=86_400)
        if kind == "grant":
            return c.GrantCredits(
                customer_id=customer, amount=amount, source="top_up", expires_after_days=365
            )
        return c.DeductCredits(customer_id=customer, amount=amount, feature="render")

    def _a_deduction(self) -> str:
        return self._deductions.pop(self._random.randrange(len(self._deductions)))
