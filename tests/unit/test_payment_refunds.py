"""What refunds of a payment take back is a target (domain/README.md, 11.2 and 11.3)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.domain import events as e
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import Command, DeductCredits, ReinstateGrant, RevokeGrant
from creditledger.domain.errors import LedgerError, Parked
from creditledger.domain.payment_events import RefundReported, RemovalSet
from creditledger.domain.provider_commands import PurchaseLine, ReportRefund, SetPrice
from purchase_story import (
    CUSTOMER,
    NOW,
    PACK,
    PACK_IS_500,
    PAID_AT,
    PAYMENT,
    TWO_PACKS,
    Story,
    order,
    purchase,
    refund,
    refunded_in_all,
)


@pytest.fixture
def bought() -> Story:
    """1000 credits for 1800 cents."""
    return Story(PACK_IS_500, purchase())


def grant_id(story: Story) -> str:
    [removal] = story.tell(purchase())["grants"]
    return str(removal["grant_id"])


@pytest.mark.parametrize(
    ("refunded", "left"), [(0, 1000), (1, 1000), (2, 999), (450, 750), (1799, 1), (1800, 0)]
)
def test_what_is_left_follows_from_what_is_refunded_in_all(
    bought: Story, refunded: int, left: int
) -> None:
    bought.tell(refunded_in_all(refunded))
    assert bought.available() == left


def test_more_than_was_paid_takes_all_and_no_more(bought: Story) -> None:
    bought.tell(refunded_in_all(5000))
    assert bought.balance() == e.Balance(0, 0, 0, 0, 0)


def test_three_thirds_take_exactly_what_one_whole_takes() -> None:
    price = SetPrice(provider="stripe", price_id=PACK, credits=Credits(50))
    story = Story(price, purchase(paid=Money(900, "USD")))
    left = []
    for told in (300, 600, 900):
        story.tell(refunded_in_all(told))
        left.append(story.available())
    assert left == [67, 34, 0]


def test_a_refund_told_by_its_object_and_by_the_charge_counts_once(bought: Story) -> None:
    bought.tell_all([refund("re_1", 450), refunded_in_all(450), refund("re_1", 450)])
    assert bought.available() == 750
    assert len(bought.events(e.Revoked)) == 1


def test_the_larger_of_refund_objects_and_charge_counts(bought: Story) -> None:
    bought.tell_all([refund("re_1", 450), refund("re_2", 450), refunded_in_all(450)])
    assert bought.available() == 500
    bought.tell(refunded_in_all(1350))
    assert bought.available() == 250


@pytest.mark.parametrize("status", ["pending", "requires_action", "failed", "canceled"])
def test_a_refund_that_has_moved_no_money_takes_nothing(bought: Story, status: str) -> None:
    bought.tell(refund("re_1", 450, status))  # type: ignore[arg-type]
    assert bought.available() == 1000
    assert len(bought.events(RefundReported)) == 1


def test_a_refund_that_fails_later_gives_back_what_it_took(bought: Story) -> None:
    bought.tell_all([refund("re_1", 450), refunded_in_all(450)])
    bought.tell(refund("re_1", 450, "failed"))
    assert bought.available() == 1000
    answer = bought.tell(purchase())
    assert answer["status"] == "paid"
    assert [grant["removed"] for grant in answer["grants"]] == [0]


def test_a_refund_that_failed_does_not_come_back_by_old_news(bought: Story) -> None:
    bought.tell_all([refund("re_1", 450, "failed"), refund("re_1", 450, "pending")])
    bought.tell(refund("re_1", 450))
    assert bought.available() == 1000


def test_refunds_of_an_unknown_payment_are_parked_until_it_is_granted() -> None:
    story = Story(purchase())  # Its price is not known, so nothing is granted.
    for news in (refund("re_1", 450), refunded_in_all(450)):
        outcome = story.outcome(news)
        assert isinstance(outcome, Parked)
        assert outcome.values["reason"] == "unknown_payment"
        assert outcome.values["waits_for"] == f"payment:stripe:{PAYMENT}"


def test_a_refund_in_another_currency_is_parked(bought: Story) -> None:
    outcome = bought.outcome(refunded_in_all(450, currency="EUR"))
    assert isinstance(outcome, Parked)
    assert outcome.values["reason"] == "unknown_value"


def test_nothing_is_removed_where_nothing_was_paid() -> None:
    story = Story(PACK_IS_500, purchase(paid=Money(0, "USD")))
    story.tell(refunded_in_all(450))
    assert story.available() == 1000


def test_what_was_spent_becomes_debt(bought: Story) -> None:
    bought.tell(DeductCredits(customer_id=CUSTOMER, amount=Credits(900)))
    bought.tell(refunded_in_all(900))
    balance = bought.balance()
    assert (balance.available, balance.debt) == (0, 400)


def test_what_came_after_its_time_leaves_no_debt() -> None:
    late = purchase(paid_at=NOW - timedelta(days=400))
    story = Story(PACK_IS_500, late, refunded_in_all(900))
    assert story.balance() == e.Balance(0, 0, 0, 0, 0)
    [revoked] = story.events(e.Revoked)
    assert (revoked.amount, revoked.debt, revoked.written_off) == (500, 0, 500)


def test_what_expired_in_its_time_is_owed(bought: Story) -> None:
    bought.now = PAID_AT + timedelta(days=366)
    bought.tell(refunded_in_all(900))
    assert bought.balance().debt == 500


class TestByHand:
    def test_what_was_revoked_by_hand_counts(self, bought: Story) -> None:
        bought.tell(RevokeGrant(grant_id=grant_id(bought), amount=Credits(100)))
        bought.tell(refunded_in_all(450))
        assert bought.available() == 750
        [removal] = bought.events(RemovalSet)
        assert [lot.amount for lot in removal.removed] == [150]

    def test_more_by_hand_than_the_target_is_left_alone(self, bought: Story) -> None:
        bought.tell(RevokeGrant(grant_id=grant_id(bought), amount=Credits(600)))
        bought.tell(refunded_in_all(450))
        assert bought.available() == 400
        assert bought.events(RemovalSet) == []

    def test_only_what_the_policy_took_comes_back(self, bought: Story) -> None:
        bought.tell(RevokeGrant(grant_id=grant_id(bought), amount=Credits(100)))
        bought.tell(refund("re_1", 450))
        bought.tell(refund("re_1", 450, "failed"))
        assert bought.available() == 900

    def test_a_rising_target_gives_nothing_back(self, bought: Story) -> None:
        bought.tell(refunded_in_all(900))
        bought.tell(RevokeGrant(grant_id=grant_id(bought), amount=Credits(300)))
        bought.tell(refunded_in_all(1350))
        assert bought.available() == 200

    def test_old_news_does_not_take_again_what_was_reinstated_by_hand(self, bought: Story) -> None:
        bought.tell(refund("re_1", 450))
        bought.tell(ReinstateGrant(grant_id=grant_id(bought), amount=Credits(250)))
        bought.tell_all([refund("re_1", 450), refunded_in_all(450)])
        assert bought.available() == 1000

    def test_a_full_refund_takes_that_too(self, bought: Story) -> None:
        bought.tell(refunded_in_all(450))
        bought.tell(ReinstateGrant(grant_id=grant_id(bought), amount=Credits(250)))
        bought.tell(refunded_in_all(1800))
        assert bought.available() == 0
        assert [lot.amount for lot in bought.events(RemovalSet)[-1].removed] == [1000]


class TestSeveralGrants:
    def test_the_latest_goes_first_and_the_first_comes_back_first(self) -> None:
        lines = (PurchaseLine(price_id=PACK), PurchaseLine(price_id=PACK))
        story = Story(PACK_IS_500, purchase(lines=lines))
        first, second = (grant["grant_id"] for grant in story.tell(purchase())["grants"])
        story.tell(refund("re_1", 1350))
        assert [(r.grant_id, r.amount) for r in story.events(e.Revoked)] == [
            (second, 500),
            (first, 250),
        ]
        story.tell(refund("re_1", 1350, "failed"))
        assert [(r.grant_id, r.amount) for r in story.events(e.Reinstated)] == [
            (first, 250),
            (second, 500),
        ]
        assert story.available() == 1000

    def test_each_asset_has_a_target_of_its_own(self) -> None:
        tokens = SetPrice(
            provider="stripe", price_id="price_tokens", credits=Credits(7), asset="tokens"
        )
        lines = (*TWO_PACKS, PurchaseLine(price_id="price_tokens"))
        story = Story(PACK_IS_500, tokens, purchase(lines=lines), refunded_in_all(900))
        assert story.available() == 500
        assert story.balance("tokens").available == 4


class TestSnapshots:
    """Polar's orders tell their total anew each time: the newest stands."""

    def test_the_first_snapshot_may_be_of_a_refunded_order(self) -> None:
        assert Story(order(refunded=300, minutes=9)).available() == 600

    def test_an_older_snapshot_changes_nothing(self) -> None:
        story = Story(order(refunded=1200, minutes=9), order(refunded=300, minutes=5))
        assert story.available() == 0

    def test_a_newer_snapshot_may_tell_less(self) -> None:
        story = Story(order(refunded=1200, minutes=5), order(refunded=300, minutes=9))
        assert story.available() == 600

    def test_refund_objects_are_kept_and_book_nothing(self) -> None:
        story = Story(order(refunded=0, minutes=0))
        report = ReportRefund(
            provider="polar",
            provider_id="ord-1",
            refund_id="refund-1",
            amount=Money(300, "USD"),
            status="succeeded",
            counted=False,
        )
        story.tell(report)
        assert story.available() == 800
        assert [r.refund_id for r in story.events(RefundReported)] == ["refund-1"]


