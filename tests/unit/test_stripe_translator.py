"""What Stripe's bodies say when something in them is otherwise, apart from invoices and plans."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creditledger.consumers.reading import Ignored, Told
from creditledger.consumers.stripe import translate
from creditledger.domain.amounts import Money
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import PurchaseLine, RecordPurchase
from provider_bodies import STRIPE_PACK, event
from translating import (
    altered,
    damaged,
    ignored,
    parking,
    speaking,
    subject,
    the_command,
    told,
    translated,
)

PAID_SESSION = "stripe.checkout.session.completed.payment_paid"
INTENT = "stripe.payment_intent.succeeded.pack"
REFUND = "stripe.refund.created.partial"
CHARGE = "stripe.charge.refunded.partial"


class TestEnvelope:
    @pytest.mark.parametrize("kind", ["charge.succeeded", "tax_rate.created", "tea.brewed", "", 7])
    def test_unknown_types_are_ignored(self, kind: object) -> None:
        content = event(PAID_SESSION) | {"type": kind}
        assert ignored(content) == "unknown_type"

    def test_the_other_environment_is_ignored(self) -> None:
        assert translate(event(PAID_SESSION), livemode=True) == Ignored("wrong_environment")
        live = event(PAID_SESSION) | {"livemode": True}
        assert ignored(live) == "wrong_environment"
        assert isinstance(translate(live, livemode=True), Told)

    @pytest.mark.parametrize(
        "version",
        ["2025-03-31.basil", "2025-09-30.clover", "2026-03-25.dahlia", "2026-10-28.endive"],
    )
    def test_four_releases_are_read(self, version: str) -> None:
        assert the_command(event(PAID_SESSION) | {"api_version": version})

    @pytest.mark.parametrize(
        "version", ["2024-10-28.acacia", "2022-11-15", "2027-02-24.fennel", "basil", None, 3]
    )
    def test_other_versions_are_parked(self, version: object) -> None:
        content = event(PAID_SESSION) | {"api_version": version}
        assert parking(content)["reason"] == "unsupported_version"

    @pytest.mark.parametrize("version", ["2022-11-15", "2027-02-24.fennel", None])
    @pytest.mark.parametrize("kind", ["payment_intent.created", "invoice.finalized"])
    def test_what_says_nothing_is_ignored_in_any_version(self, kind: str, version: Any) -> None:
        content = event(INTENT) | {"type": kind, "api_version": version}
        assert ignored(content) == "nothing_to_book"

    @pytest.mark.parametrize("missing", ["livemode", "data", "created"])
    def test_what_is_missing_is_named(self, missing: str) -> None:
        content = event(PAID_SESSION)
        del content[missing]
        parked = parking(content)
        assert parked["reason"] == "unknown_value"
        assert missing in parked["detail"]


class TestPurchases:
    def test_a_free_purchase_is_named_by_its_session(self) -> None:
        content = altered(
            PAID_SESSION, payment_status="no_payment_required", payment_intent=None, amount_total=0
        )
        command = the_command(content)
        assert command.provider_id.startswith("cs_test_")
        assert command.paid == Money(0, "USD")

    def test_the_reference_names_the_owner_where_the_metadata_does_not(self) -> None:
        metadata = {"price_id": STRIPE_PACK}
        command = the_command(
            altered(PAID_SESSION, metadata=metadata, client_reference_id="org_other")
        )
        assert command.customer_id == "org_other"

    def test_a_guest_names_nobody(self) -> None:
        metadata = {"price_id": STRIPE_PACK}
        command = the_command(
            altered(PAID_SESSION, metadata=metadata, client_reference_id=None, customer=None)
        )
        assert (command.customer_id, command.provider_customer_id) == (None, None)
        assert command.lines == (PurchaseLine(price_id=STRIPE_PACK, quantity=1),)

    def test_a_session_that_does_not_say_what_was_bought_leaves_that_open(self) -> None:
        found = told(altered(PAID_SESSION, metadata={}))
        assert found.lines_of == event(PAID_SESSION)["data"]["object"]["id"]
        [command] = found.commands
        assert isinstance(command, RecordPurchase)
        assert command.lines is None

    @pytest.mark.parametrize("metadata", [{}, None, {"price_id": ""}])
    def test_a_payment_that_names_no_price_is_somebody_elses_to_tell(self, metadata: Any) -> None:
        content = altered(INTENT, metadata=metadata)
        assert ignored(content) == "no_price_named"

    def test_what_is_expanded_is_read_by_its_id(self) -> None:
        content = altered(PAID_SESSION, payment_intent={"id": "pi_1", "object": "payment_intent"})
        assert the_command(content).provider_id == "pi_1"

    def test_a_setup_is_ignored(self) -> None:
        content = altered(PAID_SESSION, mode="setup")
        assert ignored(content) == "nothing_to_book"

    def test_a_subscription_that_names_nobody_links_nobody(self) -> None:
        name = "stripe.checkout.session.completed.subscription"
        content = altered(name, metadata={}, client_reference_id=None)
        assert ignored(content) == "nothing_to_book"

    @pytest.mark.parametrize(
        "fields",
        [
            {"mode": "barter"},
            {"mode": None},
            {"payment_status": "almost"},
            {"amount_total": "1400"},
            {"amount_total": 14.0},
            {"amount_total": -1},
            {"amount_total": None},
            {"amount_total": True},
            {"amount_total": 2**53},
            {"currency": "dollars"},
            {"currency": None},
            {"customer": ["cus_1"]},
            {"customer": "cus with spaces"},
            {"payment_intent": 7},
            {"metadata": "price"},
            {"metadata": {"price_id": STRIPE_PACK, "quantity": "0"}},
            {"metadata": {"price_id": STRIPE_PACK, "quantity": "-2"}},
            {"metadata": {"price_id": STRIPE_PACK, "quantity": "1.5"}},
            {"metadata": {"price_id": STRIPE_PACK, "quantity": "٢"}},
            {"metadata": {"price_id": STRIPE_PACK, "ledger_account": "x" * 129}},
            {"metadata": {"price_id": STRIPE_PACK, "ledger_account": "a\x00b"}},
            {"metadata": {"price_id": ["x"]}},
            {"client_reference_id": 5, "metadata": {"price_id": STRIPE_PACK}},
        ],
    )
    def test_values_of_another_kind_are_parked(self, fields: dict[str, Any]) -> None:
        assert parking(altered(PAID_SESSION, **fields))["reason"] == "unknown_value"


class TestRefunds:
    @pytest.mark.parametrize("name", [REFUND, CHARGE])
    def test_a_charge_without_a_payment_intent_names_the_payment_itself(self, name: str) -> None:
        charge = event(CHARGE)["data"]["object"]["id"]
        assert the_command(altered(name, payment_intent=None)).provider_id == charge

    def test_what_names_no_payment_is_ignored(self) -> None:
        content = altered(REFUND, payment_intent=None, charge=None)
        assert ignored(content) == "no_payment_named"

    @pytest.mark.parametrize("kind", ["refund.failed", "charge.refund.updated"])
    def test_a_failed_refund_is_told_by_several_types(self, kind: str) -> None:
        command = the_command(altered(REFUND, status="failed") | {"type": kind})
        assert command.status == "failed"

    @pytest.mark.parametrize("status", ["reversed", None, 1])
    def test_an_unknown_status_is_parked(self, status: object) -> None:
        assert parking(altered(REFUND, status=status))["reason"] == "unknown_value"


DISPUTE = "stripe.charge.dispute.created.fraudulent"


class TestDisputes:
    @pytest.mark.parametrize(
        ("status", "standing"),
        [
            ("warning_needs_response", "inquiry"),
            ("warning_under_review", "inquiry"),
            ("warning_closed", "inquiry"),
            ("needs_response", "open"),
            ("under_review", "open"),
            ("appeal_needs_response", "open"),
            ("appeal_under_review", "open"),
            ("won", "won"),
            ("lost", "lost"),
            ("prevented", "prevented"),
        ],
    )
    def test_what_a_status_does_to_the_money(self, status: str, standing: str) -> None:
        command = the_command(altered(DISPUTE, status=status))
        assert (command.standing, command.status) == (standing, status)

    @pytest.mark.parametrize("status", ["arbitration", "", None, 1, ["lost"]])
    def test_an_unknown_status_is_parked(self, status: object) -> None:
        parked = parking(altered(DISPUTE, status=status))
        assert parked["reason"] == "unknown_value"
        assert "status" in parked["detail"]

    @pytest.mark.parametrize("kind", ["updated", "closed", "funds_withdrawn", "funds_reinstated"])
    def test_every_type_tells_how_it_stands_then(self, kind: str) -> None:
        later = event(DISPUTE) | {"type": f"charge.dispute.{kind}", "created": 1788345000}
        command = the_command(later)
        assert command.as_of.timestamp() == 1788345000
        assert command.dispute_id == subject(later)["id"]

    def test_a_charge_without_a_payment_intent_names_the_payment_itself(self) -> None:
        command = the_command(altered(DISPUTE, payment_intent=None))
        assert command.provider_id == subject(event(DISPUTE))["charge"]

    def test_what_names_no_payment_is_ignored(self) -> None:
        content = altered(DISPUTE, payment_intent=None, charge=None)
        assert ignored(content) == "no_payment_named"

    def test_the_payment_may_stand_there_in_full(self) -> None:
        content = altered(DISPUTE, payment_intent={"id": "pi_1", "object": "payment_intent"})
        assert the_command(content).provider_id == "pi_1"


class TestCustomers:
    @pytest.mark.parametrize("metadata", [{}, None, {"ledger_account": ""}])
    def test_a_customer_that_names_no_account_is_ignored(self, metadata: Any) -> None:
        content = altered("stripe.customer.created.linked", metadata=metadata)
        assert ignored(content) == "no_account_named"

    def test_a_deleted_customer_need_not_name_an_account(self) -> None:
        command = the_command(altered("stripe.customer.deleted.plain", metadata={}))
        assert command.customer_id is None


@settings(max_examples=600)
@given(data=st.data())
def test_whatever_a_field_holds_it_is_told_ignored_or_parked(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(speaking("stripe")))
    try:
        outcome = translated(damaged(data, name))
    except Parked:
        return
    assert isinstance(outcome, Told | Ignored)
