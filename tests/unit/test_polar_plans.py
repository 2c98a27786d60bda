"""What Polar's subscriptions and products say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from creditledger.domain.amounts import Credits
from creditledger.domain.provider_commands import LearnedPrice, ReportPrice, ReportProduct
from provider_bodies import POLAR_COLONY, event
from translating import altered, ignored, parking, subject, the_command, told

SUBSCRIPTION = "polar.subscription.updated.plan_change"
PRODUCT = "polar.product.updated.price_changed"
USAGE_PRICE = "0d4c9d2e-65a5-4d1c-8f1e-8f6b4f1b7a11"


def metered(**changes: Any) -> dict[str, Any]:
    fixed: dict[str, Any] = subject(event(SUBSCRIPTION))["prices"][0]
    return {**fixed, "id": USAGE_PRICE, "amount_type": "metered_unit", **changes}


def state(**fields: Any) -> Any:
    return the_command(altered(SUBSCRIPTION, **fields)).state


class TestSubscriptions:
    @pytest.mark.parametrize(
        "kind",
        [
            "active",
            "canceled",
            "created",
            "cycled",
            "migrated",
            "past_due",
            "paused",
            "resumed",
            "revoked",
            "uncanceled",
            "updated",
        ],
    )
    def test_every_type_tells_how_it_stood_when_it_was_sent(self, kind: str) -> None:
        content = event(SUBSCRIPTION) | {
            "type": f"subscription.{kind}",
            "timestamp": "2026-10-02T00:00:00Z",
        }
        command = the_command(content)
        assert command.as_of == datetime.fromisoformat("2026-10-02T00:00:00Z")
        assert command.state == state()

    def test_from_before_timestamps_the_records_own_time_counts(self) -> None:
        content = event(SUBSCRIPTION)
        del content["timestamp"]
        modified = datetime.fromisoformat(subject(content)["modified_at"])
        assert the_command(content).as_of == modified

    @pytest.mark.parametrize(
        ("status", "ended"),
        [
            ("active", False),
            ("trialing", False),
            ("past_due", False),
            ("paused", False),
            ("unpaid", False),
            ("incomplete", False),
            ("incomplete_expired", True),
            ("canceled", True),
            ("hibernating", False),
        ],
    )
    def test_the_status_is_kept_as_it_is_known_or_not(self, status: str, ended: bool) -> None:
        found = state(status=status)
        assert (found.status, found.ended) == (status, ended)

    def test_what_has_ended_says_when(self) -> None:
        found = state(status="gone", ended_at="2026-10-02T00:00:00Z")
        assert found.ended
        assert found.ended_at == datetime.fromisoformat("2026-10-02T00:00:00Z")

    def test_one_that_will_end_has_not_ended(self) -> None:
        found = the_command(event("polar.subscription.canceled.at_period_end")).state
        assert (found.status, found.cancel_at_period_end, found.ended) == ("active", True, False)

    @pytest.mark.parametrize("kind", ["metered_unit", "metered_tiers"])
    def test_the_plan_is_the_first_price_that_is_not_billed_after_use(self, kind: str) -> None:
        fixed = subject(event(SUBSCRIPTION))["prices"][0]
        assert state(prices=[metered(amount_type=kind), fixed]).price_id == POLAR_COLONY

    def test_where_all_is_billed_after_use_the_plan_is_the_first_price(self) -> None:
        assert state(prices=[metered()]).price_id == USAGE_PRICE
        assert state(prices=[]).price_id is None

    @pytest.mark.parametrize(
        ("fields", "quantity"), [({"seats": 5}, 5), ({"units": 3}, 3), ({}, 1)]
    )
    def test_seats_and_units_are_counted(self, fields: dict[str, int], quantity: int) -> None:
        assert state(**fields).quantity == quantity

    def test_what_comes_with_the_next_period_is_told_by_its_product(self) -> None:
        pending = {"id": "u", "applies_at": "2026-10-20T10:13:40Z", "product_id": "p2"}
        assert state(pending_update=pending).pending_product_id == "p2"
        assert state(pending_update={**pending, "product_id": None}).pending_product_id is None
        assert state().pending_product_id is None

    def test_one_whose_customer_has_no_id_of_ours_is_known_by_its_customer(self) -> None:
        customer = subject(event(SUBSCRIPTION))["customer"] | {"external_id": None}
        command = the_command(altered(SUBSCRIPTION, customer=customer))
        assert command.customer_id is None
        assert command.provider_customer_id == customer["id"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"status": None},
            {"status": "two words"},
            {"prices": None},
            {"prices": ["price"]},
            {"seats": -1},
            {"ends_at": "soon"},
            {"ended_at": "2026-10-02T00:00:00"},
            {"cancel_at_period_end": "yes"},
            {"pending_update": "next"},
            {"id": None},
        ],
    )
    def test_values_of_another_kind_are_parked(self, fields: dict[str, Any]) -> None:
        assert parking(altered(SUBSCRIPTION, **fields))["reason"] == "unknown_value"


class TestProducts:
    def test_all_prices_are_told_after_their_product(self) -> None:
        product, *prices = told(event(PRODUCT)).commands
        assert isinstance(product, ReportProduct)
        assert all(isinstance(price, ReportPrice) for price in prices)
        assert [price.active for price in prices if isinstance(price, ReportPrice)] == [
            True,
            False,
        ]

    @pytest.mark.parametrize("kind", ["metered_unit", "metered_tiers"])
    def test_usage_is_worth_nothing_whatever_the_product_says(self, kind: str) -> None:
        content = altered(PRODUCT, prices=[metered(amount_type=kind)], is_recurring=True)
        _, price = told(content).commands
        assert isinstance(price, ReportPrice)
        assert price.learned == LearnedPrice(credits=Credits(0), kind="usage", name="600 credits")

    @pytest.mark.parametrize("kind", ["fixed", "custom", "seat_based", "unit_based", "free"])
    def test_other_prices_are_worth_what_the_product_says(self, kind: str) -> None:
        content = altered(PRODUCT, prices=[metered(amount_type=kind)], is_recurring=True)
        _, price = told(content).commands
        assert isinstance(price, ReportPrice)
        assert price.learned == LearnedPrice(
            credits=Credits(600), kind="recurring", name="600 credits"
        )

    def test_an_archived_product_has_no_active_prices(self) -> None:
        product, *prices = told(altered(PRODUCT, is_archived=True)).commands
        assert isinstance(product, ReportProduct)
        assert not product.active
        assert not any(price.active for price in prices if isinstance(price, ReportPrice))

    def test_a_product_says_its_family_and_version(self) -> None:
        metadata = {"planFamily": "nests", "version": 2, "internalId": 7, "credits": "20"}
        product, price, _ = told(altered(PRODUCT, metadata=metadata)).commands
        assert isinstance(product, ReportProduct)
        assert (product.plan_family, product.version) == ("nests", "2")
        assert isinstance(price, ReportPrice)
        assert price.learned is not None
        assert (price.learned.credits, price.learned.internal_id) == (20, "7")

    @pytest.mark.parametrize("credits", ["lots", -5, 1.5, "1.5", True, 2**53])
    def test_a_worth_of_another_kind_is_parked_not_forgotten(self, credits: object) -> None:
        assert parking(altered(PRODUCT, metadata={"credits": credits}))["reason"] == "unknown_value"

    @pytest.mark.parametrize(
        "fields", [{"prices": None}, {"is_archived": None}, {"is_recurring": 1}, {"id": None}]
    )
    def test_values_of_another_kind_are_parked(self, fields: dict[str, Any]) -> None:
        assert parking(altered(PRODUCT, **fields))["reason"] == "unknown_value"


@pytest.mark.parametrize("metadata", [{}, None])
def test_a_product_need_not_say_what_it_is_worth(metadata: Any) -> None:
    _, *prices = told(altered(PRODUCT, metadata=metadata)).commands
    assert [price.learned for price in prices if isinstance(price, ReportPrice)] == [None, None]


def test_a_version_that_is_no_text_and_no_number_is_left_out() -> None:
    product, *_ = told(altered(PRODUCT, metadata={"version": True})).commands
    assert isinstance(product, ReportProduct)
    assert product.version is None


@pytest.mark.parametrize("version", ["2028-01", "2026-10", None])
@pytest.mark.parametrize("kind", ["benefit_grant.cycled", "checkout.expired", "member.created"])
def test_what_says_nothing_is_ignored_in_any_version(kind: str, version: str | None) -> None:
    content = event(PRODUCT) | {"type": kind, "api_version": version}
    assert ignored(content) == "nothing_to_book"
