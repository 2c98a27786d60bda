"""How what providers told of payments is told to others: a row for each class."""

from __future__ import annotations

from typing import Any, Final, get_args

from creditledger.domain import ids
from creditledger.domain.billing import PeriodBilled
from creditledger.domain.events import Event
from creditledger.domain.payment_events import (
    DisputeReported,
    PaymentAssigned,
    PaymentEvent,
    PaymentGranted,
    PaymentReallotted,
    PaymentRecorded,
    PaymentRedated,
    PaymentTied,
    RefundReported,
    RefundTotalReported,
    RemovalSet,
)
from creditledger.domain.provider_commands import DisputeStanding, Provider, RefundStatus
from creditledger.projections.public_accounts import LOT_AMOUNT, MONEY
from creditledger.projections.public_form import (
    Fact,
    PublicType,
    Shape,
    amount,
    change,
    count,
    derived,
    flag,
    many,
    metadata,
    minor_units,
    moment,
    one,
    text,
    whole_stream,
    word,
)

PROVIDER: Final = word("provider", get_args(Provider), "Who told it")

PERIOD: Final = Shape(
    "Period",
    "A time from its start up to its end, which lies after it",
    (
        moment("start", "Its first moment"),
        moment("end", "The first moment after it"),
    ),
)
PAID_LINE: Final = Shape(
    "PaidLine",
    "One thing that was bought",
    (
        text("price_id", "The provider's price", null=True),
        count("quantity", "How many units"),
        text("asset", "The kind of credits that it is worth", null=True),
        change("credits", "What all its units were worth on that day; below zero gives back"),
        one("period", PERIOD, "The time that it pays for, where it pays for one", null=True),
        flag("proration", "Whether it changes a plan within a period"),
    ),
)
PAYMENT_GRANT: Final = Shape(
    "PaymentGrant",
    "A grant that a payment brought about",
    (
        text("grant_id", "The grant"),
        text("asset", "The kind of credits"),
        amount("amount", "How much was granted"),
        moment("period_end", "When the period that it is for ends, if any", null=True),
        amount("withdrawn", "The part that went to another payment of the period"),
    ),
)
REFUND_TOTAL: Final = Shape(
    "RefundTotal",
    "How much of a payment is refunded in all, as the provider's record told at one moment",
    (
        minor_units("amount", "How much"),
        moment("as_of", "The record's own time", null=True),
        moment("told_at", "When the provider told it", null=True),
    ),
)
BILLED_LINE: Final = Shape(
    "BilledLine",
    "A line of a bill for a period of a subscription",
    (
        text("price_id", "The provider's price"),
        text("asset", "The kind of credits that it is worth"),
        amount("credits", "What all its units are worth"),
        flag("proration", "Whether it changes the plan within the period"),
        flag("credited", "Whether it gives the rest of the old plan back"),
    ),
)

_SOURCE: Final = text("source", "What the money came by, where the payment is named otherwise",
                      null=True)  # fmt: skip
_REFUNDED: Final = minor_units("refunded", "What is refunded of the payment in all now")
_GRANTS: Final = many("grants", PAYMENT_GRANT, "All grants of the payment")


def subscription(*, null: bool = False) -> Fact:
    """The id of the subscription that an event names as its provider does."""

    def read(event: Any) -> str | None:
        if event.subscription_id is None:
            return None
        stream = ids.subscription_stream(event.provider, event.subscription_id)
        return ids.stream_id(ids.SUBSCRIPTION, stream)

    return derived("subscription_id", "subscription_id", read, "The subscription", null=null)


def _paid_by() -> Fact:
    """The id of the payment that an event of something else names as its provider does."""

    def read(event: Any) -> str:
        stream = ids.payment_stream(event.provider, event.provider_id)
        return ids.stream_id(ids.PAYMENT, stream)

    return derived("payment_id", "provider_id", read, "The payment")


def _payment(event_class: type[PaymentEvent], name: str, *facts: Fact) -> PublicType:
    which = (
        whole_stream("payment_id", ids.PAYMENT, "The payment"),
        PROVIDER,
        text("provider_id", "The provider's object that identifies the payment"),
        text("customer_id", "Whose it is; null as long as nobody knows", null=True),
    )
    return PublicType(
        event_class=event_class,
        name=name,
        subject="payments/{payment_id}",
        facts=(*which, *facts, metadata()),
    )


def _period(event_class: type[Event], name: str, *facts: Fact) -> PublicType:
    ends = moment("period_end", "When the period ends")
    return PublicType(
        event_class=event_class,
        name=name,
        subject="subscriptions/{subscription_id}/periods/{period_end}",
        facts=(subscription(), ends, PROVIDER, *facts, metadata()),
    )


PAYMENT_TYPES: Final = (
    _payment(
        PaymentRecorded,
        "payment.recorded",
        text("provider_customer_id", "Who paid, as the provider knows them", null=True),
        one("paid", MONEY, "How much came"),
        moment("paid_at", "When it came"),
        one("refund_total", REFUND_TOTAL, "What was refunded of it already", null=True),
        subscription(null=True),
    ),
    _payment(
        PaymentRedated,
        "payment.redated",
        moment("paid_at", "When it came, as earlier news told that was heard later"),
    ),
    _payment(PaymentAssigned, "payment.assigned"),
    _payment(
        PaymentGranted,
        "payment.granted",
        many("lines", PAID_LINE, "What was bought"),
        _GRANTS,
    ),
    _payment(PaymentReallotted, "payment.reallotted", _GRANTS),
    _payment(
        PaymentTied,
        "payment.tied",
        text("pays", "The provider's object that identifies the payment it belongs to"),
    ),
    _payment(
        RefundReported,
        "payment.refund_reported",
        text("refund_id", "The provider's refund"),
        one("amount", MONEY, "How much it gives back"),
        word("status", get_args(RefundStatus), "How far it has come"),
        flag("counted", "Whether refunds count, or only the provider's total does"),
        _REFUNDED,
        _SOURCE,
    ),
    _payment(
        RefundTotalReported,
        "payment.refund_total_reported",
        one("total", REFUND_TOTAL, "What the provider's record told"),
        _REFUNDED,
        _SOURCE,
    ),
    _payment(
        DisputeReported,
        "payment.dispute_reported",
        text("dispute_id", "The provider's dispute"),
        one("amount", MONEY, "How much is in dispute"),
        word("standing", get_args(DisputeStanding), "What it means for the money"),
        text("status", "The provider's own word"),
        moment("as_of", "When the provider said so"),
        minor_units("disputed", "What open and lost disputes of the payment add up to now"),
        _SOURCE,
    ),
    _payment(
        RemovalSet,
        "payment.removal_set",
        many("removed", LOT_AMOUNT, "What was taken back of each grant, in all"),
    ),
    _period(
        PeriodBilled,
        "subscription.period_billed",
        _paid_by(),
        moment("paid_at", "When it was paid"),
        moment("start", "From when on it pays"),
        many("lines", BILLED_LINE, "What it pays for"),
    ),
)
