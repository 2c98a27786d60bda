"""What Polar's orders say: what each item pays for, and which of them are not booked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from creditledger.consumers.polar_periods import period_of_order
from creditledger.consumers.reading import Reader
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.provider_commands import LearnedPrice, Period, PurchaseLine
from provider_bodies import POLAR_COLONY, POLAR_NEST, event
from translating import altered, ignored, parking, subject, the_command

CUSTOMER = "3906d812-f705-4112-a3e0-48f7d14d85e5"
PAID = "polar.order.paid.purchase"
RENEWAL = "polar.order.paid.subscription_cycle"
UPGRADE = "polar.order.paid.subscription_update_proration"
REFUND = "polar.refund.created.partial_succeeded"

#: The period of the renewal's subscription, and the rest of it from the first of October on.
START, CHANGE, END = (
    "2026-09-19T10:13:40.300145Z",
    "2026-10-01T10:13:40.300145Z",
    "2026-10-20T10:13:40.300145Z",
)
#: The period before it.
EARLIER = "2026-08-20T10:13:40.300145Z"
USAGE_PRICE = "0d4c9d2e-65a5-4d1c-8f1e-8f6b4f1b7a11"
WORTH = {"credits": 700, "planFamily": "nests", "version": 2}
NEST = LearnedPrice(
    credits=Credits(700), kind="recurring", name="Nest", plan_family="nests", version="2"
)


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def period(start: str, end: str) -> Period:
    return Period(time(start), time(end))


def item(price_id: str | None, amount: int, label: str, **changes: Any) -> dict[str, Any]:
    """One item as Polar sends it."""
    return {
        "created_at": START,
        "modified_at": None,
        "id": "7c1b2f8e-2a52-4b0d-8f52-0a4bd4b3a1c0",
        "label": label,
        "amount": amount,
        "tax_amount": 0,
        "proration": False,
        "product_price_id": price_id,
        "start_timestamp": None,
        "end_timestamp": None,
        **changes,
    }


def change(price_id: str, amount: int, label: str, **changes: Any) -> dict[str, Any]:
    """An item for the rest of the period."""
    rest = {"proration": True, "start_timestamp": CHANGE, "end_timestamp": END}
    return item(price_id, amount, label, **{**rest, **changes})


def used(label: str = "API calls — 1,200 units", **changes: Any) -> dict[str, Any]:
    """An item for what was used in the period before."""
    times = {"start_timestamp": EARLIER, "end_timestamp": START}
    return item(USAGE_PRICE, 900, label, **{**times, **changes})


def renewal(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A renewal with other items, whose product says what it is worth."""
    product = subject(event(RENEWAL))["product"] | {"metadata": WORTH}
    return altered(RENEWAL, **{"items": list(items), "product": product, **fields})


def lines(*items: dict[str, Any], **fields: Any) -> tuple[PurchaseLine, ...]:
    found: tuple[PurchaseLine, ...] = the_command(renewal(*items, **fields)).lines
    return found