#: One purchase at Stripe with two refunds, the second of which comes to nothing in the end.
STRIPE_NEWS: tuple[Command, ...] = (
    purchase(),
    purchase(customer_id=None),
    refund("re_1", 450, "pending"),
    refund("re_1", 450),
    refunded_in_all(450),
    refund("re_2", 700),
    refunded_in_all(1150),
    refund("re_2", 700, "failed"),
)

#: An order at Polar, refunded whole, of which a part came back.
POLAR_NEWS: tuple[Command, ...] = (
    order(refunded=0, minutes=0),
    order(refunded=300, minutes=5),
    order(refunded=1200, minutes=9),
    order(refunded=600, minutes=12),
)


def tell_until_booked(story: Story, news: list[Command]) -> None:
    """Tell everything, and what was parked again whenever something was booked."""
    parked: list[Command] = []
    for command in news:
        for told in (command, *parked):
            parked = [waiting for waiting in parked if waiting is not told]
            outcome = story.outcome(told)
            if isinstance(outcome, LedgerError) or "waits_for" in outcome.answer:
                parked.append(told)
    assert not parked


def told(news: tuple[Command, ...]) -> st.SearchStrategy[list[Command]]:
    """All of it in any order, and any of it again."""
    again = st.lists(st.sampled_from(news), max_size=4)
    return again.flatmap(lambda more: st.permutations([*news, *more]))


