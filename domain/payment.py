"""A payment: one provider payment's life, from money that came to credits that it has to lose.

What was told of its refunds is kept as it was told; what follows for credits is a target that is
worked out of all of it, so that order and repetition do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.amounts import NO_CREDITS, Credits, Money, proportion
from creditledger.domain.books import Books
from creditledger.domain.errors import Parked
from creditledger.domain.events import Event, LotAmount
from creditledger.domain.provider_commands import (
    PaymentCommand,
    Provider,
    RefundStatus,
    RefundTotal,
)

#: `parked`: what was bought, or whose it is, is not known yet, so nothing was granted.
PaymentStatus = Literal["parked", "paid", "partially_refunded", "refunded"]

_EARLIEST = datetime.min.replace(tzinfo=UTC)

#: How far a refund has come: whatever the order of the news, the furthest state stands.
_REFUND_PROGRESS: dict[RefundStatus, int] = {
    "pending": 0,
    "requires_action": 0,
    "succeeded": 1,
    "failed": 2,
    "canceled": 2,
}


@dataclass(frozen=True, slots=True)
class PaidLine:
    """One thing that was bought, and what all its units were worth on that day.

    Without a price id it is worth no credits of no asset.
    """

    price_id: str | None
    quantity: int
    asset: str | None
    credits: Credits


@dataclass(frozen=True, slots=True)
class PaymentGrant:
    """One grant that the payment brought about."""

    grant_id: str
    asset: str
    amount: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentEvent(Event):
    """A fact of one payment; `customer_id` is None as long as nobody knows whose it is."""

    provider: Provider
    provider_id: str
    customer_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRecorded(PaymentEvent):
    """Money came."""

    TOPIC: ClassVar[str] = "creditledger.PaymentRecorded"

    provider_customer_id: str | None
    paid: Money
    paid_at: datetime
    refund_total: RefundTotal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAssigned(PaymentEvent):
    """A person said whose the payment is."""

    TOPIC: ClassVar[str] = "creditledger.PaymentAssigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentGranted(PaymentEvent):
    """What was bought was granted."""

    TOPIC: ClassVar[str] = "creditledger.PaymentGranted"

    lines: tuple[PaidLine, ...]
    grants: tuple[PaymentGrant, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundReported(PaymentEvent):
    """The provider told of a refund; `refunded` is what the payment has refunded in all now."""

    TOPIC: ClassVar[str] = "creditledger.RefundReported"

    refund_id: str
    amount: Money
    status: RefundStatus
    counted: bool
    refunded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundTotalReported(PaymentEvent):
    """The provider told the total; `refunded` is what the payment has refunded in all now."""

    TOPIC: ClassVar[str] = "creditledger.RefundTotalReported"

    total: RefundTotal
    refunded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalSet(PaymentEvent):
    """How much of each grant is taken back because of refunds: totals, without those by hand."""

    TOPIC: ClassVar[str] = "creditledger.RemovalSet"

    removed: tuple[LotAmount, ...]


PAYMENT_EVENTS: tuple[type[PaymentEvent], ...] = (
    PaymentRecorded,
    PaymentAssigned,
    PaymentGranted,
    RefundReported,
    RefundTotalReported,
    RemovalSet,
)


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as far as it has come, in minor units of the payment's currency."""

    amount: int
    status: RefundStatus
    counted: bool


