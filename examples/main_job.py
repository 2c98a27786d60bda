"""The main job: credits are bought, held for work, spent, given back, and taken back.

A pack is bought at Stripe and another at Polar, work is held for, done and paid for, one deduction
is refunded, a trial runs out, and a part of the Stripe payment is refunded, which takes credits
back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from demo_client import Demo
from statement import statement

TRIAL_SECONDS = 3


def play() -> Demo:
    """Play the job."""
    demo = Demo("acme")
    print(f"The main job, as customer {demo.customer}\n")
    buy(demo)
    work(demo)
    let_a_trial_expire(demo)
    take_a_payment_back(demo)
    statement(demo, entries=10, total=1380)
    return demo


def buy(demo: Demo) -> None:
    """Two packs of 500 credits at Stripe, one of 800 at Polar."""
    print("Buy two packs at Stripe and one at Polar")
    demo.enter_price("stripe", f"price_pack500_{demo.run}", 500, "one_time", "500 credits")
    demo.stripe("stripe.checkout.session.completed")
    demo.wait_for("available after Stripe's purchase", 1000)
    demo.polar("polar.order.paid")
    demo.wait_for("available after Polar's purchase", 1800)


def work(demo: Demo) -> None:
    """A hold, captured in part; a deduction, given back in part."""
    print("Hold 300 for a job, and capture the 120 that it cost")
    customer = f"/v1/customers/{demo.customer}"
    held = demo.command("POST", f"{customer}/holds", amount=300, feature="render")
    demo.check("available while it is held", held["balance"]["available"], 1500)
    captured = demo.command("POST", f"/v1/holds/{held['hold_id']}/capture", amount=120)
    demo.check("released", captured["released"], 180)
    demo.check("available", captured["balance"]["available"], 1680)
    print("Deduct 80, and refund 30 of them")
    deducted = demo.deduct(80, "tokens")
    refunded = demo.command(
        "POST", f"/v1/deductions/{deducted['deduction_id']}/refunds", amount=30, reason="too slow"
    )
    demo.check("back in lots", sum(line["amount"] for line in refunded["to"]), 30)
    demo.check("available", refunded["balance"]["available"], 1630)
    print("Try to spend more than there is")
    refused = demo.command("POST", f"{customer}/deductions", expect=402, amount=9_999)
    demo.check("why", refused["code"], "insufficient_credits")


def let_a_trial_expire(demo: Demo) -> None:
    """A trial grant whose time runs out while we watch."""
    print(f"Grant a trial of 50 that lasts {TRIAL_SECONDS} seconds, and wait")
    expires_at = (datetime.now(UTC) + timedelta(seconds=TRIAL_SECONDS)).isoformat()
    granted = demo.command(
        "POST",
        f"/v1/customers/{demo.customer}/grants",
        amount=50,
        source="trial",
        expires_at=expires_at,
    )
    demo.check("available with the trial", granted["balance"]["available"], 1680)
    demo.wait_for("available once it has expired", 1630, after_position=int(granted["position"]))


def take_a_payment_back(demo: Demo) -> None:
    """A quarter of the Stripe payment is refunded: a quarter of its 1,000 credits goes."""
    print("Stripe refunds a quarter of the payment")
    demo.stripe(
        "stripe.charge.refunded",
        EVENT=f"evt_refund_{demo.run}",
        CHARGE=f"ch_{demo.run}",
        PAYMENT_INTENT=f"pi_{demo.run}",
        STRIPE_BUYER=f"cus_{demo.run}",
        METADATA={"ledger_account": demo.customer, "price_id": f"price_pack500_{demo.run}"},
        AMOUNT=2400,
        REFUNDED=600,
    )
    demo.wait_for("available after the refund", 1380)
    exact = demo.balance(consistency="exact")
    demo.check("the same, answered from the events", exact["available"], 1380)
    (payment,) = demo.ask("/v1/payments", customer_id=demo.customer, provider="stripe")["payments"]
    demo.check("granted by that payment", payment["granted"], 1000)
    demo.check("revoked of it", payment["revoked"], 250)