class TestOrders:
    @pytest.mark.parametrize("kind", ["order.created", "order.updated", "order.refunded"])
    def test_every_snapshot_of_a_paid_order_says_the_same(self, kind: str) -> None:
        assert the_command(event(PAID) | {"type": kind}) == the_command(event(PAID))

    def test_what_is_not_paid_is_ignored(self) -> None:
        content = altered(PAID, paid=False, status="pending")
        assert ignored(content) == "not_paid"

    def test_what_a_balance_paid_counts(self) -> None:
        command = the_command(altered(PAID, net_amount=1000, applied_balance_amount=200))
        assert command.paid == Money(1200, "USD")

    def test_a_balance_that_is_owed_can_leave_nothing_paid(self) -> None:
        command = the_command(altered(PAID, net_amount=100, applied_balance_amount=-300))
        assert command.paid == Money(0, "USD")

    def test_a_customer_without_our_id_is_known_by_the_providers(self) -> None:
        customer = event(PAID)["data"]["customer"] | {"external_id": None}
        command = the_command(altered(PAID, customer=customer))
        assert (command.customer_id, command.provider_customer_id) == (None, CUSTOMER)

    def test_an_item_without_a_price_is_worth_nothing_by_itself(self) -> None:
        item = event(PAID)["data"]["items"][0] | {"product_price_id": None}
        [line] = the_command(altered(PAID, items=[item])).lines
        assert line.price_id is None

    @pytest.mark.parametrize(
        ("metadata", "credits"),
        [({"credits": 5}, 5), ({"credits": "5"}, 5), ({}, None), (None, None)],
    )
    def test_the_product_may_say_what_it_is_worth(self, metadata: Any, credits: int | None) -> None:
        product = event(PAID)["data"]["product"] | {"metadata": metadata}
        [line] = the_command(altered(PAID, product=product)).lines
        assert (line.learned and line.learned.credits) == credits

    @pytest.mark.parametrize("credits", [1.5, "many", -1, True])
    def test_a_worth_of_another_kind_is_parked(self, credits: object) -> None:
        product = event(PAID)["data"]["product"] | {"metadata": {"credits": credits}}
        assert parking(altered(PAID, product=product))["reason"] == "unknown_value"

    @pytest.mark.parametrize(
        "fields",
        [
            {"billing_reason": "birthday"},
            {"billing_reason": None},
            {"status": "almost"},
            {"paid": "yes"},
            {"net_amount": 15.0},
            {"net_amount": -1},
            {"refunded_amount": None},
            {"currency": "US"},
            {"created_at": "yesterday"},
            {"created_at": "2026-08-11T11:22:02"},
            {"created_at": 1786353695},
            {"modified_at": "0001-01-01T00:00:00+14:00"},
            {"items": None},
            {"items": ["item"]},
            {"id": None},
        ],
    )
    def test_values_of_another_kind_are_parked(self, fields: dict[str, Any]) -> None:
        assert parking(altered(PAID, **fields))["reason"] == "unknown_value"

    def test_a_proration_in_a_purchase_is_parked(self) -> None:
        item = event(PAID)["data"]["items"][0] | {"proration": True}
        assert parking(altered(PAID, items=[item]))["reason"] == "unknown_value"


class TestRecurring:
    @pytest.mark.parametrize(
        "reason", ["subscription_create", "subscription_cycle", "subscription_update"]
    )
    def test_a_plans_item_pays_for_the_period_that_began_with_the_order(self, reason: str) -> None:
        [line] = lines(item(POLAR_NEST, 2100, "Nest"), billing_reason=reason)
        assert line == PurchaseLine(
            price_id=POLAR_NEST, amount=2100, learned=NEST, period=period(START, END)
        )

    def test_an_item_that_says_its_own_time_is_believed(self) -> None:
        [line] = lines(item(POLAR_NEST, 2100, "Nest", start_timestamp=CHANGE, end_timestamp=END))
        assert line.period == period(CHANGE, END)

    @pytest.mark.parametrize("subscription", [None, {}, {"current_period_start": START}])
    def test_without_a_subscription_there_is_no_period(self, subscription: Any) -> None:
        [line] = lines(item(POLAR_NEST, 2100, "Nest"), subscription=subscription)
        assert line.period is None

    @pytest.mark.parametrize("total", [0, -100])
    def test_what_costs_nothing_grants_nothing(self, total: int) -> None:
        content = altered(RENEWAL, total_amount=total, net_amount=0, discount_amount=2100)
        assert ignored(content) == "zero_total"

    def test_a_free_purchase_is_booked(self) -> None:
        command = the_command(altered(PAID, total_amount=0, net_amount=0, tax_amount=0))
        assert command.paid == Money(0, "USD")
        assert command.subscription_id is None

    def test_a_discount_changes_what_is_paid_and_not_what_is_bought(self) -> None:
        command = the_command(
            altered(RENEWAL, discount_amount=600, net_amount=1500, total_amount=1500)
        )
        assert command.paid == Money(1500, "USD")
        assert [line.amount for line in command.lines] == [2100]

    def test_what_a_balance_pays_in_full_is_booked(self) -> None:
        command = the_command(altered(RENEWAL, applied_balance_amount=-2100, due_amount=0))
        assert command.paid == Money(0, "USD")
        assert [line.price_id for line in command.lines] == [POLAR_NEST]

    def test_tax_is_no_part_of_what_is_paid(self) -> None:
        command = the_command(altered(RENEWAL, tax_amount=399, total_amount=2499, currency="jpy"))
        assert command.paid == Money(2100, "JPY")

    def test_one_that_names_no_subscription_is_parked(self) -> None:
        assert parking(altered(RENEWAL, subscription_id=None))["reason"] == "unknown_value"

    def test_seats_and_units_are_counted(self) -> None:
        nest = item(POLAR_NEST, 10500, "Nest (5 seats)")
        assert [line.quantity for line in lines(nest, seats=5)] == [5]
        assert [line.quantity for line in lines(nest, units=3)] == [3]
        [pack] = the_command(altered(PAID, units=4)).lines
        assert pack.quantity == 4