class Payment(Aggregate):
    """One payment at a provider: recorded once, granted once.

    `removed` says how much of each grant is taken back because of refunds, by grant id.
    """

    __slots__ = ("customer_id", "granted", "grants", "paid", "provider", "provider_id",
                 "refund_total", "refunds", "removed")  # fmt: skip

    EVENTS: ClassVar[tuple[type[Event], ...]] = PAYMENT_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        self.provider: Provider = "stripe"
        self.provider_id = ""
        self.customer_id: str | None = None
        self.paid: Money | None = None
        self.granted = False
        self.grants: tuple[PaymentGrant, ...] = ()
        self.refunds: dict[str, Refund] = {}
        self.refund_total: RefundTotal | None = None
        self.removed: dict[str, Credits] = {}

    def identity(self) -> dict[str, Any]:
        """Which payment it is."""
        return {"provider": self.provider, "provider_id": self.provider_id}

    def seal(self, event: Event) -> None:
        """Write what is refunded in all into a report, before anybody has seen it."""
        if isinstance(event, RefundReported | RefundTotalReported):
            object.__setattr__(event, "refunded", self.refunded)

    def copy(self) -> Self:
        """The same state again."""
        other = type(self)(self.id)
        for name in (*Payment.__slots__, "version", "recorded_at"):
            setattr(other, name, getattr(self, name))
        other.refunds = self.refunds.copy()
        return other

    def _evolve(self, event: Event) -> None:
        if isinstance(event, PaymentEvent):
            self.provider, self.provider_id = event.provider, event.provider_id
            self.customer_id = event.customer_id
        match event:
            case PaymentRecorded():
                self.paid = event.paid
                self.refund_total = event.refund_total
            case PaymentGranted():
                self.granted = True
                self.grants = event.grants
            case RefundReported():
                self.refunds[event.refund_id] = Refund(
                    event.amount.amount, event.status, event.counted
                )
            case RefundTotalReported():
                self.refund_total = event.total
            case RemovalSet():
                self.removed = {lot.grant_id: lot.amount for lot in event.removed}

    @property
    def payment_id(self) -> str:
        """The `pay_` id."""
        return ids.stream_id(ids.PAYMENT, self.id)

    @property
    def refunded(self) -> int:
        """What is refunded in all, in minor units.

        The larger of what the counted refunds that succeeded add up to, and the total that the
        payment's own record told less the refunds that failed after all.
        """
        counted = [refund for refund in self.refunds.values() if refund.counted]
        succeeded = sum(refund.amount for refund in counted if refund.status == "succeeded")
        failed = sum(r.amount for r in counted if r.status in ("failed", "canceled"))
        told = 0 if self.refund_total is None else self.refund_total.amount
        return max(succeeded, told - failed)

    @property
    def status(self) -> PaymentStatus:
        """Where the payment stands, in one word."""
        if not self.granted or self.paid is None:
            return "parked"
        if self.refunded == 0:
            return "paid"
        return "refunded" if self.refunded >= self.paid.amount else "partially_refunded"

    def is_news(self, total: RefundTotal) -> bool:
        """Whether a total that was told stands instead of the one known so far."""
        known = self.refund_total
        if known is None:
            return True
        if (known.as_of, known.amount) == (total.as_of, total.amount):
            return False
        return _newness(total) > _newness(known)

    def refund_is_news(self, refund_id: str, status: RefundStatus) -> bool:
        """Whether a refund has come further than was known."""
        known = self.refunds.get(refund_id)
        return known is None or _REFUND_PROGRESS[status] > _REFUND_PROGRESS[known.status]

    def targets(self) -> dict[str, Credits]:
        """How many credits of each asset the payment has to lose in all for what is refunded."""
        granted: dict[str, int] = {}
        for grant in self.grants:
            granted[grant.asset] = granted.get(grant.asset, 0) + grant.amount
        if self.paid is None or self.paid.amount == 0:
            return dict.fromkeys(granted, NO_CREDITS)
        refunded = min(self.refunded, self.paid.amount)
        return {a: proportion(total, refunded, self.paid.amount) for a, total in granted.items()}


def _newness(total: RefundTotal) -> tuple[datetime, datetime, int]:
    """Totals in the order in which they stand, the last one best."""
    return (total.as_of or _EARLIEST, total.told_at or _EARLIEST, total.amount)


def find_payment(command: PaymentCommand, books: Books) -> Payment:
    """The payment that a command is about, new where nothing was told of it."""
    payment = books.get(Payment, ids.payment_stream(command.provider, command.provider_id))
    if payment.version == 0:
        payment.provider, payment.provider_id = command.provider, command.provider_id
    return payment


def ensure_same_currency(payment: Payment, currency: str) -> None:
    """Raise Parked where news about a payment is in another currency: sums would mean nothing."""
    if payment.paid is not None and payment.paid.currency != currency:
        raise Parked(
            reason="unknown_value",
            waits_for=None,
            detail=f"the payment is in {payment.paid.currency}, and this in {currency}",
        )


def describe(payment: Payment) -> dict[str, Any]:
    """Where a payment stands."""
    return {
        "payment_id": payment.payment_id,
        "status": payment.status,
        "customer_id": payment.customer_id,
        "grants": [
            {
                "grant_id": grant.grant_id,
                "asset": grant.asset,
                "amount": grant.amount,
                "removed": payment.removed.get(grant.grant_id, NO_CREDITS),
            }
            for grant in payment.grants
        ],
    }
