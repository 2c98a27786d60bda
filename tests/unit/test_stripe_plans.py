"""What Stripe's subscriptions, products and prices say."""

from __future__ import annotations

from typing import Any

import pytest

from creditledger.domain.amounts import Credits
from creditledger.domain.provider_commands import LearnedPrice, Period
from provider_bodies import STRIPE_NEST, event
from translating import altered, parking, subject, the_command

SUBSCRIPTION = "stripe.customer.subscription.created.active"
PRICE = "stripe.price.created.one_time_metadata"
PRODUCT = "stripe.product.updated.renamed"


def items(*told: dict[str, Any]) -> dict[str, Any]:
    return altered(SUBSCRIPTION, items={"object": "list", "data": list(told)})


def item(**changes: Any) -> dict[str, Any]:
    first: dict[str, Any] = subject(event(SUBSCRIPTION))["items"]["data"][0]
    return {**first, **changes}


def metered(price_id: str) -> dict[str, Any]:
    recurring = {"interval": "month", "usage_type": "metered", "meter": "mtr_1"}
    return item(price={"id": price_id, "object": "price", "recurring": recurring}, quantity=None)


class TestSubscriptions:
    @pytest.mark.parametrize(
        "kind",
        [
            "created",
            "deleted",
            "paused",
            "pending_update_applied",
            "pending_update_expired",
            "resumed",
            "updated",
        ],
    )
    def test_every_type_tells_how_it_stands_then(self, kind: str) -> None:
        content = event(SUBSCRIPTION) | {
            "type": f"customer.subscription.{kind}",
            "created": 1786800000,
        }
        command = the_command(content)
        assert command.as_of.timestamp() == 1786800000
        assert command.state == the_command(event(SUBSCRIPTION)).state

    @pytest.mark.parametrize(
        ("status", "ended"),
        [
            ("active", False),
            ("past_due", False),
            ("unpaid", False),
            ("paused", False),
            ("trialing", False),
            ("incomplete", False),
            ("incomplete_expired", True),
            ("canceled", True),
            ("hibernating", False),
        ],
    )
    def test_the_status_is_kept_as_it_is_known_or_not(self, status: str, ended: bool) -> None:
        state = the_command(altered(SUBSCRIPTION, status=status)).state
        assert (state.status, state.ended) == (status, ended)

    def test_what_has_ended_says_when(self) -> None:
        state = the_command(altered(SUBSCRIPTION, status="gone", ended_at=1786800000)).state
        assert state.ended
        assert state.ended_at.timestamp() == 1786800000

    def test_the_plan_is_the_first_item_that_is_not_billed_after_use(self) -> None:
        state = the_command(items(metered("price_calls"), item(quantity=4), item())).state
        assert (state.price_id, state.quantity) == (STRIPE_NEST, 4)

    def test_where_all_is_billed_after_use_the_plan_is_the_first_item(self) -> None:
        state = the_command(items(metered("price_calls"), metered("price_bytes"))).state
        assert (state.price_id, state.quantity) == ("price_calls", 1)

    def test_without_items_there_is_no_plan(self) -> None:
        state = the_command(items()).state
        assert (state.price_id, state.quantity, state.current_period) == (None, 1, None)

    def test_a_period_without_length_is_none(self) -> None:
        moment = {"current_period_start": 1786786020, "current_period_end": 1786786020}
        assert the_command(items(item(**moment))).state.current_period is None

    def test_the_periods_of_the_item_count(self) -> None:
        period = the_command(event(SUBSCRIPTION)).state.current_period
        assert isinstance(period, Period)
        assert (period.end - period.start).days == 30

    @pytest.mark.parametrize("metadata", [None, {}, {"ledger_account": ""}])
    def test_one_that_names_nobody_is_known_by_its_customer(self, metadata: Any) -> None:
        command = the_command(altered(SUBSCRIPTION, metadata=metadata))
        assert command.customer_id is None
        assert command.provider_customer_id == "cus_ncpckeCHVGLA5q"

    @pytest.mark.parametrize(
        "fields",
        [
            {"status": None},
            {"status": "two words"},
            {"items": None},
            {"cancel_at_period_end": "yes"},
            {"cancel_at": "soon"},
            {"ended_at": -1},
            {"trial_end": 10**13},
            {"id": None},
        ],
    )
    def test_values_of_another_kind_are_parked(self, fields: dict[str, Any]) -> None:
        assert parking(altered(SUBSCRIPTION, **fields))["reason"] == "unknown_value"


