"""A subscription at Polar, briefly: it begins, goes up, and is cancelled for the period's end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from demo_client import Demo


def play(beside: Demo) -> None:
    """Play it with another customer; what is sent and what is wrong counts with that beside."""
    demo = Demo("wren")
    print(f"Meanwhile, a subscription at Polar, as customer {demo.customer}")
    basic, team = _price(demo, 1), _price(demo, 2)
    demo.enter_price("polar", basic, 1000, "recurring", "Basic")
    demo.enter_price("polar", team, 4000, "recurring", "Team")
    now = datetime.now(UTC)
    start, end = now - timedelta(days=10), now + timedelta(days=20)
    period = {"START": start.isoformat(), "END": end.isoformat()}
    whole = {"PRORATION": False, "START": None, "END": None}
    rest = {"PRORATION": True, "START": now.isoformat(), "END": end.isoformat()}

    state = {**period, "STATUS": "active", "PRICE": basic, "PLAN": "Basic", "AMOUNT": 1000}
    _report(demo, "active", start, state)
    basic_month = {**whole, "LABEL": "Basic", "PRICE": basic, "AMOUNT": 1000}
    _order(demo, 1, "subscription_create", start, state, basic_month)
    demo.wait_for("available", 1000)

    state |= {"PRICE": team, "PLAN": "Team", "AMOUNT": 4500}
    _report(demo, "updated", now, state)
    back = {**rest, "LABEL": "Remaining time on Basic", "PRICE": basic, "AMOUNT": -666}
    begun = {**rest, "LABEL": "Team", "PRICE": team, "AMOUNT": 3000}
    _order(demo, 2, "subscription_update", now, state, back, begun)
    demo.wait_for("available after going up: 4000 − 1000 are granted", 4000)

    print("Cancel there, too, for the end of a period that lasts 20 more days: all stays till then")
    ending = {"CANCEL_AT_PERIOD_END": True, "ENDS_AT": end.isoformat(), "CANCELED_AT": _now()}
    _report(demo, "canceled", datetime.now(UTC), {**state, **ending})
    expected = {"status": "active", "cancel_at_period_end": True}
    found = demo.wait_until("the subscription", lambda: _told(demo), expected)
    demo.check("it ends", found["ends_at"], f"{end:%Y-%m-%dT%H:%M:%S.%fZ}")
    demo.wait_for("available", 4000)
    beside.wrong += demo.wrong
    beside.deliveries += demo.deliveries


def _report(demo: Demo, what: str, at: datetime, state: dict[str, Any]) -> None:
    continues = {"CANCEL_AT_PERIOD_END": False, "ENDS_AT": None, "CANCELED_AT": None}
    values = {"TYPE": f"subscription.{what}", "AT": at.isoformat(), "PRODUCT": _product(state)}
    demo.polar("polar.subscription", **{**continues, **values, **state})


def _order(
    demo: Demo,
    number: int,
    reason: str,
    at: datetime,
    state: dict[str, Any],
    *lines: dict[str, Any],
) -> None:
    items = _items(demo, number, *lines)
    demo.polar(
        "polar.order.paid.subscription",
        **state,
        ORDER=f"00000000-0000-4000-802{number}-0000{demo.run}",
        NUMBER=f"{demo.run.upper()}-{number}",
        REASON=reason,
        AT=at.isoformat(),
        PRODUCT=_product(state),
        ITEMS=items,
        TOTAL=sum(item["amount"] for item in items),
    )


def _items(demo: Demo, order: int, *items: dict[str, Any]) -> list[Any]:
    return [
        demo.body(
            "polar.order.item",
            **item,
            ITEM=f"00000000-0000-4000-803{order}-{number:04}{demo.run}",
            AT=_now(),
        )
        for number, item in enumerate(items)
    ]


def _told(demo: Demo) -> Mapping[str, Any]:
    page = demo.ask("/v1/subscriptions", customer_id=demo.customer)["subscriptions"]
    return page[0] if page else {}


def _price(demo: Demo, number: int) -> str:
    return f"00000000-0000-4000-804{number}-0000{demo.run}"


def _product(state: dict[str, Any]) -> str:
    """Each price has a product of its own."""
    return str(state["PRICE"]).replace("-804", "-805")


def _now() -> str:
    return datetime.now(UTC).isoformat()
