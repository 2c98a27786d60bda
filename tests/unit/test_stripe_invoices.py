"""What Stripe's invoices say: what each line pays for, and which of them are not booked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from creditledger.domain.amounts import CREDITS_MAX, Credits, Money
from creditledger.domain.provider_commands import (
    LearnedPrice,
    Period,
    PurchaseLine,
    RecordPurchase,
)
from provider_bodies import STRIPE_FLOCK, STRIPE_NEST, event
from translating import altered, ignored, parking, subject, the_command, told

FIRST = "stripe.invoice.paid.subscription_create"
RENEWAL = "stripe.invoice.paid.subscription_cycle"
UPGRADE = "stripe.invoice.paid.subscription_update_proration"
PAYMENT = "stripe.invoice_payment.paid.subscription_create"

#: The period before the renewal, as the first invoice's line has it, and the one that begins then.
BEFORE = (1786786020, 1789378020)
NOW = (1789378020, 1792056420)


def month(period: tuple[int, int]) -> Period:
    start, end = period
    return Period(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))


def line(
    price: Any,
    amount: int,
    *,
    period: tuple[int, int] = NOW,
    quantity: int | None = 1,
    proration: bool = False,
    source: str = "subscription_item_details",
    description: str | None = None,
    credited_items: Any = None,
) -> dict[str, Any]:
    """One line as Stripe sends it."""
    details = {
        "proration": proration,
        "proration_details": {"credited_items": credited_items},
        "subscription": None,
    }
    sources = {"invoice_item_details": None, "subscription_item_details": None}
    return {
        "id": "il_1",
        "object": "line_item",
        "amount": amount,
        "currency": "usd",
        "description": description,
        "parent": {**sources, source: details, "type": source},
        "period": {"start": period[0], "end": period[1]},
        "pricing": {
            "type": "price_details",
            "price_details": {"price": price, "product": "prod_1"},
        },
        "quantity": quantity,
    }


def invoice(*lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A renewal with other lines."""
    total = sum(line["amount"] for line in lines)
    listed = {"object": "list", "data": list(lines), "has_more": False}
    return altered(RENEWAL, **{"total": total, "amount_paid": total, "lines": listed, **fields})


def lines(*told_lines: dict[str, Any], **fields: Any) -> tuple[PurchaseLine, ...]:
    found: tuple[PurchaseLine, ...] = the_command(invoice(*told_lines, **fields)).lines
    return found


GIVEN_BACK = {"invoice": "in_1", "invoice_line_items": ["il_0"]}