class TestCatalogue:
    def test_metadata_says_what_a_price_is_worth(self) -> None:
        metadata = {
            "credits": "300",
            "planFamily": "packs",
            "version": "3",
            "internalId": "pack-3",
            "publicName": "Three hundred",
        }
        assert the_command(altered(PRICE, metadata=metadata)).learned == LearnedPrice(
            credits=Credits(300),
            kind="one_time",
            name="Three hundred",
            plan_family="packs",
            version="3",
            internal_id="pack-3",
        )

    @pytest.mark.parametrize("metadata", [None, {}, {"credits": ""}, {"planFamily": "packs"}])
    def test_metadata_need_not_say_it(self, metadata: Any) -> None:
        assert the_command(altered(PRICE, metadata=metadata)).learned is None

    @pytest.mark.parametrize("credits", ["lots", "-5", "1.5", "1e3", "9" * 17, "٣", 1.5, [5]])
    def test_a_worth_of_another_kind_is_parked_not_forgotten(self, credits: object) -> None:
        parked = parking(altered(PRICE, metadata={"credits": credits}))
        assert parked["reason"] == "unknown_value"
        assert "metadata.credits" in parked["detail"]

    @pytest.mark.parametrize(
        ("recurring", "kind", "credits"),
        [
            (None, "one_time", 300),
            ({"interval": "month", "usage_type": "licensed"}, "recurring", 300),
            ({"interval": "month", "usage_type": "metered"}, "usage", 0),
        ],
    )
    def test_how_a_price_is_paid_says_its_kind(
        self, recurring: Any, kind: str, credits: int
    ) -> None:
        learned = the_command(altered(PRICE, recurring=recurring)).learned
        assert (learned.kind, learned.credits) == (kind, credits)

    def test_usage_is_worth_nothing_said_or_not(self) -> None:
        recurring = {"interval": "month", "usage_type": "metered"}
        command = the_command(altered(PRICE, recurring=recurring, metadata={}))
        assert command.learned == LearnedPrice(credits=Credits(0), kind="usage", name="300 credits")

    @pytest.mark.parametrize("name", [PRICE, PRODUCT])
    def test_what_is_deleted_is_not_active_whatever_its_last_body_says(self, name: str) -> None:
        kind = name.split(".")[1]
        content = altered(name, active=True) | {"type": f"{kind}.deleted"}
        assert the_command(content).active is False

    def test_a_product_that_stands_there_in_full_is_read_by_its_id(self) -> None:
        content = altered(PRICE, product={"id": "prod_1", "object": "product"})
        assert the_command(content).product_id == "prod_1"

    def test_a_product_says_its_family_and_version(self) -> None:
        metadata = {"planFamily": "nests", "version": "2", "publicName": "Nest two"}
        command = the_command(altered(PRODUCT, metadata=metadata))
        assert (command.name, command.plan_family, command.version) == ("Nest two", "nests", "2")

    @pytest.mark.parametrize("name", ["Two\nlines", "nul\0", "\ud800", None, 7.5])
    def test_a_name_that_cannot_be_shown_is_left_out(self, name: object) -> None:
        assert the_command(altered(PRODUCT, name=name)).name is None

    @pytest.mark.parametrize("name", [PRICE, PRODUCT])
    @pytest.mark.parametrize("fields", [{"active": None}, {"active": "yes"}, {"id": ""}])
    def test_values_of_another_kind_are_parked(self, name: str, fields: dict[str, Any]) -> None:
        assert parking(altered(name, **fields))["reason"] == "unknown_value"