@given(told((PACK_IS_500, *STRIPE_NEWS)))
def test_order_and_repetition_do_not_matter_at_stripe(news: list[Command]) -> None:
    story = Story()
    tell_until_booked(story, [*news, PACK_IS_500])
    assert story.balance() == e.Balance(750, 0, 0, 0, 0)
    assert story.tell(purchase())["status"] == "partially_refunded"


@given(told(POLAR_NEWS))
def test_order_and_repetition_do_not_matter_at_polar(news: list[Command]) -> None:
    story = Story()
    tell_until_booked(story, news)
    assert story.balance() == e.Balance(400, 0, 0, 0, 0)


@given(
    refunds=st.lists(st.integers(1, 600), min_size=1, max_size=4),
    credits=st.integers(1, 10_000),
    paid=st.integers(1, 3_000),
    failing=st.integers(0, 3),
    data=st.data(),
)
def test_the_end_is_the_target_whatever_came_first(
    refunds: list[int], credits: int, paid: int, failing: int, data: st.DataObject
) -> None:
    news: list[Command] = [refund(f"re_{n}", amount) for n, amount in enumerate(refunds)]
    news += [refunded_in_all(sum(refunds[: n + 1])) for n in range(len(refunds))]
    lost = 0
    if failing < len(refunds):
        lost = refunds[failing]
        news.append(refund(f"re_{failing}", lost, "failed"))
    price = SetPrice(provider="stripe", price_id=PACK, credits=Credits(credits))
    story = Story(price, purchase(paid=Money(paid, "USD")))
    story.tell_all(data.draw(st.permutations(news)))
    in_all = min(paid, sum(refunds) - lost)
    assert story.available() == 2 * credits - 2 * credits * in_all // paid