class TestLines:
    def test_a_cycle_may_settle_changes_of_the_period_before(self) -> None:
        assert lines(
            line(STRIPE_NEST, -650, period=BEFORE, proration=True, credited_items=GIVEN_BACK),
            line(STRIPE_FLOCK, 2200, period=BEFORE, proration=True),
            line(STRIPE_FLOCK, 4400),
        ) == (
            PurchaseLine(
                price_id=STRIPE_NEST,
                amount=-650,
                period=month(BEFORE),
                proration=True,
                credited=True,
            ),
            PurchaseLine(price_id=STRIPE_FLOCK, amount=2200, period=month(BEFORE), proration=True),
            PurchaseLine(price_id=STRIPE_FLOCK, amount=4400, period=month(NOW)),
        )

    def test_up_and_down_in_a_loop_is_told_line_by_line(self) -> None:
        told_lines = [
            line(STRIPE_NEST, -650, proration=True, credited_items=GIVEN_BACK),
            line(STRIPE_FLOCK, 2200, proration=True),
        ] * 3 + [
            line(STRIPE_FLOCK, -2000, proration=True, credited_items=GIVEN_BACK),
            line(STRIPE_NEST, 600, proration=True),
        ] * 2
        found = lines(*told_lines)
        assert [(one.price_id, one.credited) for one in found] == [
            (STRIPE_NEST, True),
            (STRIPE_FLOCK, False),
        ] * 3 + [(STRIPE_FLOCK, True), (STRIPE_NEST, False)] * 2
        assert all(one.proration for one in found)

    @pytest.mark.parametrize(
        ("credited_items", "description"),
        [(GIVEN_BACK, None), (None, "Unused time on Free after 24 Sep 2026")],
    )
    def test_the_rest_of_a_free_plan_is_given_back_though_its_amount_has_no_sign(
        self, credited_items: Any, description: str | None
    ) -> None:
        free, flock = lines(
            line(
                "price_free",
                0,
                proration=True,
                credited_items=credited_items,
                description=description,
            ),
            line(STRIPE_FLOCK, 2200, proration=True),
        )
        assert free.credited
        assert not flock.credited

    def test_the_rest_of_a_period_on_a_free_plan_is_not_given_back(self) -> None:
        _, free = lines(
            line(STRIPE_FLOCK, 2200),
            line("price_free", 0, proration=True, description="Remaining time on Free"),
        )
        assert free.proration
        assert not free.credited

    def test_the_sign_of_an_amount_goes_before_its_description(self) -> None:
        described = "Unused time on Nest after 24 Sep 2026"
        [found] = lines(line(STRIPE_NEST, 650, proration=True, description=described))
        assert not found.credited

    def test_a_change_of_seats_keeps_both_numbers(self) -> None:
        found = lines(
            line(STRIPE_NEST, -1950, quantity=3, proration=True, credited_items=GIVEN_BACK),
            line(STRIPE_NEST, 3250, quantity=5, proration=True),
        )
        assert [(one.quantity, one.credited) for one in found] == [(3, True), (5, False)]

    def test_a_subscription_may_have_several_items(self) -> None:
        found = lines(line(STRIPE_NEST, 1300), line("price_addon", 500, quantity=4))
        assert [(one.price_id, one.quantity) for one in found] == [
            (STRIPE_NEST, 1),
            ("price_addon", 4),
        ]

    def test_what_is_bought_once_on_the_way_has_no_period(self) -> None:
        moment = (1789000000, 1789000000)
        pack = line("price_pack", 700, period=moment, source="invoice_item_details")
        _, found = lines(line(STRIPE_NEST, 1300), pack)
        assert found == PurchaseLine(price_id="price_pack", amount=700)

    def test_an_invoice_item_may_be_a_proration(self) -> None:
        credit = line(STRIPE_NEST, -650, proration=True, source="invoice_item_details")
        found, _ = lines(credit, line(STRIPE_FLOCK, 2200))
        assert found.proration
        assert found.credited

    @pytest.mark.parametrize(
        "change",
        [
            {"pricing": None},
            {"pricing": {"price_details": None}},
            {"pricing": {"price_details": {"price": None}}},
        ],
    )
    def test_a_line_without_a_price_is_worth_nothing_by_itself(
        self, change: dict[str, Any]
    ) -> None:
        _, found = lines(line(STRIPE_NEST, 1300), line("price_1", 200) | change)
        assert found.price_id is None

    def test_a_price_that_stands_there_in_full_tells_what_it_is_worth(self) -> None:
        full = {
            "id": "price_1",
            "object": "price",
            "metadata": {"credits": "50", "internalId": "nest-2", "version": "2"},
            "nickname": "Fifty",
            "recurring": {"interval": "month", "usage_type": "licensed"},
        }
        [found] = lines(line(full, 1300))
        assert found.price_id == "price_1"
        assert found.learned == LearnedPrice(
            credits=Credits(50), kind="recurring", name="Fifty", version="2", internal_id="nest-2"
        )

    @pytest.mark.parametrize("change", [{"parent": None}, {"period": None}, {"quantity": None}])
    def test_nulls_say_nothing(self, change: dict[str, Any]) -> None:
        [found] = lines(line(STRIPE_NEST, 1300) | change)
        assert (found.price_id, found.quantity, found.proration) == (STRIPE_NEST, 1, False)

    @pytest.mark.parametrize(
        "change",
        [
            {"amount": None},
            {"amount": "1300"},
            {"amount": CREDITS_MAX + 1},
            {"quantity": -1},
            {"quantity": 1.5},
            {"quantity": CREDITS_MAX + 1},
            {"period": {"start": 0, "end": 10**12}},
            {"period": {"start": 0}},
            {"period": "month"},
            {"parent": {"subscription_item_details": {"proration": "yes"}}},
            {"pricing": {"price_details": {"price": "price\x00"}}},
            {"pricing": {"price_details": {"price": "price_\ud800"}}},
            {"pricing": {"price_details": {"price": "x" * 256}}},
        ],
    )
    def test_values_of_another_kind_are_parked(self, change: dict[str, Any]) -> None:
        first = line(STRIPE_NEST, 1300)
        content = invoice(first)
        subject(content)["lines"]["data"] = [first | change]
        assert parking(content)["reason"] == "unknown_value"

    def test_a_body_that_holds_only_the_first_lines_leaves_them_to_be_asked_for(self) -> None:
        content = invoice(line(STRIPE_NEST, 1300))
        subject(content)["lines"]["has_more"] = True
        found = told(content)
        [command] = found.commands
        assert isinstance(command, RecordPurchase)
        assert found.lines_of == command.provider_id == subject(content)["id"]
        assert command.lines is None

    def test_a_body_that_holds_all_lines_asks_for_none(self) -> None:
        assert told(event(RENEWAL)).lines_of is None


