"""What each of Stripe's bodies says, and what of it is ignored or parked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.consumers.reading import Ignored, Told
from creditledger.consumers.stripe import translate
from creditledger.domain.amounts import Money
from creditledger.domain.commands import Command
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import (
    CloseLink,
    LinkCustomer,
    PurchaseLine,
    RecordPurchase,
    RefundTotal,
    ReportRefund,
    ReportRefundTotal,
)
from provider_bodies import STRIPE_LARGE_PACK, STRIPE_PACK, event

CUSTOMER = "cus_ncpckeCHVGLA5q"
BANK_CUSTOMER = "cus_51mDok4dfjGiAs"
PAYMENT = "pi_8kIJbT1rN7biotKnxdcLFdQT"
BANK_PAYMENT = "pi_62uGsz8BpL0m4DAoljSXKwQW"
PAID_SESSION = "stripe.checkout.session.completed.payment_paid"
INTENT = "stripe.payment_intent.succeeded.pack"
REFUND = "stripe.refund.created.partial"
CHARGE = "stripe.charge.refunded.partial"


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def purchase(seconds: int, **changes: Any) -> RecordPurchase:
    fields: dict[str, Any] = {
        "provider": "stripe",
        "provider_id": PAYMENT,
        "provider_customer_id": CUSTOMER,
        "customer_id": "org_tern",
        "lines": (PurchaseLine(price_id=STRIPE_PACK, quantity=2),),
        "paid": Money(1400, "USD"),
        "paid_at": at(seconds),
        "happened_at": at(seconds),
    }
    return RecordPurchase(**{**fields, **changes})


def refund(seconds: int) -> ReportRefund:
    return ReportRefund(
        provider="stripe",
        provider_id=PAYMENT,
        refund_id="re_3rdReb63VQHaIcbagwITAA3s",
        amount=Money(350, "USD"),
        status="succeeded",
        counted=True,
        happened_at=at(seconds),
    )


def total(amount: int, seconds: int) -> ReportRefundTotal:
    return ReportRefundTotal(
        provider="stripe",
        provider_id=PAYMENT,
        currency="USD",
        total=RefundTotal(amount=amount),
        happened_at=at(seconds),
    )


def link(provider_customer_id: str, customer_id: str, seconds: int, **changes: Any) -> LinkCustomer:
    fields: dict[str, Any] = {"origin": "customer"}
    return LinkCustomer(
        provider="stripe",
        provider_customer_id=provider_customer_id,
        customer_id=customer_id,
        as_of=at(seconds),
        happened_at=at(seconds),
        **{**fields, **changes},
    )


#: What each body must lead to.
TOLD: dict[str, Command] = {
    "stripe.customer.created.linked": link(CUSTOMER, "org_tern", 1786613220),
    "stripe.customer.updated.metadata_added": link(BANK_CUSTOMER, "org_plover", 1786614120),
    "stripe.customer.deleted.plain": CloseLink(
        provider="stripe",
        provider_customer_id="cus_php1ylcmjHx9iu",
        customer_id="org_gone",
        closed_at=at(1786614220),
        happened_at=at(1786614220),
    ),
    PAID_SESSION: purchase(1786616915),
    INTENT: purchase(1786616913),
    "stripe.checkout.session.async_payment_succeeded.bank_debit": purchase(
        1786962420,
        provider_id=BANK_PAYMENT,
        provider_customer_id=BANK_CUSTOMER,
        customer_id="org_plover",
        lines=(PurchaseLine(price_id=STRIPE_LARGE_PACK),),
        paid=Money(2600, "USD"),
    ),
    "stripe.checkout.session.completed.subscription": link(
        CUSTOMER, "org_tern", 1786786032, origin="purchase"
    ),
    CHARGE: total(350, 1786876020),
    "stripe.charge.refunded.full": total(1400, 1787308020),
    REFUND: refund(1786876020),
    "stripe.refund.updated.reference_available": refund(1787135220),
}

IGNORED = {
    "stripe.payment_intent.payment_failed.declined": "nothing_to_book",
    "stripe.checkout.session.completed.payment_unpaid_async": "not_paid",
    "stripe.checkout.session.async_payment_failed.bank_debit": "nothing_to_book",
    "stripe.checkout.session.expired.abandoned": "nothing_to_book",
}


@pytest.mark.parametrize("name", TOLD)
def test_a_body_says_its_command(name: str) -> None:
    told = translate(event(name), livemode=False)
    assert isinstance(told, Told)
    assert told.commands == (TOLD[name],)


@pytest.mark.parametrize(("name", "reason"), IGNORED.items())
def test_a_body_with_nothing_to_book_is_ignored(name: str, reason: str) -> None:
    assert translate(event(name), livemode=False) == Ignored(reason)


def parking(content: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(Parked) as parked:
        translate(content, livemode=False)
    return dict(parked.value.values)


def with_object(name: str, **fields: Any) -> dict[str, Any]:
    content = event(name)
    content["data"]["object"].update(fields)
    return content


def the_command(content: dict[str, Any]) -> Any:
    told = translate(content, livemode=False)
    assert isinstance(told, Told)
    [command] = told.commands
    return command


class TestEnvelope:
    @pytest.mark.parametrize("kind", ["charge.succeeded", "tax_rate.created", "tea.brewed", "", 7])
    def test_unknown_types_are_ignored(self, kind: object) -> None:
        content = event(PAID_SESSION) | {"type": kind}
        assert translate(content, livemode=False) == Ignored("unknown_type")

    def test_the_other_environment_is_ignored(self) -> None:
        assert translate(event(PAID_SESSION), livemode=True) == Ignored("wrong_environment")
        live = event(PAID_SESSION) | {"livemode": True}
        assert translate(live, livemode=False) == Ignored("wrong_environment")
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

    @pytest.mark.parametrize("missing", ["livemode", "data", "created"])
    def test_what_is_missing_is_named(self, missing: str) -> None:
        content = event(PAID_SESSION)
        del content[missing]
        parked = parking(content)
        assert parked["reason"] == "unknown_value"
        assert missing in parked["detail"]


class TestPurchases:
    def test_a_free_purchase_is_named_by_its_session(self) -> None:
        content = with_object(
            PAID_SESSION, payment_status="no_payment_required", payment_intent=None, amount_total=0
        )
        command = the_command(content)
        assert command.provider_id.startswith("cs_test_")
        assert command.paid == Money(0, "USD")

    def test_the_reference_names_the_owner_where_the_metadata_does_not(self) -> None:
        metadata = {"price_id": STRIPE_PACK}
        command = the_command(
            with_object(PAID_SESSION, metadata=metadata, client_reference_id="org_other")
        )
        assert command.customer_id == "org_other"

    def test_a_guest_names_nobody(self) -> None:
        metadata = {"price_id": STRIPE_PACK}
        command = the_command(
            with_object(PAID_SESSION, metadata=metadata, client_reference_id=None, customer=None)
        )
        assert (command.customer_id, command.provider_customer_id) == (None, None)
        assert command.lines == (PurchaseLine(price_id=STRIPE_PACK, quantity=1),)

    def test_a_session_that_does_not_say_what_was_bought_leaves_that_open(self) -> None:
        told = translate(with_object(PAID_SESSION, metadata={}), livemode=False)
        assert isinstance(told, Told)
        assert told.lines_of == event(PAID_SESSION)["data"]["object"]["id"]
        [command] = told.commands
        assert isinstance(command, RecordPurchase)
        assert command.lines is None

    @pytest.mark.parametrize("metadata", [{}, None, {"price_id": ""}])
    def test_a_payment_that_names_no_price_is_somebody_elses_to_tell(self, metadata: Any) -> None:
        content = with_object(INTENT, metadata=metadata)
        assert translate(content, livemode=False) == Ignored("no_price_named")

    def test_what_is_expanded_is_read_by_its_id(self) -> None:
        content = with_object(
            PAID_SESSION, payment_intent={"id": "pi_1", "object": "payment_intent"}
        )
        assert the_command(content).provider_id == "pi_1"

    def test_a_setup_is_ignored(self) -> None:
        content = with_object(PAID_SESSION, mode="setup")
        assert translate(content, livemode=False) == Ignored("nothing_to_book")

    def test_a_subscription_that_names_nobody_links_nobody(self) -> None:
        name = "stripe.checkout.session.completed.subscription"
        content = with_object(name, metadata={}, client_reference_id=None)
        assert translate(content, livemode=False) == Ignored("nothing_to_book")

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
        assert parking(with_object(PAID_SESSION, **fields))["reason"] == "unknown_value"


class TestRefunds:
    @pytest.mark.parametrize("name", [REFUND, CHARGE])
    def test_a_charge_without_a_payment_intent_names_the_payment_itself(self, name: str) -> None:
        charge = event(CHARGE)["data"]["object"]["id"]
        assert the_command(with_object(name, payment_intent=None)).provider_id == charge

    def test_what_names_no_payment_is_ignored(self) -> None:
        content = with_object(REFUND, payment_intent=None, charge=None)
        assert translate(content, livemode=False) == Ignored("no_payment_named")

    @pytest.mark.parametrize("kind", ["refund.failed", "charge.refund.updated"])
    def test_a_failed_refund_is_told_by_several_types(self, kind: str) -> None:
        command = the_command(with_object(REFUND, status="failed") | {"type": kind})
        assert command.status == "failed"

    @pytest.mark.parametrize("status", ["reversed", None, 1])
    def test_an_unknown_status_is_parked(self, status: object) -> None:
        assert parking(with_object(REFUND, status=status))["reason"] == "unknown_value"


class TestCustomers:
    @pytest.mark.parametrize("metadata", [{}, None, {"ledger_account": ""}])
    def test_a_customer_that_names_no_account_is_ignored(self, metadata: Any) -> None:
        content = with_object("stripe.customer.created.linked", metadata=metadata)
        assert translate(content, livemode=False) == Ignored("no_account_named")

    def test_a_deleted_customer_need_not_name_an_account(self) -> None:
        command = the_command(with_object("stripe.customer.deleted.plain", metadata={}))
        assert command.customer_id is None


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
    place = data.draw(st.sampled_from([content, content["data"], content["data"]["object"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    try:
        outcome = translate(content, livemode=False)
    except Parked:
        return
    assert isinstance(outcome, Told | Ignored)
