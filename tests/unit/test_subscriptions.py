"""What a provider tells of its subscriptions, and of its catalogue (domain/README.md, 11)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.errors import Parked
from creditledger.domain.price import Price, PriceReported
from creditledger.domain.product import Product, ProductReported
from creditledger.domain.provider_commands import (
    LearnedPrice,
    LinkCustomer,
    ReportPrice,
    ReportProduct,
    ReportSubscription,
    SetPrice,
    SubscriptionState,
)
from creditledger.domain.subscription import Subscription, SubscriptionReported, newness
from plan_story import BEGIN, MONTH, NEXT_MONTH
from purchase_story import CUSTOMER, Story, purchase

STREAM = ids.subscription_stream("stripe", "sub_Kestrel")


def report(status: str, hours: int, **changes: Any) -> ReportSubscription:
    """A snapshot, so many hours after the beginning."""
    owner = changes.pop("customer_id", CUSTOMER)
    state: dict[str, Any] = {
        "status": status,
        "price_id": "starter",
        "quantity": 1,
        "cancel_at_period_end": False,
        "current_period": MONTH,
    }
    return ReportSubscription(
        provider="stripe",
        subscription_id="sub_Kestrel",
        provider_customer_id="cus_Kestrel1",
        customer_id=owner,
        state=SubscriptionState(**{**state, **changes}),
        as_of=BEGIN + timedelta(hours=hours),
    )


def standing(story: Story) -> SubscriptionState:
    """How the subscription stands, from its events."""
    subscription = Subscription(STREAM)
    for event in story.store.streams[STREAM]:
        subscription.apply(event)
    assert subscription.newest is not None
    return subscription.newest[1]


LIFE = (
    report("incomplete", 0),
    report("active", 0),
    report("active", 100, price_id="pro"),
    report("past_due", 720, price_id="pro", current_period=NEXT_MONTH),
    report("active", 722, price_id="pro", current_period=NEXT_MONTH),
    report("active", 800, price_id="pro", current_period=NEXT_MONTH, cancel_at_period_end=True),
    report("canceled", 1464, price_id="pro", current_period=NEXT_MONTH, ended=True),
)


class TestSubscriptions:
    def test_plan_state_moves_no_credits(self) -> None:
        story = Story(*LIFE)
        assert standing(story).status == "canceled"
        assert story.events(e.Granted) == []

    @given(st.permutations(LIFE), st.lists(st.sampled_from(LIFE), max_size=4))
    def test_the_newest_report_stands_and_each_is_kept_once(
        self, news: list[ReportSubscription], again: list[ReportSubscription]
    ) -> None:
        story = Story(*news, *again)
        assert standing(story) == LIFE[-1].state
        kept = story.events(SubscriptionReported)
        assert sorted(newness(r.as_of, r.state) for r in kept) == sorted(
            newness(r.as_of, r.state) for r in LIFE
        )

    @pytest.mark.parametrize(
        ("earlier", "later"),
        [
            (report("incomplete", 0), report("active", 0)),
            (report("trialing", 0), report("active", 0)),
            (report("active", 0), report("canceled", 0, ended=True)),
            (report("past_due", 0), report("active", 0, current_period=NEXT_MONTH)),
            (report("active", 0), report("active", 0, cancel_at_period_end=True)),
            (report("active", 0), report("active", 0, quantity=2)),
        ],
    )
    def test_of_two_in_one_second_the_state_itself_decides(
        self, earlier: ReportSubscription, later: ReportSubscription
    ) -> None:
        assert standing(Story(earlier, later)) == later.state
        assert standing(Story(later, earlier)) == later.state

    def test_a_second_later_anything_may_be_taken_back(self) -> None:
        story = Story(report("active", 1, cancel_at_period_end=True), report("active", 2))
        assert not standing(story).cancel_at_period_end

    def test_one_that_names_nobody_waits_for_the_link(self) -> None:
        story = Story()
        outcome = story.outcome(report("active", 0, customer_id=None))
        assert isinstance(outcome, Parked)
        assert outcome.values["waits_for"] == "link:stripe:cus_Kestrel1"
        story.tell(
            LinkCustomer(
                provider="stripe",
                provider_customer_id="cus_Kestrel1",
                customer_id=CUSTOMER,
                origin="hand",
            )
        )
        assert story.tell(report("active", 0, customer_id=None))["customer_id"] == CUSTOMER

    def test_one_that_names_its_owner_links_the_customer(self) -> None:
        story = Story(
            SetPrice(provider="stripe", price_id="price_Pack500", credits=Credits(500)),
            report("active", 0),
            purchase(customer_id=None),
        )
        assert story.available() == 1000


def price_report(hours: int, worth: int | None, *, active: bool = True) -> ReportPrice:
    learned = None
    if worth is not None:
        learned = LearnedPrice(credits=Credits(worth), kind="one_time", plan_family="packs")
    return ReportPrice(
        provider="stripe",
        price_id="price_Pack500",
        product_id="prod_Pack",
        active=active,
        learned=learned,
        as_of=BEGIN + timedelta(hours=hours),
    )


class TestCatalogue:
    def test_a_learned_price_grants(self) -> None:
        story = Story(price_report(0, 500), purchase())
        assert story.available() == 1000

    def test_one_that_is_off_is_honoured_all_the_same(self) -> None:
        story = Story(price_report(0, 500), price_report(1, 500, active=False), purchase())
        assert story.available() == 1000

    def test_what_a_person_entered_stands(self) -> None:
        story = Story(
            SetPrice(provider="stripe", price_id="price_Pack500", credits=Credits(7)),
            price_report(0, 500),
            purchase(),
        )
        assert story.available() == 14

    def test_one_whose_metadata_says_nothing_is_not_guessed(self) -> None:
        story = Story(price_report(0, None), purchase())
        assert story.available() == 0

    @given(st.permutations([price_report(0, 500), price_report(1, 600), price_report(2, None)]))
    def test_the_newest_word_stands(self, news: list[ReportPrice]) -> None:
        story = Story(*news)
        price = Price(ids.price_stream("stripe", "price_Pack500"))
        for event in story.store.streams[price.id]:
            price.apply(event)
        assert price.reported is not None
        assert price.reported.as_of == BEGIN + timedelta(hours=2)
        assert price.terms is None

    def test_what_is_told_again_writes_nothing(self) -> None:
        story = Story(price_report(0, 500), price_report(0, 500))
        assert len(story.events(PriceReported)) == 1

    def test_an_old_word_does_not_come_between_two_that_say_the_same(self) -> None:
        story = Story(price_report(0, 500), price_report(3, 500), price_report(2, None), purchase())
        assert story.available() == 1000

    @given(
        st.permutations(
            [
                ReportProduct(
                    provider="stripe",
                    product_id="prod_Pack",
                    name=name,
                    active=active,
                    plan_family=None,
                    version=None,
                    as_of=BEGIN + timedelta(hours=hours),
                )
                for name, active, hours in [
                    ("Pack", True, 0),
                    ("Pack of credits", True, 1),
                    ("Pack of credits", False, 1),
                ]
            ]
        )
    )
    def test_the_newest_word_about_a_product_stands(self, news: list[ReportProduct]) -> None:
        story = Story(*news, *news)
        product = Product(ids.product_stream("stripe", "prod_Pack"))
        for event in story.store.streams[product.id]:
            product.apply(event)
        assert isinstance(product.reported, ProductReported)
        assert (product.reported.name, product.reported.active) == ("Pack of credits", False)
