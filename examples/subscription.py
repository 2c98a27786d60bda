"""The life of a subscription at Stripe, and a short one at Polar.

At Stripe a month lasts some seconds here, so that its end can be watched: the bodies tell the
period, and the ledger takes it as it is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import polar_subscription
from demo_client import PATIENCE_SECONDS, Demo
from statement import statement
from stripe_subscription import Month, Plan, StripeSubscription

#: The first month is the longer one, because the most happens in it.
MONTHS_SECONDS: Final = (24, 14)

#: The first month began before the demo does, so that what it tells of need not be waited for.
BEGUN_SECONDS: Final = 8


def play() -> Demo:
    """Play the whole life."""
    demo = Demo("tern")
    starter = Plan("Starter", f"price_starter_{demo.run}", 1500, 1000)
    pro = Plan("Pro", f"price_pro_{demo.run}", 4900, 5000)
    start = int(time.time()) - BEGUN_SECONDS
    life = StripeSubscription(demo, starter, Month(start, start + MONTHS_SECONDS[0]))
    print(f"A subscription, as customer {demo.customer}; its months last some seconds\n")
    for plan in (starter, pro):
        demo.enter_price("stripe", plan.price_id, plan.credits, "recurring", plan.name)
    begin(life)
    upgrade(life, pro)
    go_down_and_up(life, starter, pro)
    dispute(life)
    refund_out_of_order(life)
    renew_late(life)
    cancel(life)
    polar_subscription.play(demo)
    end(life)
    show_subscription(life)
    show_payments(life)
    statement(demo, entries=10, total=0)
    return demo


def begin(life: StripeSubscription) -> None:
    """Checkout, subscription, first invoice: only the invoice grants."""
    demo = life.demo
    print("Subscribe to Starter: what is paid for grants, until the period's end")
    life.checkout("first")
    life.report("created", INVOICE=life.object("first"))
    wait_for_status(life, "active")
    demo.check("available before the invoice", demo.balance()["available"], 0)
    life.bill("first", "subscription_create", life.whole())
    demo.wait_for("available after it", 1000)
    demo.check("it expires with the period", demo.balance()["next_expiry"], moment(life.month.end))
    life.tie("first", cents=1500)
    demo.deduct(200, "render")
    demo.wait_for("available after the work", 800)


def upgrade(life: StripeSubscription, pro: Plan) -> None:
    """A larger plan for the rest of the month: the difference of the two is granted."""
    print("Go up to Pro in mid-month: the difference is granted, 5000 − 1000")
    lines = life.change(pro, cents=3000)
    life.report("updated")
    life.bill("upgrade", "subscription_update", *lines)
    life.demo.wait_for("available", 4800)


def go_down_and_up(life: StripeSubscription, starter: Plan, pro: Plan) -> None:
    """Down to the small plan and up again, in a loop: the month was paid for once."""
    demo = life.demo
    print("Go down to Starter and up to Pro again: that mints nothing")
    down = life.change(starter, cents=-1700)
    life.report("updated")
    credit = life.bill("down", "subscription_update", *down)
    demo.wait_for_outcome("the credit invoice", credit, status="ignored", reason="zero_total")
    up = life.change(pro, cents=1700)
    life.report("updated")
    again = life.bill("again", "subscription_update", *up)
    demo.wait_for_outcome("the invoice for going up again", again, status="done")
    demo.wait_for("available, as before", 4800)


def dispute(life: StripeSubscription) -> None:
    """The bank takes the first payment back, and has to return it."""
    demo = life.demo
    print("The bank disputes the first payment: its 1000 credits go, and 200 of them were spent")
    life.dispute("created", "needs_response", "first", cents=1500)
    demo.wait_for("available while it is open", 4000)
    demo.check("debt", demo.balance()["debt"], 200)
    wait_for_payment(life, "first", status="disputed", revoked=1000, disputed=1500)
    print("The dispute is won: they come back")
    life.dispute("closed", "won", "first", cents=1500)
    demo.wait_for("available", 4800)
    demo.check("debt", demo.balance()["debt"], 0)
    wait_for_payment(life, "first", status="paid", revoked=0, disputed=0)


def refund_out_of_order(life: StripeSubscription) -> None:
    """A refund overtakes the news that ties its PaymentIntent to the invoice."""
    demo = life.demo
    print("A quarter of the upgrade is refunded, and the refund comes before its payment")
    refund = life.refund("upgrade", cents=750, of=3000)
    demo.wait_for_outcome("the refund", refund, status="parked", reason="unknown_payment")
    demo.check("available meanwhile", demo.balance()["available"], 4800)
    life.tie("upgrade", cents=3000)
    demo.wait_for("available once the payment has come: a quarter of 4000 is taken", 3800)
    demo.wait_for_outcome("the refund", refund, status="done")


def renew_late(life: StripeSubscription) -> None:
    """The card fails at the renewal, and is charged a little later."""
    demo, ended = life.demo, life.month.end
    left = max(0.0, ended - time.time())
    print(f"The month ends in {left:.0f} seconds; what is left of it expires, and nothing else")
    demo.check("the machine was quick enough to see it end", left > 0, True)
    demo.wait_for("available", 0, patience_seconds=left + PATIENCE_SECONDS)
    print("The renewal fails: past due, and nothing is granted")
    life.month = Month(ended, ended + MONTHS_SECONDS[1])
    life.report("updated", "past_due")
    wait_for_status(life, "past_due")
    demo.check("available", demo.balance()["available"], 0)
    print("The card is charged after all: the new month is granted")
    life.bill("second", "subscription_cycle", life.whole())
    life.report("updated")
    wait_for_status(life, "active")
    demo.wait_for("available", 5000)
    demo.deduct(300, "render")


def cancel(life: StripeSubscription) -> None:
    """Cancelled for the end of the period: until then nothing changes."""
    print("Cancel at the period's end: what was paid for stays")
    life.report("updated", **_canceled(life))
    found = wait_for_status(life, "active", cancel_at_period_end=True)
    life.demo.check("it ends", found["ends_at"], moment(life.month.end))
    life.demo.wait_for("available", 4700)


def end(life: StripeSubscription) -> None:
    """The period ends, and the subscription with it."""
    demo = life.demo
    left = max(0.0, life.month.end - time.time())
    print(f"Back at Stripe, where the period of {demo.customer} ends in {left:.0f} seconds,")
    print("and the subscription with it", flush=True)
    time.sleep(left)
    over = _canceled(life)
    life.report("deleted", "canceled", **over, AT=life.month.end, ENDED_AT=life.month.end)
    wait_for_status(life, "canceled", ended=True)
    demo.wait_for("available", 0)


def show_subscription(life: StripeSubscription) -> None:
    """What `GET /v1/subscriptions` tells: how it stands, and all reports of it."""
    found = told(life)
    print(f"\nSubscription {found['provider_id']}: {found['status']}, with its history\n")
    print(f"  {'as of':<9} {'status':<9} {'price':<23} {'period ends':<12} cancels then")
    for report in found["history"]:
        print(
            f"  {clock(report['as_of']):<9} {report['status']:<9} {report['price_id']:<23}"
            f" {clock(report['current_period_end']):<12} {report['cancel_at_period_end']}"
        )
    print()
    statuses = [report["status"] for report in found["history"]]
    expected = ["active"] * 4 + ["past_due", "active", "active", "canceled"]
    life.demo.check("reports", statuses, expected)


def show_payments(life: StripeSubscription) -> None:
    """What `GET /v1/payments` tells of the subscription's payments."""
    demo = life.demo
    payments = demo.ask("/v1/payments", subscription_id=told(life)["subscription_id"])["payments"]
    print("\nPayments of that subscription\n")
    print(f"  {'invoice':<20} {'status':<19} {'paid':>5} {'refunded':>8}  granted  revoked")
    for payment in reversed(payments):
        print(
            f"  {payment['provider_id']:<20} {payment['status']:<19} {payment['paid']:>5}"
            f" {payment['refunded']:>8} {payment['granted']:>8} {payment['revoked']:>8}"
        )
    print()
    granted = [(payment["granted"], payment["revoked"]) for payment in reversed(payments)]
    demo.check("granted and revoked", granted, [(1000, 0), (4000, 1000), (0, 0), (5000, 0)])