class TestProration:
    def test_a_cycle_may_settle_changes_of_the_period_before(self) -> None:
        found = lines(
            change(POLAR_NEST, -900, "Remaining time on Nest — From Oct 1, 2026"),
            change(POLAR_COLONY, 3000, "Colony — From Oct 1, 2026"),
            item(POLAR_NEST, 2100, "Nest"),
        )
        assert [(line.price_id, line.credited, line.proration) for line in found] == [
            (POLAR_NEST, True, True),
            (POLAR_COLONY, False, True),
            (POLAR_NEST, False, False),
        ]
        assert [line.period for line in found] == [
            period(CHANGE, END),
            period(CHANGE, END),
            period(START, END),
        ]

    def test_the_products_worth_is_that_of_its_own_items_alone(self) -> None:
        found = lines(
            change(POLAR_COLONY, -900, "Remaining time on Colony — From Oct 1, 2026"),
            change("price-of-a-namesake", 300, "Nest Plus — From Oct 1, 2026"),
            change(POLAR_NEST, 3000, "Nest — From Oct 1, 2026"),
            change(POLAR_NEST, -200, "Remaining time on Nest — From Oct 1, 2026"),
        )
        assert [line.learned for line in found] == [None, None, NEST, NEST]

    def test_the_rest_of_a_free_plan_is_given_back_though_its_amount_has_no_sign(self) -> None:
        free, nest = lines(
            change("free", 0, "Remaining time on Free — From Oct 1, 2026 to Oct 20, 2026"),
            change(POLAR_NEST, 0, "Nest — From Oct 1, 2026 to Oct 20, 2026"),
        )
        assert free.credited
        assert not nest.credited

    def test_a_change_that_names_no_time_lies_in_the_period_in_which_it_was_made(self) -> None:
        timeless = change(
            POLAR_NEST, 900, "Nest — From Oct 1", start_timestamp=None, end_timestamp=None
        )
        made = {"billing_reason": "subscription_update", "created_at": "2026-10-18T00:00:00Z"}
        [at_once] = lines(timeless, **made)
        assert at_once.period == period(START, END)
        renewed = subject(event(RENEWAL))["subscription"] | {
            "current_period_start": END,
            "current_period_end": "2026-11-20T10:13:40.300145Z",
        }
        [told_late] = lines(timeless, **made, subscription=renewed)
        assert told_late.period is not None
        assert told_late.period.end == time(END)
        [put_off] = lines(timeless)
        assert put_off.period is None

    def test_a_change_of_seats_gives_the_old_number_back_and_pays_for_the_new(self) -> None:
        label = "Nest (3 → 5 seats) — From Oct 1, 2026 to Oct 20, 2026"
        before, after = lines(change(POLAR_NEST, 2600, label), seats=5)
        assert (before.quantity, before.amount, before.credited) == (3, 0, True)
        assert (after.quantity, after.amount, after.credited) == (5, 2600, False)
        assert before.proration
        assert after.proration
        assert before.period == after.period == period(CHANGE, END)

    def test_fewer_seats_give_back_more_than_they_pay_for(self) -> None:
        label = "Remaining time on Nest (5 → 3 seats) — From Oct 1, 2026 to Oct 20, 2026"
        before, after = lines(change(POLAR_NEST, -2600, label), seats=3)
        assert (before.quantity, before.amount, before.credited) == (5, -2600, True)
        assert (after.quantity, after.amount, after.credited) == (3, 0, False)