class TestInvoices:
    def test_both_types_say_the_same(self) -> None:
        again = event(FIRST) | {
            "id": "evt_other",
            "type": "invoice.payment_succeeded",
            "created": event(FIRST)["created"] + 3,
        }
        assert the_command(again) == the_command(event(FIRST))

    @pytest.mark.parametrize("total", [0, -881])
    def test_what_costs_nothing_grants_nothing(self, total: int) -> None:
        assert ignored(altered(RENEWAL, total=total, amount_paid=0)) == "zero_total"

    def test_what_the_customers_balance_paid_is_booked(self) -> None:
        command = the_command(altered(RENEWAL, amount_paid=0))
        assert command.paid == Money(0, "USD")
        assert [one.price_id for one in command.lines] == [STRIPE_NEST]

    def test_a_currency_without_cents_is_told_as_it_is(self) -> None:
        command = the_command(altered(RENEWAL, currency="jpy", amount_paid=1900, total=1900))
        assert command.paid == Money(1900, "JPY")

    @pytest.mark.parametrize("parent", [None, {"quote_details": None, "type": "quote_details"}])
    def test_an_invoice_of_no_subscription_is_somebody_elses_to_tell(self, parent: Any) -> None:
        pack = line("price_pack", 700, source="invoice_item_details")
        content = invoice(pack, billing_reason="manual", parent=parent)
        assert ignored(content) == "no_subscription_named"

    def test_an_invoice_of_a_quote_names_its_subscription_in_its_lines(self) -> None:
        first = line(STRIPE_NEST, 1300)
        first["parent"]["subscription_item_details"]["subscription"] = "sub_quoted"
        parent = {"quote_details": {"quote": "qt_1"}, "subscription_details": None}
        command = the_command(invoice(first, billing_reason="quote_accept", parent=parent))
        assert command.subscription_id == "sub_quoted"
        assert command.customer_id is None

    @pytest.mark.parametrize(
        ("told_metadata", "own_metadata", "owner"),
        [
            ({"ledger_account": "org_a"}, {"ledger_account": "org_b"}, "org_a"),
            ({}, {"ledger_account": "org_b"}, "org_b"),
            (None, None, None),
            ({}, {}, None),
        ],
    )
    def test_the_subscription_names_the_owner(
        self, told_metadata: Any, own_metadata: Any, owner: str | None
    ) -> None:
        content = altered(RENEWAL, metadata=own_metadata)
        subject(content)["parent"]["subscription_details"]["metadata"] = told_metadata
        assert the_command(content).customer_id == owner

    def test_without_a_time_of_its_own_the_events_time_counts(self) -> None:
        command = the_command(altered(RENEWAL, status_transitions={"paid_at": None}))
        assert command.paid_at.timestamp() == event(RENEWAL)["created"]

    def test_what_is_expanded_is_read_by_its_id(self) -> None:
        content = altered(RENEWAL, customer={"id": "cus_1", "object": "customer"})
        details = subject(content)["parent"]["subscription_details"]
        details["subscription"] = {"id": "sub_1", "object": "subscription"}
        command = the_command(content)
        assert (command.provider_customer_id, command.subscription_id) == ("cus_1", "sub_1")

    @pytest.mark.parametrize(
        "reason",
        [
            "automatic_pending_invoice_item_invoice",
            "manual",
            "quote_accept",
            "subscription",
            "subscription_create",
            "subscription_cycle",
            "subscription_threshold",
            "subscription_update",
            "upcoming",
        ],
    )
    def test_every_reason_that_stripe_lists_is_known(self, reason: str) -> None:
        assert the_command(altered(RENEWAL, billing_reason=reason))

    @pytest.mark.parametrize("reason", ["subscription_pause", "", None, 4])
    def test_a_reason_that_is_not_known_is_parked(self, reason: object) -> None:
        parked = parking(altered(RENEWAL, billing_reason=reason))
        assert parked["reason"] == "unknown_value"
        assert "billing_reason" in parked["detail"]

    @pytest.mark.parametrize("status", ["draft", "open", "void", "uncollectible"])
    def test_what_is_paid_in_part_is_not_paid(self, status: str) -> None:
        assert ignored(altered(RENEWAL, status=status)) == "not_paid"

    @pytest.mark.parametrize(
        "fields",
        [
            {"status": "settled"},
            {"total": None},
            {"amount_paid": -1},
            {"amount_paid": CREDITS_MAX + 1},
            {"currency": "dollars"},
            {"lines": None},
            {"lines": {"data": None}},
            {"lines": {"data": ["il_1"]}},
            {"id": None},
            {"parent": "subscription"},
        ],
    )
    def test_values_of_another_kind_are_parked(self, fields: dict[str, Any]) -> None:
        assert parking(altered(RENEWAL, **fields))["reason"] == "unknown_value"


class TestPayments:
    @pytest.mark.parametrize(
        ("payment", "paid_by"),
        [
            ({"type": "payment_intent", "payment_intent": "pi_1"}, "pi_1"),
            ({"type": "payment_intent", "payment_intent": {"id": "pi_1"}}, "pi_1"),
            ({"type": "charge", "charge": "ch_1", "payment_intent": None}, "ch_1"),
        ],
    )
    def test_an_invoice_is_tied_to_what_paid_it(
        self, payment: dict[str, Any], paid_by: str
    ) -> None:
        command = the_command(altered(PAYMENT, payment=payment))
        assert (command.provider_id, command.pays) == (paid_by, "in_6CE45DtRvR7pyQoGyXaCAC7r")

    def test_a_payment_outside_of_stripe_ties_nothing(self) -> None:
        payment = {"type": "payment_record", "payment_record": "pr_1"}
        assert ignored(altered(PAYMENT, payment=payment)) == "no_payment_named"

    @pytest.mark.parametrize("fields", [{"invoice": None}, {"payment": None}])
    def test_values_of_another_kind_are_parked(self, fields: dict[str, Any]) -> None:
        assert parking(altered(PAYMENT, **fields))["reason"] == "unknown_value"
