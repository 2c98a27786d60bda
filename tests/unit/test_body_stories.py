"""Whatever the order of the news, the end is the same: what is true at the provider.

Each story is told in its natural order, and in every other that Hypothesis thinks of, with
repetitions, with other stories in between, and with spending. Each time, the log that came of it
is proved as `creditledger verify` proves it.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from body_story import LATE, MID_PERIOD, Body, NewsDesk, altered, told
from creditledger.domain.amounts import Credits
from creditledger.domain.commands import DeductCredits
from provider_bodies import PLANS, PLOVER, TERN

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

#: What the natural order comes to: the customer, what it can spend, and the payments' states.
ENDINGS: Final = {
    "a pack, refunded": (TERN, 0, ["refunded"]),
    "a refund that fails": (TERN, 450, ["partially_refunded"]),
    "a bank debit, its dispute won": (PLOVER, 2000, ["paid"]),
    "a bank debit, its dispute lost": (PLOVER, 0, ["charged_back"]),
    "an inquiry": (PLOVER, 2000, ["paid"]),
    "a late link": (PLOVER, 0, ["disputed"]),
    "a subscription": (TERN, 3000, ["paid", "paid", "partially_refunded"]),
    "up and down": (TERN, 700, ["disputed", "paid", "paid", "paid"]),
    "an order, refunded": (TERN, 0, ["refunded"]),
    "an order's refund that fails": (TERN, 400, ["partially_refunded"]),
    "a subscription at Polar": (TERN, 3600, ["paid", "paid", "paid"]),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_natural_order_comes_to_what_is_true(name: str) -> None:
    customer, available, statuses = ENDINGS[name]
    desk = NewsDesk(STORIES[name])
    assert desk.balance(customer_id=customer).available == available
    assert sorted(payment[2] for payment in desk.ending()["payments"]) == statuses
    assert desk.parked == []


@pytest.mark.parametrize("now", [MID_PERIOD, LATE], ids=["mid-period", "late"])
@pytest.mark.parametrize("name", STORIES)
@given(data=st.data())
def test_every_order_with_repetitions_ends_the_same(
    name: str, now: Any, data: st.DataObject
) -> None:
    story = STORIES[name]
    order = data.draw(st.permutations(story))
    again = data.draw(st.lists(st.sampled_from(story), max_size=4))
    assert NewsDesk([*order, *again], now=now).ending() == natural(name, now)


_NATURAL: dict[tuple[str, Any], Any] = {}


def natural(name: str, now: Any) -> Any:
    """What the natural order of a story comes to."""
    if (name, now) not in _NATURAL:
        _NATURAL[name, now] = NewsDesk(STORIES[name], now=now).ending()
    return _NATURAL[name, now]


@given(
    st.sets(st.sampled_from(sorted(STORIES)), min_size=2, max_size=3),
    st.randoms(use_true_random=False),
)
def test_stories_in_between_each_other_end_the_same(names: set[str], random: Any) -> None:
    bodies = [body for name in sorted(names) for body in STORIES[name]]
    ending = NewsDesk(bodies).ending()
    random.shuffle(bodies)
    assert NewsDesk(bodies).ending() == ending


@pytest.mark.parametrize("name", STORIES)
@given(data=st.data())
def test_with_spending_in_between_each_payment_nets_the_same(
    name: str, data: st.DataObject
) -> None:
    customer = ENDINGS[name][0]
    desk = NewsDesk(())
    for body in data.draw(st.permutations(STORIES[name])):
        desk.deliver(body)
        available = desk.balance(customer_id=customer).available
        if available and data.draw(st.booleans()):
            amount = Credits(data.draw(st.integers(1, available)))
            desk.tell(DeductCredits(customer_id=customer, amount=amount))
    undisturbed = NewsDesk(STORIES[name])
    assert desk.net() == undisturbed.net()
    assert desk.ending()["payments"] == undisturbed.ending()["payments"]


LEARNING: Final = tuple(
    body for body in PACK if "price.created" in body.name or PACK_ID in body.text
)


@given(st.permutations(LEARNING))
def test_what_was_bought_before_its_price_was_known_is_granted_in_the_end(
    order: list[Body],
) -> None:
    ending = NewsDesk(order, known=PLANS).ending()
    assert ending["payments"] == natural("a pack, refunded", MID_PERIOD)["payments"]
    assert ending["parked"] == []
