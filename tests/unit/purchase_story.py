"""A ledger in memory with provider commands: what the tests of purchases and refunds tell.

One pack of 500 credits costs 900 cents; the purchase is of two, 1000 credits for 1800.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import Command
from creditledger.domain.errors import LedgerError
from creditledger.domain.events import Balance, Event
from creditledger.domain.ledger import Ledger
from creditledger.domain.provider_commands import (
    LearnedPrice,
    PurchaseLine,
    RecordPurchase,
    RefundStatus,
    RefundTotal,
    ReportRefund,
    ReportRefundTotal,
    SetPrice,
)
from creditledger.domain.receipt import Receipt, Wish
from memory_store import MemoryStore

PAID_AT = datetime(2026, 8, 10, 9, 21, 33, tzinfo=UTC)
NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)

CUSTOMER = "ws_kestrel"
STRIPE_CUSTOMER = "cus_Kestrel1"
PAYMENT = "pi_TwoPacks"
PACK = "price_Pack500"
PAID = Money(1800, "USD")

PACK_IS_500 = SetPrice(provider="stripe", price_id=PACK, credits=Credits(500))
TWO_PACKS = (PurchaseLine(price_id=PACK, quantity=2),)


def purchase(**changes: Any) -> RecordPurchase:
    """Two packs, bought at Stripe by a customer that the purchase names."""
    fields: dict[str, Any] = {
        "provider": "stripe",
        "provider_id": PAYMENT,
        "provider_customer_id": STRIPE_CUSTOMER,
        "customer_id": CUSTOMER,
        "lines": TWO_PACKS,
        "paid": PAID,
        "paid_at": PAID_AT,
    }
    return RecordPurchase(**{**fields, **changes})


def order(refunded: int, minutes: int, *, credits: int | None = 800) -> RecordPurchase:
    """A snapshot of a Polar order, so many minutes after it was paid: 800 credits for 1200."""
    learned = None
    if credits is not None:
        learned = LearnedPrice(credits=Credits(credits), kind="one_time", name="800 credits")
    return RecordPurchase(
        provider="polar",
        provider_id="ord-1",
        provider_customer_id="polar-customer-1",
        customer_id=CUSTOMER,
        lines=(PurchaseLine(price_id="polar-price-1", amount=1200, learned=learned),),
        paid=Money(1200, "USD"),
        paid_at=PAID_AT,
        refund_total=RefundTotal(amount=refunded, as_of=PAID_AT + timedelta(minutes=minutes)),
    )


def refund(refund_id: str, amount: int, status: RefundStatus = "succeeded") -> ReportRefund:
    """A refund object of Stripe."""
    return ReportRefund(
        provider="stripe",
        provider_id=PAYMENT,
        refund_id=refund_id,
        amount=Money(amount, "USD"),
        status=status,
        counted=True,
    )


def refunded_in_all(amount: int, currency: str = "USD") -> ReportRefundTotal:
    """What Stripe's charge says is refunded in all."""
    return ReportRefundTotal(
        provider="stripe",
        provider_id=PAYMENT,
        currency=currency,
        total=RefundTotal(amount=amount),
    )


class Story:
    """Commands one after another on a ledger of its own."""

    def __init__(self, *given: Command) -> None:
        self.now = NOW
        self.store = MemoryStore()
        self.ledger = Ledger(self.store, now=lambda: self.now)
        for command in given:
            self.tell(command)

    def outcome(self, command: Command) -> Receipt | LedgerError:
        """What a command comes to."""
        wish = Wish(command=command, actor="provider:test", client_id="provider:test", key=None)
        [outcome] = self.ledger.handle([wish])
        assert isinstance(outcome, Receipt | LedgerError)
        return outcome

    def tell(self, command: Command) -> Any:
        """The answer to a command that must be accepted."""
        outcome = self.outcome(command)
        assert isinstance(outcome, Receipt), outcome
        assert outcome.outcome == "accepted", outcome.answer
        return outcome.answer

    def tell_all(self, commands: Sequence[Command]) -> None:
        """Several commands, whatever each comes to."""
        for command in commands:
            self.outcome(command)

    def account(self, asset: str = "credits", customer_id: str = CUSTOMER) -> CreditAccount:
        """An account from its events."""
        account = CreditAccount(ids.account_id(customer_id, asset))
        for event in self.store.streams.get(account.id, ()):
            account.apply(event)
        return account

    def balance(self, asset: str = "credits", customer_id: str = CUSTOMER) -> Balance:
        """An account's figures."""
        return self.account(asset, customer_id).balance()

    def available(self) -> int:
        """What the customer can spend."""
        return self.balance().available

    def events(self, kind: type[Event]) -> list[Any]:
        """All events of a kind, in order."""
        return [event for event in self.store.log if isinstance(event, kind)]
