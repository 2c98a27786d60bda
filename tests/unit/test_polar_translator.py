"""What each of Polar's bodies says, and what of it is ignored or parked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.consumers.polar import translate
from creditledger.consumers.reading import Ignored, Told
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import Command
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import (
    CloseLink,
    LearnedPrice,
    LinkCustomer,
    PurchaseLine,
    RecordPurchase,
    RefundTotal,
    ReportRefund,
)
from provider_bodies import POLAR_PACK, event

CUSTOMER = "3906d812-f705-4112-a3e0-48f7d14d85e5"
ORDER = "906e66f9-d8bb-4581-9e78-a6ec015bac4e"
PAID = "polar.order.paid.purchase"
CREATED_AT = "2026-08-11T11:22:02.640010Z"


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def order(refunded: int, as_of: str, told_at: str) -> RecordPurchase:
    return RecordPurchase(
        provider="polar",
        provider_id=ORDER,
        provider_customer_id=CUSTOMER,
        customer_id="org_tern",
        lines=(
            PurchaseLine(
                price_id=POLAR_PACK,
                amount=1500,
                learned=LearnedPrice(credits=Credits(600), kind="one_time", name="600 credits"),
            ),
        ),
        paid=Money(1500, "USD"),
        paid_at=time(CREATED_AT),
        happened_at=time(CREATED_AT),
        refund_total=RefundTotal(amount=refunded, as_of=time(as_of), told_at=time(told_at)),
    )


def refund(name: str, refund_id: str, amount: int) -> ReportRefund:
    return ReportRefund(
        provider="polar",
        provider_id=ORDER,
        refund_id=refund_id,
        amount=Money(amount, "USD"),
        status="succeeded",
        counted=False,
        happened_at=time(event(name)["data"]["modified_at"] or event(name)["data"]["created_at"]),
    )


def link(as_of: str) -> LinkCustomer:
    return LinkCustomer(
        provider="polar",
        provider_customer_id=CUSTOMER,
        customer_id="org_tern",
        origin="customer",
        as_of=time(as_of),
        happened_at=time(as_of),
    )


def deleted() -> CloseLink:
    data = event("polar.customer.deleted.plain")["data"]
    return CloseLink(
        provider="polar",
        provider_customer_id=data["id"],
        customer_id=None,
        closed_at=time(data["modified_at"]),
        happened_at=time(data["modified_at"]),
    )


def told_at(name: str) -> str:
    return str(event(name)["timestamp"])


#: What each body must lead to.
TOLD: dict[str, Command] = {
    PAID: order(0, CREATED_AT, told_at(PAID)),
    "polar.order.refunded.partial": order(
        500, "2026-08-16T10:13:40.071230Z", told_at("polar.order.refunded.partial")
    ),
    "polar.order.refunded.full": order(
        1500, "2026-08-19T10:13:42.071230Z", told_at("polar.order.refunded.full")
    ),
    "polar.refund.created.partial_succeeded": refund(
        "polar.refund.created.partial_succeeded",
        event("polar.refund.created.partial_succeeded")["data"]["id"],
        500,
    ),
    "polar.refund.updated.pending_to_succeeded": refund(
        "polar.refund.updated.pending_to_succeeded",
        event("polar.refund.updated.pending_to_succeeded")["data"]["id"],
        1000,
    ),
    "polar.customer.created.with_external_id": link("2026-08-11T10:13:40.118203Z"),
    "polar.customer.updated.billing": link("2026-08-12T10:13:40.502110Z"),
    "polar.customer.state_changed.active_subscription": link("2026-08-11T10:13:40.118203Z"),
    "polar.customer.deleted.plain": deleted(),
}

IGNORED = {
    "polar.checkout.updated.succeeded": "nothing_to_book",
    "polar.benefit_grant.created.meter_credit": "nothing_to_book",
    "polar.order.created.pending_renewal": "not_paid",
}


def parking(content: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(Parked) as parked:
        translate(content)
    return dict(parked.value.values)


def with_data(name: str, **fields: Any) -> dict[str, Any]:
    content = event(name)
    content["data"].update(fields)
    return content


def the_command(content: dict[str, Any]) -> Any:
    told = translate(content)
    assert isinstance(told, Told)
    [command] = told.commands
    return command


@pytest.mark.parametrize("name", TOLD)
def test_a_body_says_its_command(name: str) -> None:
    assert the_command(event(name)) == TOLD[name]


@pytest.mark.parametrize(("name", "reason"), IGNORED.items())
def test_a_body_with_nothing_to_book_is_ignored(name: str, reason: str) -> None:
    assert translate(event(name)) == Ignored(reason)


class TestEnvelope:
    @pytest.mark.parametrize("kind", ["order.voided", "tea.brewed", None, 7])
    def test_unknown_types_are_ignored(self, kind: object) -> None:
        assert translate(event(PAID) | {"type": kind}) == Ignored("unknown_type")

    @pytest.mark.parametrize("version", ["2026-04", "2026-10", "2027-01", None])
    def test_versions_that_are_read(self, version: object) -> None:
        assert the_command(event(PAID) | {"api_version": version})

    def test_a_body_from_before_versions_is_read(self) -> None:
        content = event(PAID)
        del content["api_version"]
        del content["timestamp"]
        assert the_command(content).refund_total.told_at is None

    @pytest.mark.parametrize("version", ["2028-01", "", 3, {"a": 1}])
    def test_other_versions_are_parked(self, version: object) -> None:
        content = event(PAID) | {"api_version": version}
        assert parking(content)["reason"] == "unsupported_version"


class TestOrders:
    @pytest.mark.parametrize("kind", ["order.created", "order.updated", "order.refunded"])
    def test_every_snapshot_of_a_paid_order_says_the_same(self, kind: str) -> None:
        assert the_command(event(PAID) | {"type": kind}) == TOLD[PAID]

    def test_what_is_not_paid_is_ignored(self) -> None:
        content = with_data(PAID, paid=False, status="pending")
        assert translate(content) == Ignored("not_paid")

    def test_what_a_balance_paid_counts(self) -> None:
        command = the_command(with_data(PAID, net_amount=1000, applied_balance_amount=200))
        assert command.paid == Money(1200, "USD")

    def test_a_balance_that_is_owed_can_leave_nothing_paid(self) -> None:
        command = the_command(with_data(PAID, net_amount=100, applied_balance_amount=-300))
        assert command.paid == Money(0, "USD")

    def test_a_customer_without_our_id_is_known_by_the_providers(self) -> None:
        customer = event(PAID)["data"]["customer"] | {"external_id": None}
        command = the_command(with_data(PAID, customer=customer))
        assert (command.customer_id, command.provider_customer_id) == (None, CUSTOMER)

    def test_an_item_without_a_price_is_worth_nothing_by_itself(self) -> None:
        item = event(PAID)["data"]["items"][0] | {"product_price_id": None}
        [line] = the_command(with_data(PAID, items=[item])).lines
        assert line.price_id is None

    @pytest.mark.parametrize(
        ("metadata", "credits"),
        [({"credits": 5}, 5), ({"credits": "5"}, 5), ({}, None), (None, None)],
    )
    def test_the_product_may_say_what_it_is_worth(self, metadata: Any, credits: int | None) -> None:
        product = event(PAID)["data"]["product"] | {"metadata": metadata}
        [line] = the_command(with_data(PAID, product=product)).lines
        assert (line.learned and line.learned.credits) == credits

    @pytest.mark.parametrize("credits", [1.5, "many", -1, True])
    def test_a_worth_of_another_kind_is_parked(self, credits: object) -> None:
        product = event(PAID)["data"]["product"] | {"metadata": {"credits": credits}}
        assert parking(with_data(PAID, product=product))["reason"] == "unknown_value"

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
        assert parking(with_data(PAID, **fields))["reason"] == "unknown_value"

    def test_a_proration_in_a_purchase_is_parked(self) -> None:
        item = event(PAID)["data"]["items"][0] | {"proration": True}
        assert parking(with_data(PAID, items=[item]))["reason"] == "unknown_value"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@pytest.mark.parametrize("name", sorted(TOLD))
@given(data=st.data())
def test_whatever_a_field_holds_it_is_told_ignored_or_parked(
    name: str, data: st.DataObject
) -> None:
    content = event(name)
    places = [content, content["data"]]
    places += [v for v in content["data"].values() if isinstance(v, dict) and v]
    places += content["data"].get("items", [])
    place = data.draw(st.sampled_from(places))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    try:
        outcome = translate(content)
    except Parked:
        return
    assert isinstance(outcome, Told | Ignored)
