"""The facts that a payment is made of, as they are stored for ever."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from creditledger.domain.amounts import NO_CREDITS, Credits, Money
from creditledger.domain.events import Event, LotAmount
from creditledger.domain.provider_commands import (
    DisputeStanding,
    Period,
    Provider,
    RefundStatus,
    RefundTotal,
)
from creditledger.domain.values import value


@value()
class PaidLine:
    """One thing that was bought, and what all its units were worth on that day.

    Without a price id it is worth no credits of no asset. What a change of plan gives back is
    worth less than nothing: such a line's credits are negative.
    """

    price_id: str | None
    quantity: int
    asset: str | None
    credits: int
    period: Period | None = None
    proration: bool = False


@value()
class PaymentGrant:
    """One grant that the payment brought about, for the subscription's period that ends then.

    `withdrawn` of it went to another payment of the period that turned out to be the earlier one.
    """

    grant_id: str
    asset: str
    amount: Credits
    period_end: datetime | None = None
    withdrawn: Credits = NO_CREDITS

    @property
    def allotted(self) -> Credits:
        """What of it is the payment's."""
        return Credits(self.amount - self.withdrawn)


@value(kw_only=True)
class PaymentEvent(Event):
    """A fact of one payment; `customer_id` is None as long as nobody knows whose it is."""

    provider: Provider
    provider_id: str
    customer_id: str | None


@value(kw_only=True)
class PaymentRecorded(PaymentEvent):
    """Money came."""

    TOPIC: ClassVar[str] = "creditledger.PaymentRecorded"

    provider_customer_id: str | None
    paid: Money
    paid_at: datetime
    refund_total: RefundTotal | None = None
    subscription_id: str | None = None


@value(kw_only=True)
class PaymentRedated(PaymentEvent):
    """News that came later said that the money came earlier: of several times, the first stands."""

    TOPIC: ClassVar[str] = "creditledger.PaymentRedated"

    paid_at: datetime


@value(kw_only=True)
class PaymentAssigned(PaymentEvent):
    """A person said whose the payment is."""

    TOPIC: ClassVar[str] = "creditledger.PaymentAssigned"


@value(kw_only=True)
class PaymentGranted(PaymentEvent):
    """What was bought was granted."""

    TOPIC: ClassVar[str] = "creditledger.PaymentGranted"

    lines: tuple[PaidLine, ...]
    grants: tuple[PaymentGrant, ...]


@value(kw_only=True)
class PaymentReallotted(PaymentEvent):
    """Another payment of a period came to be known, so this one's part of it is another.

    `grants` says all grants of the payment anew.
    """

    TOPIC: ClassVar[str] = "creditledger.PaymentReallotted"

    grants: tuple[PaymentGrant, ...]


@value(kw_only=True)
class PaymentTied(PaymentEvent):
    """News about this is news about `pays`, as long as nothing was bought with this alone."""

    TOPIC: ClassVar[str] = "creditledger.PaymentTied"

    pays: str


@value(kw_only=True)
class RefundReported(PaymentEvent):
    """The provider told of a refund; `refunded` is what the payment has refunded in all now.

    `source` is the PaymentIntent that the money came by, where the payment is named otherwise.
    """

    TOPIC: ClassVar[str] = "creditledger.RefundReported"

    refund_id: str
    amount: Money
    status: RefundStatus
    counted: bool
    refunded: int = 0
    source: str | None = None


@value(kw_only=True)
class RefundTotalReported(PaymentEvent):
    """The provider told the total; `refunded` is what the payment has refunded in all now.

    `source` is the PaymentIntent that the total is about, where the payment is named otherwise.
    """

    TOPIC: ClassVar[str] = "creditledger.RefundTotalReported"

    total: RefundTotal
    refunded: int = 0
    source: str | None = None


@value(kw_only=True)
class DisputeReported(PaymentEvent):
    """The provider told of a dispute; `disputed` is what open and lost ones add up to now."""

    TOPIC: ClassVar[str] = "creditledger.DisputeReported"

    dispute_id: str
    amount: Money
    standing: DisputeStanding
    status: str
    as_of: datetime
    disputed: int = 0
    source: str | None = None


@value(kw_only=True)
class RemovalSet(PaymentEvent):
    """How much of each grant is taken back because of refunds and disputes, and of what was
    withdrawn: totals, without those by hand.
    """

    TOPIC: ClassVar[str] = "creditledger.RemovalSet"

    removed: tuple[LotAmount, ...]


PAYMENT_EVENTS: tuple[type[PaymentEvent], ...] = (
    PaymentRecorded,
    PaymentRedated,
    PaymentAssigned,
    PaymentGranted,
    PaymentReallotted,
    PaymentTied,
    RefundReported,
    RefundTotalReported,
    DisputeReported,
    RemovalSet,
)