class TestUsage:
    def test_what_was_used_is_not_worth_what_the_plan_is(self) -> None:
        plan, usage = lines(item(POLAR_NEST, 2100, "Nest"), used(), seats=5)
        assert plan.learned == NEST
        assert usage == PurchaseLine(
            price_id=USAGE_PRICE, amount=900, period=period(EARLIER, START)
        )

    @pytest.mark.parametrize("label", ["API calls — 1,200 units", "Nest"])
    def test_the_last_bill_of_a_cancelled_plan_is_for_what_was_used(self, label: str) -> None:
        [usage] = lines(used(label), billing_reason="subscription_cycle")
        assert usage.learned is None

    def test_usage_that_names_no_time_is_known_by_its_label(self) -> None:
        [usage] = lines(used(start_timestamp=None, end_timestamp=None))
        assert usage.learned is None

    def test_a_bill_in_the_middle_of_a_period_pays_for_no_plan(self) -> None:
        [usage] = lines(item(POLAR_NEST, 900, "Nest"), billing_reason="subscription_meter_cycle")
        assert (usage.learned, usage.period, usage.quantity) == (None, None, 1)

    def test_a_time_that_ends_with_the_order_is_past(self) -> None:
        made = subject(event(RENEWAL))["created_at"]
        [usage] = lines(item(POLAR_NEST, 900, "Nest", start_timestamp=START, end_timestamp=made))
        assert usage.learned is None

    def test_a_time_that_ends_later_is_not_past(self) -> None:
        [line] = lines(item(POLAR_NEST, 2100, "Nest", start_timestamp=START, end_timestamp=END))
        assert line.learned == NEST


def subscription(interval: Any, count: Any = 1, start: str = START, end: str = END) -> Reader:
    return Reader(
        {
            "current_period_start": start,
            "current_period_end": end,
            "recurring_interval": interval,
            "recurring_interval_count": count,
        }
    )


