"""Purchases become grants, once (domain/README.md, 11.1 and 11.4)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from creditledger.domain import events as e
from creditledger.domain.amounts import CREDITS_MAX, Credits, Money
from creditledger.domain.commands import ChangeExpiry
from creditledger.domain.errors import Invalid, Parked
from creditledger.domain.link import CustomerLinked
from creditledger.domain.payment_events import PaymentGranted, PaymentRecorded, PaymentRedated
from creditledger.domain.price import PriceSet
from creditledger.domain.provider_commands import (
    AssignPurchase,
    CloseLink,
    LinkCustomer,
    PurchaseLine,
    RefundTotal,
    SetPrice,
)
from creditledger.domain.receipt import Receipt
from purchase_story import (
    CUSTOMER,
    NOW,
    PACK,
    PACK_IS_500,
    PAID,
    PAID_AT,
    PAYMENT,
    STRIPE_CUSTOMER,
    TWO_PACKS,
    Story,
    order,
    purchase,
)


def link(customer_id: str = CUSTOMER, **changes: Any) -> LinkCustomer:
    fields: dict[str, Any] = {"origin": "customer", "as_of": PAID_AT}
    return LinkCustomer(
        provider="stripe",
        provider_customer_id=STRIPE_CUSTOMER,
        customer_id=customer_id,
        **{**fields, **changes},
    )


def test_a_purchase_grants_price_times_quantity_with_its_cost_and_expiry() -> None:
    story = Story(PACK_IS_500)
    answer = story.tell(purchase())
    [granted] = story.events(e.Granted)
    assert granted.amount == 1000
    assert granted.source == "top_up"
    assert granted.priority == 30
    assert granted.cost_basis == PAID
    assert granted.payment_id == answer["payment_id"]
    assert granted.effective_at == PAID_AT
    assert granted.expires_at == PAID_AT + timedelta(days=365)
    assert answer["status"] == "paid"
    assert [grant["amount"] for grant in answer["grants"]] == [1000]


def test_the_same_purchase_told_again_grants_nothing_and_writes_nothing() -> None:
    story = Story(PACK_IS_500)
    first = story.tell(purchase())
    written = len(story.store.log)
    assert story.tell(purchase(paid_at=PAID_AT + timedelta(seconds=2))) == first
    assert len(story.store.log) == written
    assert story.available() == 1000


def test_a_price_may_have_its_own_asset_and_expiry() -> None:
    price = SetPrice(
        provider="stripe",
        price_id=PACK,
        credits=Credits(3),
        asset="messages",
        expires_after_days=30,
    )
    story = Story(price, purchase())
    [granted] = story.events(e.Granted)
    assert (granted.asset, granted.amount) == ("messages", 6)
    assert granted.expires_at == PAID_AT + timedelta(days=30)


def test_a_provider_whose_clock_is_ahead_grants_from_now() -> None:
    story = Story(PACK_IS_500, purchase(paid_at=NOW + timedelta(minutes=5)))
    [granted] = story.events(e.Granted)
    assert granted.effective_at == NOW
    assert story.available() == 1000


def test_a_grant_that_comes_after_its_time_is_recorded_and_expires_at_once() -> None:
    story = Story(PACK_IS_500)
    story.now = PAID_AT + timedelta(days=365)
    story.tell(purchase())
    assert [type(event) for event in story.events(e.AccountEvent)] == [e.Granted, e.Expired]
    assert story.available() == 0


def test_lines_are_granted_one_by_one_and_share_the_cost_to_the_last_cent() -> None:
    lines = tuple(PurchaseLine(price_id=PACK) for _ in range(3))
    story = Story(PACK_IS_500, purchase(lines=lines, paid=Money(100, "USD")))
    costs = [granted.cost_basis.amount for granted in story.events(e.Granted)]
    assert costs == [33, 33, 34]


def test_lines_with_amounts_share_the_cost_by_them() -> None:
    lines = (
        PurchaseLine(price_id=PACK, amount=300),
        PurchaseLine(price_id=PACK, amount=900),
    )
    story = Story(PACK_IS_500, purchase(lines=lines, paid=Money(1000, "USD")))
    assert [g.cost_basis.amount for g in story.events(e.Granted)] == [250, 750]


def test_a_line_without_a_price_grants_nothing_and_parks_nothing() -> None:
    story = Story(PACK_IS_500)
    answer = story.tell(purchase(lines=(PurchaseLine(price_id=None), *TWO_PACKS)))
    assert [grant["amount"] for grant in answer["grants"]] == [1000]


def test_a_free_purchase_grants() -> None:
    story = Story(PACK_IS_500, purchase(paid=Money(0, "USD")))
    assert story.available() == 1000


def test_a_price_worth_nothing_grants_nothing() -> None:
    price = SetPrice(provider="stripe", price_id=PACK, credits=Credits(0), kind="usage")
    story = Story(price)
    assert story.tell(purchase())["status"] == "paid"
    assert story.events(e.Granted) == []


class TestUnknownPrice:
    def test_the_payment_is_recorded_and_waits_for_the_price(self) -> None:
        story = Story()
        answer = story.tell(purchase())
        assert answer["status"] == "parked"
        assert answer["reason"] == "unknown_price"
        assert answer["waits_for"] == f"price:stripe:{PACK}"
        assert story.available() == 0
        [recorded] = story.events(PaymentRecorded)
        assert (recorded.customer_id, recorded.paid) == (CUSTOMER, PAID)

    def test_it_is_granted_when_the_price_is_entered(self) -> None:
        story = Story(purchase(), PACK_IS_500)
        assert story.tell(purchase())["status"] == "paid"
        assert story.available() == 1000
        assert len(story.events(PaymentRecorded)) == 1

    def test_one_unknown_price_parks_the_whole_purchase(self) -> None:
        story = Story(PACK_IS_500)
        lines = (*TWO_PACKS, PurchaseLine(price_id="price_nobody_knows"))
        answer = story.tell(purchase(lines=lines))
        assert answer["waits_for"] == "price:stripe:price_nobody_knows"
        assert story.events(e.Granted) == []

    def test_unknown_lines_wait_until_another_event_names_them(self) -> None:
        story = Story(PACK_IS_500)
        answer = story.tell(purchase(lines=None))
        assert answer["reason"] == "unknown_price"
        assert answer["waits_for"] == f"payment:stripe:{PAYMENT}"
        assert story.tell(purchase())["status"] == "paid"

    def test_it_is_learned_from_the_provider_where_nobody_entered_it(self) -> None:
        story = Story(order(refunded=0, minutes=0))
        assert story.available() == 800
        [learned] = story.events(PriceSet)
        assert (learned.terms.credits, learned.terms.origin) == (800, "learned")

    def test_what_was_entered_goes_before_what_the_provider_says(self) -> None:
        entered = SetPrice(provider="polar", price_id="polar-price-1", credits=Credits(900))
        assert Story(entered, order(refunded=0, minutes=0)).available() == 900

    def test_what_was_learned_serves_where_the_metadata_is_silent(self) -> None:
        story = Story(order(refunded=0, minutes=0))
        lines = (PurchaseLine(price_id="polar-price-1"),)
        story.tell(purchase(provider="polar", provider_id="ord-2", lines=lines))
        assert story.available() == 1600

    def test_a_waiting_order_takes_in_the_newer_snapshot(self) -> None:
        story = Story(
            order(refunded=0, minutes=0, credits=None),
            SetPrice(provider="polar", price_id="polar-price-1", credits=Credits(800)),
            order(refunded=300, minutes=9, credits=None),
        )
        assert story.available() == 600


class TestUnknownCustomer:
    def test_the_payment_is_recorded_and_waits_for_the_link(self) -> None:
        story = Story(PACK_IS_500)
        answer = story.tell(purchase(customer_id=None))
        assert answer["reason"] == "unknown_customer"
        assert answer["waits_for"] == f"link:stripe:{STRIPE_CUSTOMER}"
        story.tell(link())
        assert story.tell(purchase(customer_id=None))["customer_id"] == CUSTOMER
        assert story.available() == 1000

    def test_a_guest_waits_for_a_person(self) -> None:
        story = Story(PACK_IS_500)
        guest = purchase(customer_id=None, provider_customer_id=None)
        assert story.tell(guest)["waits_for"] == f"payment:stripe:{PAYMENT}"
        assign = AssignPurchase(provider="stripe", provider_id=PAYMENT, customer_id=CUSTOMER)
        story.tell(assign)
        story.tell(assign)
        assert story.tell(guest)["status"] == "paid"
        assert story.available() == 1000

    def test_a_granted_purchase_is_not_assigned_to_somebody_else(self) -> None:
        story = Story(PACK_IS_500, purchase())
        assign = AssignPurchase(provider="stripe", provider_id=PAYMENT, customer_id="ws_other")
        outcome = story.outcome(assign)
        assert isinstance(outcome, Receipt)
        assert outcome.outcome == "payment_already_granted"

    def test_a_purchase_that_nobody_told_of_cannot_be_assigned(self) -> None:
        assign = AssignPurchase(provider="stripe", provider_id="pi_none", customer_id=CUSTOMER)
        outcome = Story().outcome(assign)
        assert isinstance(outcome, Receipt)
        assert outcome.outcome == "payment_not_found"

    def test_a_purchase_that_names_its_owner_links_the_customer(self) -> None:
        story = Story(PACK_IS_500, purchase())
        later = purchase(provider_id="pi_later", customer_id=None)
        assert story.tell(later)["customer_id"] == CUSTOMER

    def test_a_purchase_goes_to_whom_it_names_and_leaves_a_better_link_alone(self) -> None:
        story = Story(PACK_IS_500, link("ws_linked"), purchase())
        assert story.available() == 1000
        later = purchase(provider_id="pi_later", customer_id=None)
        assert story.tell(later)["customer_id"] == "ws_linked"


class TestLinks:
    def test_the_newer_word_stands_whatever_comes_last(self) -> None:
        older, newer = link("ws_old"), link("ws_new", as_of=PAID_AT + timedelta(days=1))
        for told in ([older, newer], [newer, older]):
            assert Story(*told).tell(newer)["customer_id"] == "ws_new"

    def test_a_link_by_hand_stands(self) -> None:
        story = Story(link("ws_by_hand", origin="hand", as_of=None))
        story.now += timedelta(days=2)
        answer = story.tell(link(as_of=NOW + timedelta(days=1)))
        assert answer["customer_id"] == "ws_by_hand"

    @pytest.mark.parametrize("origin", ["customer", "hand"])
    def test_the_same_word_again_writes_nothing(self, origin: str) -> None:
        said = link(origin=origin, as_of=None if origin == "hand" else PAID_AT)
        story = Story(said)
        story.now += timedelta(days=1)
        story.tell(said)
        assert len(story.events(CustomerLinked)) == 1

    def test_a_person_opens_a_closed_link_again(self) -> None:
        by_hand = link(origin="hand", as_of=None)
        close = CloseLink(
            provider="stripe", provider_customer_id=STRIPE_CUSTOMER, customer_id=None, closed_at=NOW
        )
        story = Story(by_hand, close)
        assert story.tell(link())["closed"] is True
        assert story.tell(by_hand)["closed"] is False

    def test_a_closed_link_still_says_whose_old_payments_are(self) -> None:
        close = CloseLink(
            provider="stripe",
            provider_customer_id=STRIPE_CUSTOMER,
            customer_id=None,
            closed_at=NOW,
        )
        story = Story(PACK_IS_500, link())
        assert story.tell(close)["closed"] is True
        assert story.tell(close)["closed"] is True
        assert story.tell(purchase(customer_id=None))["customer_id"] == CUSTOMER

    def test_a_deletion_that_comes_first_names_the_owner_and_stays_closed(self) -> None:
        close = CloseLink(
            provider="stripe",
            provider_customer_id=STRIPE_CUSTOMER,
            customer_id=CUSTOMER,
            closed_at=NOW,
        )
        story = Story(close)
        answer = story.tell(link())
        assert (answer["customer_id"], answer["closed"]) == (CUSTOMER, True)

    def test_closing_what_was_never_linked_writes_nothing(self) -> None:
        close = CloseLink(
            provider="stripe",
            provider_customer_id=STRIPE_CUSTOMER,
            customer_id=None,
            closed_at=NOW,
        )
        assert Story(close).store.log == []


class TestPrices:
    @pytest.mark.parametrize("days", [0, 36_501])
    def test_an_expiry_out_of_range_is_refused(self, days: int) -> None:
        price = SetPrice(
            provider="stripe", price_id=PACK, credits=Credits(1), expires_after_days=days
        )
        assert isinstance(Story().outcome(price), Invalid)

    def test_usage_is_worth_no_credits(self) -> None:
        price = SetPrice(provider="stripe", price_id=PACK, credits=Credits(1), kind="usage")
        assert isinstance(Story().outcome(price), Invalid)

    def test_the_same_terms_again_write_nothing(self) -> None:
        assert len(Story(PACK_IS_500, PACK_IS_500).store.log) == 1

    def test_a_new_worth_leaves_old_grants_alone(self) -> None:
        story = Story(PACK_IS_500, purchase())
        story.tell(SetPrice(provider="stripe", price_id=PACK, credits=Credits(9)))
        story.tell(purchase())
        assert story.available() == 1000


def test_more_than_an_account_can_hold_is_refused_without_a_trace() -> None:
    story = Story(SetPrice(provider="stripe", price_id=PACK, credits=CREDITS_MAX))
    written = len(story.store.log)
    outcome = story.outcome(purchase())
    assert isinstance(outcome, Receipt)
    assert outcome.outcome == "balance_limit_exceeded"
    assert len(story.store.log) == written


def test_news_in_another_currency_is_parked() -> None:
    story = Story(PACK_IS_500, purchase())
    outcome = story.outcome(purchase(paid=Money(1800, "EUR")))
    assert isinstance(outcome, Parked)
    assert outcome.values["reason"] == "unknown_value"


def test_the_payment_says_what_each_line_was_worth() -> None:
    story = Story(PACK_IS_500, purchase(refund_total=RefundTotal(amount=0)))
    [granted] = story.events(PaymentGranted)
    [line] = granted.lines
    assert (line.price_id, line.quantity, line.asset, line.credits) == (PACK, 2, "credits", 1000)


class TestSeveralTimes:
    """Each event that tells of a purchase has a time of its own; the first stands."""

    EARLIER = PAID_AT - timedelta(seconds=2)

    def test_what_was_granted_ends_with_the_first_time(self) -> None:
        story = Story(PACK_IS_500, purchase(), purchase(paid_at=self.EARLIER))
        [lot] = story.account().lots.burn_order()
        assert lot.expires_at == self.EARLIER + timedelta(days=365)
        assert len(story.events(PaymentRedated)) == 1

    def test_a_later_time_changes_nothing(self) -> None:
        story = Story(PACK_IS_500, purchase(paid_at=self.EARLIER), purchase())
        [lot] = story.account().lots.burn_order()
        assert lot.expires_at == self.EARLIER + timedelta(days=365)
        assert story.events(PaymentRedated) == []

    def test_what_waited_is_granted_from_the_first_time(self) -> None:
        story = Story(purchase(paid_at=self.EARLIER), PACK_IS_500, purchase())
        [lot] = story.account().lots.burn_order()
        assert lot.effective_at == self.EARLIER
        assert lot.expires_at == self.EARLIER + timedelta(days=365)

    def test_an_expiry_that_somebody_set_stays(self) -> None:
        story = Story(PACK_IS_500, purchase())
        [lot] = story.account().lots.burn_order()
        story.tell(ChangeExpiry(grant_id=lot.grant_id, expires_at=None))
        story.tell(purchase(paid_at=self.EARLIER))
        [lot] = story.account().lots.burn_order()
        assert lot.expires_at is None

    def test_what_has_ended_is_left_alone(self) -> None:
        story = Story(PACK_IS_500, purchase())
        story.now = PAID_AT + timedelta(days=366)
        story.tell(purchase(paid_at=self.EARLIER))
        assert story.events(e.ExpiryChanged) == []
        assert story.available() == 0
