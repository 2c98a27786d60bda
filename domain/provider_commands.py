"""What payment providers tell, and what people enter about it, as commands of the ledger.

Providers tell the same thing often, late and out of order, so these commands say what is, never
what to add: "this purchase was paid", "so much of it is refunded in all".
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import Command
from creditledger.domain.values import value

Provider = Literal["stripe", "polar"]
PriceKind = Literal["one_time", "recurring", "usage"]
#: `requires_action` and `pending` have moved no money; `failed` and `canceled` never will again.
RefundStatus = Literal["pending", "requires_action", "succeeded", "failed", "canceled"]
#: `inquiry` moves no money; `open` and `lost` take it; `won` gives it back. What was `prevented`
#: was refunded instead, which is told by itself.
DisputeStanding = Literal["inquiry", "open", "lost", "won", "prevented"]
#: Who says whose a provider's customer is: a person, the customer's own record, a purchase.
LinkOrigin = Literal["hand", "customer", "purchase"]


@value(kw_only=True)
class LearnedPrice:
    """What a provider's own metadata says that a price is worth.

    `internal_id` is the merchant's own name for it.
    """

    credits: Credits
    kind: PriceKind
    name: str | None = None
    plan_family: str | None = None
    version: str | None = None
    internal_id: str | None = None


@value()
class Period:
    """From `start` up to `end`, which lies after it."""

    start: datetime
    end: datetime


@value(kw_only=True)
class PurchaseLine:
    """One thing that was bought; without a price id it is worth no credits.

    `amount` is its part of the payment in minor units, where the provider tells it. `period` is
    the time of a subscription that it pays for; None where it was bought for good. `proration`
    lines change a plan within a period: those with `credited` give back what is left of the old
    plan, the others pay for what is left of the period on the new one.
    """

    price_id: str | None
    quantity: int = 1
    amount: int | None = None
    learned: LearnedPrice | None = None
    period: Period | None = None
    proration: bool = False
    credited: bool = False


@value(kw_only=True)
class RefundTotal:
    """How much of a payment is refunded in all, as the payment's own record told at one moment.

    The newest stands. Records without a time of their own (`as_of` None) only ever grow: of
    those, the largest stands. `told_at` decides between records of one moment.
    """

    amount: int
    as_of: datetime | None = None
    told_at: datetime | None = None


@value(kw_only=True)
class ProviderCommand(Command):
    """A command about what a provider knows."""

    provider: Provider


@value(kw_only=True)
class PaymentCommand(ProviderCommand):
    """A command about one payment; `provider_id` is the object that identifies it."""

    provider_id: str


@value(kw_only=True)
class RecordPurchase(PaymentCommand):
    """A purchase was paid: grant what was bought, once, whatever told of it.

    `lines` is None where what was bought is not known. `customer_id` is the owner that the
    purchase itself names; without one, the provider's customer must be linked. `subscription_id`
    is the provider's subscription that this pays for; None for a one-off purchase.
    """

    NAME: ClassVar[str] = "record_purchase"

    provider_customer_id: str | None
    customer_id: str | None
    lines: tuple[PurchaseLine, ...] | None
    paid: Money
    paid_at: datetime
    refund_total: RefundTotal | None = None
    subscription_id: str | None = None


@value(kw_only=True)
class TiePayment(PaymentCommand):
    """News about `provider_id` (a PaymentIntent or charge) is news about the payment `pays`.

    An invoice's money comes by a PaymentIntent of its own, and refunds and disputes name only that.
    """

    NAME: ClassVar[str] = "tie_payment"

    pays: str


@value(kw_only=True)
class AssignPurchase(PaymentCommand):
    """A person says whose a purchase is that names no owner."""

    NAME: ClassVar[str] = "assign_purchase"

    customer_id: str


@value(kw_only=True)
class ReportRefund(PaymentCommand):
    """A refund of a payment is in this state.

    `counted` refunds take credits back when they succeed; of a provider whose payment records
    tell the total, refunds are only kept. `provider_id` may name the PaymentIntent that a payment
    was paid by.
    """

    NAME: ClassVar[str] = "report_refund"

    refund_id: str
    amount: Money
    status: RefundStatus
    counted: bool


@value(kw_only=True)
class ReportRefundTotal(PaymentCommand):
    """So much of a payment is refunded in all."""

    NAME: ClassVar[str] = "report_refund_total"

    currency: str
    total: RefundTotal


@value(kw_only=True)
class ReportDispute(PaymentCommand):
    """A bank's dispute over a payment stands like this; `status` is the provider's own word.

    `as_of` is when the provider said so.
    """

    NAME: ClassVar[str] = "report_dispute"

    dispute_id: str
    amount: Money
    standing: DisputeStanding
    status: str
    as_of: datetime


@value(kw_only=True)
class SubscriptionState:
    """What a provider's record of a subscription says at one moment; `status` is its own word.

    `quantity` counts units of `price_id`, seats for instance. `ended` says that it will not bill
    again. `pending_product_id` is the product whose plan begins with the next period, where it is
    another.
    """

    status: str
    price_id: str | None
    quantity: int
    cancel_at_period_end: bool
    current_period: Period | None
    ended: bool = False
    started_at: datetime | None = None
    trial_ends_at: datetime | None = None
    ends_at: datetime | None = None
    ended_at: datetime | None = None
    pending_product_id: str | None = None


@value(kw_only=True)
class ReportSubscription(ProviderCommand):
    """A subscription stood like this at `as_of`: plan state alone, no credits.

    `customer_id` is the owner that the subscription itself names; without one, the provider's
    customer must be linked.
    """

    NAME: ClassVar[str] = "report_subscription"

    subscription_id: str
    provider_customer_id: str | None
    customer_id: str | None
    state: SubscriptionState
    as_of: datetime


@value(kw_only=True)
class ReportProduct(ProviderCommand):
    """A product of the provider's catalogue stood like this at `as_of`."""

    NAME: ClassVar[str] = "report_product"

    product_id: str
    name: str | None
    active: bool
    plan_family: str | None
    version: str | None
    as_of: datetime


@value(kw_only=True)
class ReportPrice(ProviderCommand):
    """A price of the provider's catalogue stood like this at `as_of`.

    `learned` is what its metadata says that it is worth, None where that says nothing. What is
    no longer `active` is honoured all the same: renewals and late news may still name it.
    """

    NAME: ClassVar[str] = "report_price"

    price_id: str
    product_id: str | None
    active: bool
    learned: LearnedPrice | None
    as_of: datetime


@value(kw_only=True)
class SetPrice(ProviderCommand):
    """One unit of a provider's price is worth so many credits (0 or more) of an asset.

    `expires_after_days` counts from the payment; None takes the default of the kind.
    """

    NAME: ClassVar[str] = "set_price"

    price_id: str
    credits: Credits
    asset: str = "credits"
    kind: PriceKind = "one_time"
    name: str | None = None
    expires_after_days: int | None = None
    plan_family: str | None = None
    version: str | int | None = None


@value(kw_only=True)
class LinkCustomer(ProviderCommand):
    """A provider's customer is this customer of ours; `as_of` is when that was said there."""

    NAME: ClassVar[str] = "link_customer"

    provider_customer_id: str
    customer_id: str
    origin: LinkOrigin
    as_of: datetime | None = None


@value(kw_only=True)
class CloseLink(ProviderCommand):
    """A provider deleted its customer, whose last record named `customer_id`, or nobody."""

    NAME: ClassVar[str] = "close_link"

    provider_customer_id: str
    customer_id: str | None
    closed_at: datetime