class TestPeriods:
    @pytest.mark.parametrize(
        "created_at", [START, "2026-09-19T10:13:38Z", "2026-09-19T10:13:43.640010Z", END]
    )
    def test_an_order_is_made_about_when_its_period_begins(self, created_at: str) -> None:
        assert period_of_order(subscription("month"), time(created_at)) == period(START, END)

    @pytest.mark.parametrize(
        ("interval", "count", "created_at", "start", "end"),
        [
            ("month", 1, "2026-08-19T10:13:45Z", "2026-08-19", "2026-09-19"),
            ("month", 1, "2026-07-19T10:13:45Z", "2026-07-19", "2026-08-19"),
            ("month", 3, "2026-03-19T10:13:45Z", "2026-03-19", "2026-06-19"),
            ("year", 1, "2024-09-19T10:13:45Z", "2024-09-19", "2025-09-19"),
            ("week", 2, "2026-08-22T10:13:45Z", "2026-08-22", "2026-09-05"),
            ("day", 1, "2026-09-17T10:13:45Z", "2026-09-17", "2026-09-18"),
        ],
    )
    def test_news_of_an_old_order_names_the_period_of_its_time(
        self, interval: str, count: int, created_at: str, start: str, end: str
    ) -> None:
        clock = START[10:]
        length = {"month": END, "year": "2027" + START[4:], "week": "2026-10-03" + clock}
        current = subscription(interval, count, end=length.get(interval, "2026-09-20" + clock))
        assert period_of_order(current, time(created_at)) == period(start + clock, end + clock)

    @pytest.mark.parametrize(
        ("start", "end", "before"),
        [
            ("2026-03-31T10:00:00Z", "2026-04-30T10:00:00Z", "2026-02-28T10:00:00Z"),
            ("2026-05-31T10:00:00Z", "2026-06-30T10:00:00Z", "2026-04-30T10:00:00Z"),
            ("2026-01-15T10:00:00Z", "2026-02-15T10:00:00Z", "2025-12-15T10:00:00Z"),
        ],
    )
    def test_a_month_before_is_as_long_as_the_calendar_says(
        self, start: str, end: str, before: str
    ) -> None:
        found = period_of_order(subscription("month", start=start, end=end), time(before))
        assert found == period(before, start)

    @pytest.mark.parametrize(
        ("interval", "created_at"),
        [
            ("quarter", "2026-06-19T10:13:45Z"),
            (None, "2026-06-19T10:13:45Z"),
            ("day", "1990-01-01T00:00:00Z"),
            ("year", "0001-01-01T00:00:00Z"),
        ],
    )
    def test_where_it_cannot_be_told_there_is_none(self, interval: Any, created_at: str) -> None:
        assert period_of_order(subscription(interval), time(created_at)) is None

    @pytest.mark.parametrize(
        ("created_at", "of_this_one"),
        [
            ("2026-09-19T10:13:40.300144Z", False),
            ("2026-09-19T10:13:40.300145Z", True),
            ("2026-10-18T00:00:00Z", True),
        ],
    )
    def test_a_change_lies_in_the_period_within_which_it_was_made(
        self, created_at: str, of_this_one: bool
    ) -> None:
        found = period_of_order(subscription("month"), time(created_at), within=True)
        assert (found == period(START, END)) is of_this_one

    def test_of_two_periods_the_one_that_begins_nearer_to_the_order_is_taken(self) -> None:
        middle = time(START) - (time(END) - time(START)) / 2
        assert period_of_order(subscription("month"), middle) == period(START, END)
        earlier = middle - timedelta(microseconds=1)
        found = period_of_order(subscription("month"), earlier)
        assert found is not None
        assert found.end == time(START)

    def test_a_late_snapshot_of_an_order_says_what_the_first_one_said(self) -> None:
        renewed = subject(event(RENEWAL))["subscription"] | {
            "current_period_start": END,
            "current_period_end": "2026-11-20T10:13:40.300145Z",
        }
        late = altered(RENEWAL, subscription=renewed)
        assert the_command(late).lines[0].period.end == time(END)


class TestRefunds:
    def test_a_refund_of_no_order_is_ignored(self) -> None:
        assert ignored(altered(REFUND, order_id=None)) == "no_payment_named"

    @pytest.mark.parametrize("status", ["pending", "succeeded", "failed", "canceled"])
    def test_every_status_is_kept_and_counts_nothing_by_itself(self, status: str) -> None:
        command = the_command(altered(REFUND, status=status))
        assert (command.status, command.counted) == (status, False)

    @pytest.mark.parametrize("status", ["reversed", None, 1])
    def test_an_unknown_status_is_parked(self, status: object) -> None:
        assert parking(altered(REFUND, status=status))["reason"] == "unknown_value"

    def test_a_refund_that_failed_later_is_told_by_the_orders_lower_total(self) -> None:
        lower = altered(
            "polar.order.refunded.partial",
            refunded_amount=0,
            status="paid",
            modified_at="2026-08-20T10:13:40Z",
        ) | {"type": "order.updated"}
        total = the_command(lower).refund_total
        assert (total.amount, total.as_of) == (0, time("2026-08-20T10:13:40Z"))