def told(life: StripeSubscription) -> dict[str, Any]:
    """The subscription as the service tells it; empty where it knows of none yet."""
    found = life.demo.ask("/v1/subscriptions", provider="stripe", provider_id=life.id)
    subscription: dict[str, Any] = next(iter(found["subscriptions"]), {})
    return subscription


def wait_for_status(life: StripeSubscription, status: str, **others: Any) -> Mapping[str, Any]:
    """Wait until the subscription stands so."""
    return life.demo.wait_until(
        "the subscription", lambda: told(life), {"status": status, **others}
    )


def wait_for_payment(life: StripeSubscription, invoice: str, **expected: Any) -> None:
    """Wait until the payment of an invoice stands so."""

    def look() -> Mapping[str, Any]:
        page = life.demo.ask("/v1/payments", provider_id=life.object(invoice))["payments"]
        return page[0] if page else {}

    life.demo.wait_until("the payment", look, expected)


def moment(seconds: int) -> str:
    """A moment as the service tells it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def clock(told_at: str) -> str:
    """The time of the day of such a moment."""
    return told_at[11:19]


def _canceled(life: StripeSubscription) -> dict[str, Any]:
    return {
        "CANCEL_AT": life.month.end,
        "CANCEL_AT_PERIOD_END": True,
        "CANCELED_AT": life.month.start,
        "WHY_CANCELED": "cancellation_requested",
    }
