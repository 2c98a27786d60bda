"""Bills of a subscription, as commands: what the tests of plans and their changes tell.

Starter is worth 1000 credits a month, Pro 5000, Team 8000, an add-on 500; each bill costs 1000
cents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import Command
from creditledger.domain.errors import Parked
from creditledger.domain.payment import Payment
from creditledger.domain.provider_commands import (
    Period,
    PurchaseLine,
    RecordPurchase,
    ReportDispute,
    ReportRefundTotal,
    SetPrice,
    TiePayment,
)
from creditledger.domain.provider_commands import RefundTotal as Total
from purchase_story import CUSTOMER, Story

PLANS = {"starter": 1000, "pro": 5000, "team": 8000, "addon": 500, "free": 0}

BEGIN = datetime(2026, 8, 20, 9, 0, tzinfo=UTC)
END = datetime(2026, 9, 20, 9, 0, tzinfo=UTC)
MONTH = Period(BEGIN, END)
NEXT_MONTH = Period(END, datetime(2026, 10, 20, 9, 0, tzinfo=UTC))

PRICES = tuple(
    SetPrice(provider="stripe", price_id=plan, credits=Credits(worth), kind="recurring")
    for plan, worth in PLANS.items()
)


def whole(plan: str, period: Period = MONTH, quantity: int = 1) -> PurchaseLine:
    """A plan for a whole period."""
    return PurchaseLine(price_id=plan, quantity=quantity, period=period)


def begun(plan: str, day: int, quantity: int = 1) -> PurchaseLine:
    """The rest of the period on a new plan, from its `day` on."""
    return PurchaseLine(
        price_id=plan, quantity=quantity, period=_rest(day), proration=True, amount=900
    )


def returned(plan: str, day: int, quantity: int = 1) -> PurchaseLine:
    """What is left of the old plan, given back."""
    return PurchaseLine(
        price_id=plan,
        quantity=quantity,
        period=_rest(day),
        proration=True,
        credited=True,
        amount=-400,
    )


def _rest(day: int) -> Period:
    return Period(BEGIN + timedelta(days=day), END)


def bill(name: str, day: int, *lines: PurchaseLine, **changes: Any) -> RecordPurchase:
    """An invoice that was paid on the period's `day`."""
    at = BEGIN + timedelta(days=day)
    fields: dict[str, Any] = {
        "provider": "stripe",
        "provider_id": name,
        "provider_customer_id": "cus_Kestrel1",
        "customer_id": CUSTOMER,
        "lines": lines,
        "paid": Money(1000, "USD"),
        "paid_at": at,
        "subscription_id": "sub_Kestrel",
    }
    return RecordPurchase(**{**fields, **changes})


def change(name: str, day: int, old: str, new: str) -> RecordPurchase:
    """A change of plan."""
    return bill(name, day, returned(old, day), begun(new, day))


def tied(intent: str, invoice: str) -> TiePayment:
    """The news that ties a PaymentIntent to its invoice."""
    return TiePayment(provider="stripe", provider_id=intent, pays=invoice)


def refunded(intent: str, amount: int) -> ReportRefundTotal:
    """So many cents of a PaymentIntent are refunded in all."""
    total = Total(amount=amount)
    return ReportRefundTotal(provider="stripe", provider_id=intent, currency="USD", total=total)


def dispute(intent: str, standing: Any, day: int = 10, **changes: Any) -> ReportDispute:
    """A dispute over all that was paid."""
    fields: dict[str, Any] = {
        "provider": "stripe",
        "provider_id": intent,
        "dispute_id": "dp_1",
        "amount": Money(1000, "USD"),
        "standing": standing,
        "status": standing,
        "as_of": BEGIN + timedelta(days=day),
    }
    return ReportDispute(**{**fields, **changes})


class PlanStory(Story):
    """A story whose news are tried again whenever something else was booked."""

    def __init__(self, *news: Command, now: datetime = BEGIN + timedelta(days=15)) -> None:
        super().__init__(*PRICES)
        self.now = now
        self.parked: list[Command] = []
        self.hear(news)

    def hear(self, news: Iterable[Command]) -> None:
        """Book what can be booked, and park the rest until it can."""
        for command in news:
            if isinstance(self.outcome(command), Parked):
                self.parked.append(command)
            else:
                self._try_again()

    def _try_again(self) -> None:
        before: Sequence[Command] | None = None
        while self.parked and self.parked != before:
            before = self.parked
            self.parked = [c for c in before if isinstance(self.outcome(c), Parked)]

    def payments(self) -> dict[str, Payment]:
        """All payments, from their events."""
        found: dict[str, Payment] = {}
        for stream, events in self.store.streams.items():
            if isinstance(events[0], Payment.EVENTS):
                payment = Payment(stream)
                for event in events:
                    payment.apply(event)
                found[payment.provider_id] = payment
        return found

    def granted(self) -> dict[str, int]:
        """What each payment is granted, of what is not withdrawn."""
        return {
            name: payment.allotted().get("credits", 0)
            for name, payment in sorted(self.payments().items())
            if payment.granted
        }

    def lots(self) -> list[tuple[Any, ...]]:
        """The open lots, without what names them."""
        return sorted(
            (lot.source, lot.priority, lot.effective_at, lot.expires_at, lot.remaining)
            for lot in self.account().lots.burn_order()
        )
