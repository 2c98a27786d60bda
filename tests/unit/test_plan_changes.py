"""What the bills of one subscription grant together (domain/README.md, 11)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.domain import events as e
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import Command, DeductCredits
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import PurchaseLine, RecordPurchase, SetPrice
from plan_story import (
    BEGIN,
    END,
    MONTH,
    NEXT_MONTH,
    PLANS,
    PlanStory,
    begun,
    bill,
    change,
    dispute,
    refunded,
    returned,
    tied,
    whole,
)
from purchase_story import CUSTOMER

STARTER = bill("in_1", 0, whole("starter"))
UPGRADE = change("in_2", 5, "starter", "pro")
DOWNGRADE = change("in_3", 7, "pro", "starter")
UP_AGAIN = change("in_4", 9, "starter", "pro")
TO_TEAM = change("in_5", 11, "pro", "team")


class TestOneBill:
    def test_a_period_is_granted_until_its_end_and_burns_before_what_was_bought(self) -> None:
        story = PlanStory(STARTER)
        [granted] = story.events(e.Granted)
        assert granted.amount == 1000
        assert (granted.source, granted.priority) == ("subscription", 10)
        assert (granted.effective_at, granted.expires_at) == (BEGIN, END)
        assert granted.cost_basis == Money(1000, "USD")

    def test_the_old_periods_rest_expires_at_its_own_time(self) -> None:
        story = PlanStory(
            STARTER,
            bill("in_6", 31, whole("starter", NEXT_MONTH)),
            now=END + timedelta(hours=1),
        )
        assert story.balance() == e.Balance(1000, 0, 0, 0, 0)
        assert [lot[3] for lot in story.lots()] == [NEXT_MONTH.end]

    def test_what_comes_after_its_period_is_recorded_and_expires_at_once(self) -> None:
        story = PlanStory(bill("in_1", 40, whole("starter")), now=END + timedelta(days=30))
        [granted] = story.events(e.Granted)
        assert (granted.effective_at, granted.expires_at) == (BEGIN, END)
        assert story.balance() == e.Balance(0, 0, 0, 0, 0)
        assert story.granted() == {"in_1": 1000}

    def test_a_price_may_say_how_long_its_credits_live(self) -> None:
        story = PlanStory()
        story.tell(
            SetPrice(
                provider="stripe",
                price_id="starter",
                credits=Credits(1000),
                kind="recurring",
                expires_after_days=90,
            )
        )
        story.hear([STARTER])
        [granted] = story.events(e.Granted)
        assert granted.expires_at == BEGIN + timedelta(days=90)

    def test_quantities_and_several_plans_add_up(self) -> None:
        story = PlanStory(bill("in_1", 0, whole("starter", quantity=3), whole("addon")))
        assert story.granted() == {"in_1": 3500}

    def test_what_is_bought_once_on_a_subscriptions_bill_lives_as_long_as_if_alone(self) -> None:
        pack = SetPrice(provider="stripe", price_id="pack", credits=Credits(70))
        story = PlanStory()
        story.tell(pack)
        story.hear([bill("in_1", 0, whole("starter"), PurchaseLine(price_id="pack"))])
        first, second = story.events(e.Granted)
        assert {(g.source, g.amount, g.expires_at) for g in (first, second)} == {
            ("subscription", 1000, END),
            ("top_up", 70, BEGIN + timedelta(days=365)),
        }

    def test_a_proration_without_a_period_is_not_guessed(self) -> None:
        story = PlanStory(bill("in_1", 0, PurchaseLine(price_id="pro", proration=True)))
        outcome = story.outcome(bill("in_1", 0, PurchaseLine(price_id="pro", proration=True)))
        assert not isinstance(outcome, Parked)
        assert outcome.answer["reason"] == "unknown_value"  # type: ignore[union-attr]
        assert story.events(e.Granted) == []

    def test_a_line_that_gives_money_back_grants_nothing(self) -> None:
        back = PurchaseLine(price_id="starter", credited=True, amount=-100)
        story = PlanStory(bill("in_1", 0, whole("pro"), back, replace(back, period=MONTH)))
        assert story.granted() == {"in_1": 5000}

    def test_one_unknown_price_parks_the_whole_bill(self) -> None:
        story = PlanStory(bill("in_1", 0, whole("starter"), whole("mystery")))
        assert story.events(e.Granted) == []
        story.tell(SetPrice(provider="stripe", price_id="mystery", credits=Credits(1)))
        story.hear([bill("in_1", 0, whole("starter"), whole("mystery"))])
        assert story.granted() == {"in_1": 1001}

    def test_a_bill_over_two_periods_ends_with_each(self) -> None:
        renewal = bill(
            "in_2",
            31,
            returned("starter", 20),
            begun("pro", 20),
            whole("pro", NEXT_MONTH),
        )
        story = PlanStory(STARTER, renewal, now=END + timedelta(hours=1))
        assert story.granted() == {"in_1": 1000, "in_2": 9000}
        assert story.balance().available == 5000


@pytest.mark.parametrize(
    ("bills", "granted"),
    [
        ([STARTER, UPGRADE], [1000, 4000]),
        ([STARTER, UPGRADE, DOWNGRADE], [1000, 4000, 0]),
        ([STARTER, UPGRADE, DOWNGRADE, UP_AGAIN], [1000, 4000, 0, 0]),
        ([STARTER, UPGRADE, UP_AGAIN], [1000, 4000, 0]),
        ([STARTER, UPGRADE, DOWNGRADE, UP_AGAIN, TO_TEAM], [1000, 4000, 0, 0, 3000]),
        # A change from a plan that costs nothing: its line gives nothing back, and says so.
        ([change("in_2", 5, "free", "pro")], [5000]),
        # Several changes in one bill: only passed through, yet never more than the highest.
        (
            [
                STARTER,
                bill("in_2", 9, returned("starter", 3), begun("pro", 3), returned("pro", 5),
                     begun("team", 5)),
                TO_TEAM,
            ],
            [1000, 7000, 0],
        ),
        # Seats: quantities count on both sides.
        (
            [
                bill("in_1", 0, whole("starter", quantity=5)),
                bill("in_2", 5, returned("starter", 5, 5), begun("starter", 5, 8)),
            ],
            [5000, 3000],
        ),
        # What is added beside the plan, twice, is added once.
        ([STARTER, bill("in_2", 5, begun("addon", 5)), bill("in_3", 6, begun("addon", 6))],
         [1000, 500, 0]),
        # A plan with something beside it is changed: what stands beside it stays.
        ([bill("in_1", 0, whole("starter"), whole("addon")), UPGRADE], [1500, 4000]),
        # The same period billed in whole twice is still one period.
        ([STARTER, bill("in_2", 1, whole("starter"))], [1000, 0]),
    ],
)  # fmt: skip
def test_no_more_than_the_highest_plan_is_granted(bills: list[Any], granted: list[int]) -> None:
    assert list(PlanStory(*bills).granted().values()) == granted


def test_each_period_has_a_ceiling_of_its_own() -> None:
    later = change("in_7", 40, "starter", "pro")
    later = bill(
        "in_7",
        40,
        *(
            PurchaseLine(
                price_id=line.price_id,
                period=NEXT_MONTH,
                proration=True,
                credited=line.credited,
            )
            for line in later.lines or ()
        ),
    )
    story = PlanStory(
        STARTER,
        UPGRADE,
        bill("in_6", 31, whole("starter", NEXT_MONTH)),
        later,
        now=END + timedelta(days=10),
    )
    assert story.granted() == {"in_1": 1000, "in_2": 4000, "in_6": 1000, "in_7": 4000}
    assert story.available() == 5000


class TestLateNews:
    def test_the_earlier_bill_takes_its_part_back_from_the_later_one(self) -> None:
        story = PlanStory(STARTER, UP_AGAIN)
        assert story.granted() == {"in_1": 1000, "in_4": 4000}
        story.hear([UPGRADE])
        assert story.granted() == {"in_1": 1000, "in_2": 4000, "in_4": 0}
        assert story.balance() == e.Balance(5000, 0, 0, 0, 0)

    def test_what_was_spent_of_it_is_repaid_by_the_earlier_one(self) -> None:
        story = PlanStory(STARTER, UP_AGAIN)
        story.tell(DeductCredits(customer_id=CUSTOMER, amount=Credits(4500)))
        story.hear([UPGRADE])
        assert story.balance() == e.Balance(500, 0, 0, 0, 0)

    def test_a_refund_takes_the_part_that_is_the_payments_own(self) -> None:
        story = PlanStory(STARTER, UP_AGAIN, tied("pi_4", "in_4"), refunded("pi_4", 500))
        assert story.available() == 3000
        story.hear([UPGRADE])
        assert story.available() == 5000
        story.hear([tied("pi_2", "in_2"), refunded("pi_2", 500)])
        assert story.available() == 3000


class TestTies:
    def test_refunds_of_an_invoice_wait_for_the_tie_and_for_the_invoice(self) -> None:
        story = PlanStory(refunded("pi_1", 1000))
        assert len(story.parked) == 1
        story.hear([tied("pi_1", "in_1")])
        assert len(story.parked) == 1
        story.hear([STARTER])
        assert story.parked == []
        assert story.available() == 0

    def test_two_payments_of_one_invoice_are_added_up(self) -> None:
        story = PlanStory(STARTER, tied("pi_1", "in_1"), tied("pi_2", "in_1"))
        story.hear([refunded("pi_1", 250), refunded("pi_2", 250)])
        assert story.available() == 500

    def test_a_tie_is_said_once(self) -> None:
        story = PlanStory(STARTER, tied("pi_1", "in_1"))
        before = len(story.store.log)
        story.hear([tied("pi_1", "in_1"), tied("pi_1", "in_9"), tied("in_1", "in_1")])
        assert len(story.store.log) == before

    def test_what_was_bought_by_itself_is_granted_although_it_has_an_invoice(self) -> None:
        pack = bill("pi_1", 0, PurchaseLine(price_id="starter"), subscription_id=None)
        for news in ([tied("pi_1", "in_0"), pack], [pack, tied("pi_1", "in_0")]):
            story = PlanStory(*news, refunded("pi_1", 500))
            assert story.parked == []
            assert story.available() == 500


class TestDisputes:
    @pytest.mark.parametrize(
        ("standings", "left", "status"),
        [
            (["inquiry"], 1000, "paid"),
            (["open"], 0, "disputed"),
            (["open", "won"], 1000, "paid"),
            (["won", "open"], 1000, "paid"),
            (["open", "lost"], 0, "charged_back"),
            (["lost", "open", "inquiry"], 0, "charged_back"),
            (["open", "prevented"], 1000, "paid"),
        ],
    )
    def test_credits_follow_the_dispute_as_far_as_it_has_come(
        self, standings: list[str], left: int, status: str
    ) -> None:
        story = PlanStory(STARTER, tied("pi_1", "in_1"))
        story.hear(dispute("pi_1", standing) for standing in standings)
        assert story.available() == left
        assert story.payments()["in_1"].status == status

    def test_of_two_ends_the_newer_stands(self) -> None:
        story = PlanStory(STARTER, tied("pi_1", "in_1"))
        story.hear([dispute("pi_1", "won", 12), dispute("pi_1", "lost", 11)])
        assert story.available() == 1000
        story.hear([dispute("pi_1", "won", 14), dispute("pi_1", "lost", 13)])
        assert story.available() == 1000
        story.hear([dispute("pi_1", "lost", 15)])
        assert story.available() == 0

    def test_refund_and_dispute_together_take_all_and_no_more(self) -> None:
        story = PlanStory(STARTER, tied("pi_1", "in_1"), refunded("pi_1", 400))
        story.hear([dispute("pi_1", "open")])
        assert story.balance() == e.Balance(0, 0, 0, 0, 0)
        story.hear([dispute("pi_1", "won")])
        assert story.available() == 600

    def test_a_part_of_the_money_takes_a_part_of_the_credits(self) -> None:
        story = PlanStory(STARTER, tied("pi_1", "in_1"))
        story.hear([dispute("pi_1", "open", amount=Money(333, "USD"))])
        assert story.available() == 667

    def test_one_in_another_currency_is_parked(self) -> None:
        story = PlanStory(STARTER, tied("pi_1", "in_1"))
        outcome = story.outcome(dispute("pi_1", "open", amount=Money(1000, "EUR")))
        assert isinstance(outcome, Parked)
        assert outcome.values["reason"] == "unknown_value"

    def test_one_of_an_unknown_payment_waits_for_it(self) -> None:
        outcome = PlanStory().outcome(dispute("pi_1", "open"))
        assert isinstance(outcome, Parked)
        assert outcome.values["waits_for"] == "payment:stripe:pi_1"


NEWS: tuple[Command, ...] = (
    STARTER,
    UPGRADE,
    DOWNGRADE,
    UP_AGAIN,
    TO_TEAM,
    *(tied(f"pi_{n}", f"in_{n}") for n in range(1, 6)),
    refunded("pi_2", 300),
    refunded("pi_2", 700),
    dispute("pi_5", "open"),
    dispute("pi_5", "won", 12),
    dispute("pi_1", "open", dispute_id="dp_2"),
)


def ending(story: PlanStory) -> Any:
    payments = {
        name: (payment.status, payment.refunded, payment.disputed, payment.targets())
        for name, payment in story.payments().items()
        if payment.granted
    }
    return (
        story.granted(),
        {name: facts[:3] for name, facts in payments.items()},
        story.balance(),
        story.lots(),
    )


@given(st.permutations(NEWS), st.lists(st.sampled_from(NEWS), max_size=6))
def test_every_order_of_the_news_ends_the_same(
    news: list[Command], repeated: list[Command]
) -> None:
    assert ending(PlanStory(*news, *repeated)) == ending(PlanStory(*NEWS))


@given(st.permutations(NEWS), st.data())
def test_with_spending_in_between_each_payment_nets_the_same(
    news: list[Command], data: st.DataObject
) -> None:
    story = PlanStory()
    for command in news:
        story.hear([command])
        available = story.available()
        if available and data.draw(st.booleans()):
            amount = Credits(data.draw(st.integers(1, available)))
            story.tell(DeductCredits(customer_id=CUSTOMER, amount=amount))
    natural = PlanStory(*NEWS)
    assert story.granted() == natural.granted()
    assert _net(story) == _net(natural)


plans = st.sampled_from(["starter", "pro", "team"])
changes = st.builds(
    lambda n, day, old, new, worth: bill(
        f"in_{n}", day, returned(old, day, worth), begun(new, day, worth)
    ),
    st.integers(1, 9),
    st.integers(1, 14),
    plans,
    plans,
    st.integers(1, 2),
)
first_bills = st.builds(lambda plan: bill("in_0", 0, whole(plan)), plans)


@given(
    first_bills,
    st.lists(changes, max_size=6, unique_by=lambda bill: bill.provider_id),
    st.randoms(use_true_random=False),
)
def test_whatever_is_billed_in_whatever_order_the_highest_plan_is_all_there_is(
    first: RecordPurchase, later: list[RecordPurchase], random: Random
) -> None:
    bills = [first, *sorted(later, key=lambda bill: (bill.paid_at, bill.provider_id))]
    natural = PlanStory(*bills)
    random.shuffle(bills)
    story = PlanStory(*bills)
    assert story.granted() == natural.granted()
    assert story.balance() == natural.balance()
    highest = max(
        PLANS[line.price_id or ""] * line.quantity
        for bill in bills
        for line in bill.lines or ()
        if not line.credited
    )
    assert story.available() <= highest


def _net(story: PlanStory) -> dict[str, int]:
    """What each payment's grants are worth, less what was taken of them in all."""
    taken: dict[str, int] = {}
    for event in story.events(e.Revoked):
        taken[event.payment_id] = taken.get(event.payment_id, 0) + event.amount
    for event in story.events(e.Reinstated):
        grant = next(
            p for p in story.payments().values() if event.grant_id in {g.grant_id for g in p.grants}
        )
        taken[grant.payment_id] -= event.amount
    return {
        name: sum(g.amount for g in payment.grants) - taken.get(payment.payment_id, 0)
        for name, payment in sorted(story.payments().items())
        if payment.granted
    }
