"""What the providers tell, story by story, each in the order in which it happened."""

from __future__ import annotations

import json
from typing import Any, Final

from body_story import Body, altered, told

SESSION = "stripe.checkout.session.completed.payment_paid"
INTENT = "stripe.payment_intent.succeeded.pack"
SUBSCRIPTION_INTENT = "pi_2aRWtXU8F76bruD1uEovgT3v"
INVOICE = "stripe.invoice.paid.subscription_create"
PRORATION = "stripe.invoice.paid.subscription_update_proration"
REFUND = "stripe.refund.created.partial"
PACK_ID = "pi_8kIJbT1rN7biotKnxdcLFdQT"


def as_type(body: Body, kind: str) -> Body:
    """The same object, told by another type of event."""
    return Body(f"{body.name} as {kind}", json.dumps({**json.loads(body.text), "type": kind}))


def at_noon(body: Body, day: int, **fields: Any) -> Body:
    """An invoice that was paid on another day of its period, by another name."""
    content = json.loads(body.text)
    content["data"]["object"].update(fields)
    content["data"]["object"]["status_transitions"]["paid_at"] += day * 86_400
    return Body(f"{body.name} {fields}", json.dumps(content))


PACK: Final = (
    told("stripe.customer.created.linked"),
    told("stripe.product.created.pack"),
    told("stripe.product.updated.renamed"),
    told("stripe.price.created.one_time_metadata"),
    told(INTENT),
    told(SESSION),
    told(REFUND),
    told("stripe.charge.refunded.partial"),
    told("stripe.refund.updated.reference_available"),
    told("stripe.charge.refunded.full"),
    altered(REFUND, id="re_Rest", amount=1050),
)

#: The second refund fails after all, long after the charge told of it.
PACK_REFUND_FAILED: Final = (*PACK, as_type(altered(REFUND, id="re_Rest", amount=1050,
    status="failed"), "refund.failed"))  # fmt: skip

BANK_DEBIT: Final = (
    told("stripe.customer.updated.metadata_added"),
    told("stripe.checkout.session.completed.payment_unpaid_async"),
    told("stripe.checkout.session.async_payment_succeeded.bank_debit"),
    told("stripe.charge.dispute.created.fraudulent"),
    altered("stripe.charge.dispute.created.fraudulent", {"type": "charge.dispute.updated"},
            status="under_review"),
)  # fmt: skip
DISPUTE_WON: Final = (*BANK_DEBIT, told("stripe.charge.dispute.closed.won"))
DISPUTE_LOST: Final = (*BANK_DEBIT, told("stripe.charge.dispute.closed.lost"))
INQUIRY: Final = (
    *BANK_DEBIT[:3],
    altered("stripe.charge.dispute.created.fraudulent", status="warning_needs_response"),
    altered("stripe.charge.dispute.closed.won", status="warning_closed"),
)

#: Nobody says whose the customer is but its own record.
LATE_LINK: Final = (
    altered("stripe.checkout.session.async_payment_succeeded.bank_debit",
            metadata={"price_id": "price_7LzVhUEOi64ioZzRvaVOjchW"}, client_reference_id=None),
    told("stripe.customer.updated.metadata_added"),
    told("stripe.charge.dispute.created.fraudulent"),
)  # fmt: skip

SUBSCRIPTION: Final = (
    told("stripe.customer.subscription.created.active"),
    told("stripe.checkout.session.completed.subscription"),
    told(INVOICE),
    as_type(told(INVOICE), "invoice.payment_succeeded"),
    told("stripe.invoice_payment.paid.subscription_create"),
    altered("stripe.charge.refunded.partial", id="ch_Sub", payment_intent=SUBSCRIPTION_INTENT,
            amount=1300, amount_refunded=650),
    told("stripe.invoice.paid.subscription_cycle"),
    told("stripe.customer.subscription.updated.upgrade"),
    told(PRORATION),
    told("stripe.invoice.payment_failed.renewal"),
    told("stripe.customer.subscription.updated.cancel_at_period_end"),
    told("stripe.customer.subscription.deleted.period_end"),
)  # fmt: skip

#: Up and down between two plans, billed each time, and the first change disputed.
UP_AND_DOWN: Final = (
    told("stripe.customer.created.linked"),
    told("stripe.invoice.paid.subscription_cycle"),
    told(PRORATION),
    at_noon(told(PRORATION), 3, id="in_SecondChange"),
    at_noon(told(PRORATION), 5, id="in_ThirdChange"),
    altered("stripe.invoice_payment.paid.subscription_create",
            invoice="in_49rw4sWfhZAy4QbgVkjJijiJ",
            payment={"type": "payment_intent", "payment_intent": "pi_Change"}),
    altered("stripe.charge.dispute.created.fraudulent", payment_intent="pi_Change", amount=2100),
)  # fmt: skip

ORDER: Final = (
    told("polar.customer.created.with_external_id"),
    told("polar.customer.updated.billing"),
    as_type(told("polar.order.paid.purchase"), "order.created"),
    as_type(told("polar.order.paid.purchase"), "order.updated"),
    told("polar.order.paid.purchase"),
    told("polar.refund.created.partial_succeeded"),
    told("polar.order.refunded.partial"),
    told("polar.refund.updated.pending_to_succeeded"),
    told("polar.order.refunded.full"),
)

#: The second refund fails: only an order.updated with the lower total tells of it.
ORDER_REFUND_FAILED: Final = (
    *ORDER,
    altered("polar.order.refunded.partial", {"type": "order.updated",
            "timestamp": "2026-08-25T10:00:00Z"}, modified_at="2026-08-25T09:59:59Z"),
)  # fmt: skip

POLAR_SUBSCRIPTION: Final = (
    told("polar.product.created.plan"),
    told("polar.product.updated.price_changed"),
    told("polar.subscription.created.incomplete"),
    told("polar.subscription.active.first_payment"),
    told("polar.order.paid.subscription_create"),
    told("polar.benefit_grant.created.meter_credit"),
    told("polar.subscription.cycled.renewal"),
    told("polar.order.created.pending_renewal"),
    told("polar.order.updated.paid"),
    told("polar.order.paid.subscription_cycle"),
    told("polar.subscription.updated.plan_change"),
    told("polar.order.paid.subscription_update_proration"),
    told("polar.subscription.past_due.renewal_failed"),
    told("polar.subscription.canceled.at_period_end"),
    told("polar.subscription.uncanceled.changed_mind"),
    told("polar.subscription.revoked.period_end"),
)

STORIES: Final = {
    "a pack, refunded": PACK,
    "a refund that fails": PACK_REFUND_FAILED,
    "a bank debit, its dispute won": DISPUTE_WON,
    "a bank debit, its dispute lost": DISPUTE_LOST,
    "an inquiry": INQUIRY,
    "a late link": LATE_LINK,
    "a subscription": SUBSCRIPTION,
    "up and down": UP_AND_DOWN,
    "an order, refunded": ORDER,
    "an order's refund that fails": ORDER_REFUND_FAILED,
    "a subscription at Polar": POLAR_SUBSCRIPTION,
}
