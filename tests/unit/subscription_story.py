"""A subscription's whole life as commands, in the order in which it happened.

Starter is begun on the first day, upgraded to Pro, and downgraded again; a refund and a dispute
follow, and the end. With it goes what the catalogue tells of its plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from creditledger.domain.amounts import Credits
from creditledger.domain.commands import Command
from creditledger.domain.provider_commands import (
    LearnedPrice,
    Period,
    ReportPrice,
    ReportProduct,
    ReportSubscription,
    SubscriptionState,
)
from plan_story import (
    BEGIN,
    END,
    MONTH,
    NEXT_MONTH,
    begun,
    bill,
    dispute,
    refunded,
    returned,
    tied,
    whole,
)
from purchase_story import CUSTOMER


def report(
    status: str,
    day: int,
    *,
    name: str = "sub_Kestrel",
    customer_id: str | None = CUSTOMER,
    plan: str = "starter",
    period: Period = MONTH,
    **state: Any,
) -> ReportSubscription:
    """How a subscription stood on the period's `day`."""
    fields: dict[str, Any] = {
        "status": status,
        "price_id": plan,
        "quantity": 1,
        "cancel_at_period_end": False,
        "current_period": period,
        "started_at": BEGIN,
    }
    return ReportSubscription(
        provider="stripe",
        subscription_id=name,
        provider_customer_id=f"cus_{name}",
        customer_id=customer_id,
        state=SubscriptionState(**{**fields, **state}),
        as_of=BEGIN + timedelta(days=day),
    )


def product(
    name: str | None, day: int, *, product_id: str = "prod_Plans", active: bool = True
) -> ReportProduct:
    """A product of the catalogue, as it stood on the period's `day`."""
    return ReportProduct(
        provider="stripe",
        product_id=product_id,
        name=name,
        active=active,
        plan_family="plans",
        version="2",
        as_of=BEGIN + timedelta(days=day),
    )


def price(
    price_id: str, credits: int | None, day: int, *, active: bool = True, **learned: Any
) -> ReportPrice:
    """A price of the catalogue, as it stood on the period's `day`."""
    worth = None
    if credits is not None:
        worth = LearnedPrice(credits=Credits(credits), kind="recurring", **learned)
    return ReportPrice(
        provider="stripe",
        price_id=price_id,
        product_id="prod_Plans",
        active=active,
        learned=worth,
        as_of=BEGIN + timedelta(days=day),
    )


def life(name: str = "Kestrel", customer_id: str = CUSTOMER) -> Sequence[Command]:
    """All news of one subscription, oldest first."""
    whose: dict[str, Any] = {
        "customer_id": customer_id,
        "provider_customer_id": f"cus_sub_{name}",
        "subscription_id": f"sub_{name}",
    }
    told: dict[str, Any] = {"name": f"sub_{name}", "customer_id": customer_id}

    def paid(invoice: int, day: int, *lines: Any) -> Sequence[Command]:
        named = f"in_{name}_{invoice}"
        return (
            bill(named, day, *lines, **whose),
            tied(f"pi_{name}_{invoice}", named),
        )

    return (
        product("Plans", 0, product_id=f"prod_{name}"),
        price(f"price_{name}", None, 0),
        report("incomplete", 0, **told),
        *paid(1, 0, whole("starter")),
        report("active", 0, **told),
        price(f"price_{name}", 700, 1, name="Seven hundred", plan_family="plans", version="1"),
        *paid(2, 3, returned("starter", 3), begun("pro", 3)),
        report("active", 3, plan="pro", **told),
        *paid(3, 6, returned("pro", 6), begun("starter", 6)),
        report("active", 6, pending_product_id="prod_Plans", **told),
        *paid(4, 8, returned("starter", 8), begun("team", 8)),
        report("active", 8, plan="team", quantity=2, trial_ends_at=BEGIN, **told),
        refunded(f"pi_{name}_2", 300),
        dispute(f"pi_{name}_1", "inquiry", 9, dispute_id=f"dp_{name}_1"),
        dispute(f"pi_{name}_1", "open", 10, dispute_id=f"dp_{name}_1", status="needs_response"),
        dispute(f"pi_{name}_4", "open", 10, dispute_id=f"dp_{name}_2"),
        report("past_due", 10, plan="team", **told),
        dispute(f"pi_{name}_4", "won", 11, dispute_id=f"dp_{name}_2"),
        dispute(f"pi_{name}_1", "lost", 12, dispute_id=f"dp_{name}_1"),
        report("active", 12, plan="team", cancel_at_period_end=True, ends_at=END, **told),
        *paid(5, 14, whole("starter", NEXT_MONTH)),
        product("Our plans", 14, product_id=f"prod_{name}", active=False),
        price(f"price_{name}", 700, 14, active=False, name="Seven hundred", version="1"),
        report(
            "canceled",
            14,
            plan="team",
            period=NEXT_MONTH,
            ended=True,
            ended_at=END,
            **told,
        ),
    )
