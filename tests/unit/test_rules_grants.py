"""Grants, their burn order and their expiry (domain/README.md, 2, 3 and 4)."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import permutations

import pytest

from creditledger.domain.amounts import CREDITS_MAX, Money
from creditledger.domain.commands import GrantCredits
from creditledger.domain.errors import (
    BalanceLimitExceeded,
    GrantNotFound,
    InsufficientCredits,
    Untimely,
)
from creditledger.domain.policies import DEFAULT_PRIORITIES, Policies
from given_when_then import (
    ADA,
    DAY,
    HOUR,
    NOW,
    PAYMENT,
    START,
    TICK,
    Sketch,
    ded,
    deduct,
    deducted,
    expired,
    expiry_changed,
    given,
    grant,
    granted,
    grt,
    hld,
    hold,
    let_expire,
    overage_limit_set,
    refund,
    revoked,
    sweep,
)

NEXT_YEAR = NOW + timedelta(days=365)


def by_ada(amount: int, **more: object) -> Sketch:
    """What a command grants when it says nothing else."""
    return granted(amount, source="adjustment", **{"starts": NOW, **more})


# What a grant records.


def test_a_grant_is_recorded_with_its_terms() -> None:
    given().when(
        grant(
            100,
            source="promotion",
            expires_at=NEXT_YEAR,
            cost_basis=Money(900, "EUR"),
            reference="spring",
        )
    ).then(
        granted(
            100,
            source="promotion",
            starts=NOW,
            ends=NEXT_YEAR,
            cost_basis=Money(900, "EUR"),
            reference="spring",
        )
    ).then_answer(grant_id=grt(1), debt_repaid=0).then_balance(available=100)


@pytest.mark.parametrize(("source", "priority"), sorted(DEFAULT_PRIORITIES.items()))
def test_a_source_has_a_priority(source: str, priority: int) -> None:
    """4.2"""
    given().when(grant(1, source=source)).then(
        granted(1, source=source, priority=priority, starts=NOW)
    )


def test_the_priorities_of_the_rules() -> None:
    """4.2"""
    assert DEFAULT_PRIORITIES == {
        "subscription": 10,
        "rollover": 15,
        "trial": 20,
        "lead": 20,
        "promotion": 20,
        "referral": 20,
        "gift": 20,
        "bundle": 25,
        "top_up": 30,
        "adjustment": 40,
        "migration": 40,
    }


@pytest.mark.parametrize("priority", [0, 1, 1000])
def test_a_grant_may_set_its_own_priority(priority: int) -> None:
    """4.2"""
    given().when(grant(1, priority=priority)).then(by_ada(1, priority=priority))


@pytest.mark.parametrize("source", ["transfer", "refund", "", "TOP_UP"])
def test_a_grant_by_hand_needs_a_known_source(source: str) -> None:
    """Transfers and refunds keep their origin's priority: nobody grants such lots by hand."""
    given(granted(1)).when(grant(1, source=source)).then_invalid("source")


def test_days_count_from_the_start() -> None:
    given().when(grant(1, expires_after_days=30)).then(by_ada(1, ends=NOW + 30 * DAY))
    given().when(grant(1, expires_after_days=30, effective_at=NOW + DAY)).then(
        by_ada(1, starts=NOW + DAY, ends=NOW + 31 * DAY)
    )


def test_days_do_not_stand_beside_a_date() -> None:
    given().when(grant(1, expires_after_days=30, expires_at=NEXT_YEAR)).then_invalid(
        "expires_after_days"
    )


def test_days_past_the_calendar_are_invalid_and_no_fault() -> None:
    given().when(grant(1, expires_after_days=10_000_000)).then_invalid("expires_after_days")


# Start and expiry.


@pytest.mark.parametrize(
    ("start", "end"),
    [(NOW + DAY, NOW + DAY - TICK), (NOW + DAY, NOW + DAY), (NOW - DAY, NOW - DAY)],
)
def test_an_expiry_lies_after_the_start(start: datetime, end: datetime) -> None:
    """4.3"""
    given(granted(1)).when(grant(1, effective_at=start, expires_at=end)).then_invalid("expires_at")


def test_an_expiry_one_tick_after_the_start_will_do() -> None:
    """4.3"""
    start = NOW + DAY
    given().when(grant(1, effective_at=start, expires_at=start + TICK)).then(
        by_ada(1, starts=start, ends=start + TICK)
    ).then_balance(scheduled=1)


@pytest.mark.parametrize("end", [NOW - DAY, NOW - TICK, NOW])
def test_a_persons_grant_does_not_end_in_the_past(end: datetime) -> None:
    """4.3"""
    story = given(granted(1)).when(grant(1, effective_at=START, expires_at=end))
    story.then_refused(Untimely, field="expires_at")


def test_a_persons_grant_may_end_one_tick_from_now() -> None:
    given().when(grant(1, expires_at=NOW + TICK)).then(by_ada(1, ends=NOW + TICK)).then_balance(
        available=1
    ).at(NOW + TICK).then_balance()


@pytest.mark.parametrize(
    ("moment", "available", "scheduled"),
    [
        (NOW - TICK, 0, 7),
        (NOW, 7, 0),
        (NOW + TICK, 7, 0),
        (NOW + DAY - TICK, 7, 0),
        (NOW + DAY, 0, 0),
        (NOW + DAY + TICK, 0, 0),
    ],
)
def test_a_lot_is_usable_from_its_start_until_its_expiry(
    moment: datetime, available: int, scheduled: int
) -> None:
    """3.2, to the microsecond."""
    story = given(granted(7, starts=NOW, ends=NOW + DAY)).at(moment)
    story.then_balance(available=available, scheduled=scheduled)


def test_scheduled_credits_cannot_be_spent_before_their_start() -> None:
    """1.3, 3.2"""
    lot = granted(7, starts=NOW + TICK)
    given(lot).when(deduct(1)).then_refused(InsufficientCredits, available=0, required=1)
    given(lot).when(hold(1)).then_refused(InsufficientCredits, available=0, required=1)
    given(lot).at(NOW + TICK).when(deduct(7)).then(deducted(7, {grt(1): 7}))


def test_a_grant_may_start_in_the_past() -> None:
    given().when(grant(1, effective_at=START)).then(by_ada(1, starts=START))


# Expiry.


def test_a_command_writes_down_what_is_due_before_it_decides() -> None:
    """3.4"""
    given(granted(5, ends=NOW), granted(3)).when(deduct(3)).then(
        expired({grt(1): 5}, NOW), deducted(3, {grt(2): 3})
    )


def test_one_tick_earlier_nothing_is_due() -> None:
    given(granted(5, ends=NOW), granted(3)).at(NOW - TICK).when(deduct(6)).then(
        deducted(6, {grt(1): 5, grt(2): 1})
    )


def test_what_was_due_stays_written_where_the_command_is_refused() -> None:
    """3.4"""
    story = (
        given(granted(5, ends=NOW))
        .when(deduct(1))
        .then_refused(InsufficientCredits, available=0, required=1)
    )
    assert [event.TOPIC for event in story.store.log[1:]] == ["creditledger.Expired"]


def test_expiries_come_in_the_order_of_their_times() -> None:
    """3.3"""
    given(granted(1, ends=NOW), granted(2, ends=NOW - DAY), granted(4, ends=NOW - HOUR)).when(
        sweep()
    ).then(
        expired({grt(2): 2}, NOW - DAY),
        expired({grt(3): 4}, NOW - HOUR),
        expired({grt(1): 1}, NOW),
    )


def test_lots_of_one_expiry_end_together() -> None:
    given(granted(1, ends=NOW), granted(2, ends=NOW)).when(sweep()).then(
        expired({grt(1): 1, grt(2): 2}, NOW)
    )


def test_a_sweep_without_anything_due_writes_nothing() -> None:
    given(granted(5, ends=NOW + TICK)).when(sweep()).then()
    given().when(sweep()).then()


def test_an_expired_lot_is_gone_before_its_expiry_is_written() -> None:
    """3.5: no cron has to run."""
    given(granted(5, ends=NOW)).at(NOW).then_balance()


# Burn order.

EARLIER, LATER = START - DAY, START
#: In burn order: each is before the next by one reason alone, or by the grant that came first.
LADDER = [
    granted(1, priority=10, ends=NOW + 2 * DAY),
    granted(1, priority=20, ends=NOW + DAY),
    granted(1, priority=20, ends=NOW + DAY + TICK, starts=EARLIER),
    granted(1, priority=20, ends=NOW + DAY + TICK, starts=LATER),
    granted(1, priority=20, ends=None),
]


@pytest.mark.parametrize("order", list(permutations(range(5))), ids=str)
def test_lots_are_spent_in_burn_order_whatever_the_order_of_their_grants(
    order: tuple[int, ...],
) -> None:
    """4.1: priority, then expiry (none last), then start."""
    grants = [LADDER[place] for place in order]
    spent = {grt(order.index(place) + 1): 1 for place in range(5)}
    given(*grants).when(deduct(5)).then(deducted(5, spent))


def test_the_earliest_grant_is_spent_first_among_equals() -> None:
    """4.1"""
    given(granted(1), granted(1), granted(1)).when(deduct(2)).then(
        deducted(2, {grt(1): 1, grt(2): 1})
    )


def test_holds_pin_in_the_same_order() -> None:
    """5.1"""
    story = given(*reversed(LADDER)).when(hold(3)).then_answer(hold_id=hld(6))
    assert [leg["grant_id"] for leg in story.answer["from"]] == [grt(5), grt(4), grt(3)]


def test_a_subscriber_spends_the_months_credits_then_gifts_then_what_was_bought() -> None:
    given(
        granted(1, source="top_up"), granted(1, source="gift"), granted(1, source="subscription")
    ).when(deduct(3)).then(deducted(3, {grt(3): 1, grt(2): 1, grt(1): 1}))


# Debt.


def debt_of(amount: int, **more: object) -> list[Sketch]:
    """A grant that was spent and then revoked."""
    return [
        granted(amount),
        deducted(amount, {grt(1): amount}),
        revoked(grt(1), amount, {}, debt=amount),
    ]


def debt_of_the_second(amount: int) -> list[Sketch]:
    """The same, of an account that has another lot."""
    return [
        granted(amount, priority=1),
        deducted(amount, {grt(2): amount}),
        revoked(grt(2), amount, {}, debt=amount),
    ]


@pytest.mark.parametrize(
    ("amount", "repaid", "available", "debt"),
    [(9, 9, 0, 1), (10, 10, 0, 0), (11, 10, 1, 0)],
)
def test_a_grant_repays_debt_first(amount: int, repaid: int, available: int, debt: int) -> None:
    """4.4"""
    given(*debt_of(10)).when(grant(amount)).then(
        by_ada(amount, debt_repaid={grt(1): repaid})
    ).then_answer(debt_repaid=repaid).then_balance(available=available, debt=debt)


def test_the_oldest_debt_is_repaid_first() -> None:
    """4.4"""
    given(
        granted(5),
        granted(5),
        deducted(10, {grt(1): 5, grt(2): 5}),
        revoked(grt(2), 5, {}, debt=5),
        revoked(grt(1), 5, {}, debt=5),
    ).when(grant(7)).then(by_ada(7, debt_repaid={grt(2): 5, grt(1): 2})).then_balance(debt=3)


def test_a_grant_that_has_not_started_repays_debt_too() -> None:
    """4.4: at the moment it is granted."""
    given(*debt_of(10)).when(grant(12, effective_at=NOW + DAY)).then(
        by_ada(12, starts=NOW + DAY, debt_repaid={grt(1): 10})
    ).then_balance(scheduled=2)


def test_a_grant_does_not_repay_overage() -> None:
    """4.6"""
    given(overage_limit_set(10), deducted(4, {}, overage=4).recorded(NOW - DAY)).when(
        grant(10)
    ).then(by_ada(10)).then_balance(available=10, overage=4)


# The range of credits.


def test_a_total_stays_within_the_range_of_credits() -> None:
    """2.1: one below, at, one above."""
    nearly = granted(CREDITS_MAX - 10)
    given(nearly).when(grant(9)).then(by_ada(9))
    given(nearly).when(grant(10)).then(by_ada(10)).then_balance(available=CREDITS_MAX)
    given(nearly).when(grant(11)).then_refused(
        BalanceLimitExceeded, would_be=CREDITS_MAX + 1, limit=CREDITS_MAX
    )


def test_held_and_scheduled_credits_count_towards_the_range() -> None:
    """2.1"""
    story = given(granted(CREDITS_MAX - 10), granted(5, starts=NOW + DAY)).after(hold(100))
    story.when(grant(5)).then(by_ada(5))
    story.when(grant(1)).then_refused(BalanceLimitExceeded)


def test_what_repays_debt_does_not_count_towards_the_range() -> None:
    """2.1, 4.4"""
    story = given(*debt_of(10), granted(CREDITS_MAX, debt_repaid={grt(1): 10})).after()
    story.then_balance(available=CREDITS_MAX - 10)
    story.when(grant(11)).then_refused(BalanceLimitExceeded)
    owing = given(granted(10), *debt_of_the_second(10))
    owing.when(grant(CREDITS_MAX)).then_balance(available=CREDITS_MAX)
    owing.when(grant(1)).then_refused(BalanceLimitExceeded)


@pytest.mark.parametrize("amount", [0, -1, -CREDITS_MAX, CREDITS_MAX + 1])
def test_a_command_carries_one_credit_at_least_and_the_largest_integer_at_most(amount: int) -> None:
    """2.1: whatever a caller has worked out, the one door does not take it."""
    given(granted(10)).when(grant(amount)).then_invalid("amount")
    given(granted(10)).when(deduct(amount)).then_invalid("amount")


# Changed expiries.


def test_an_expiry_may_be_changed() -> None:
    """4.7"""
    given(granted(5, ends=NOW + DAY)).when(let_expire(grt(1), NOW + 2 * DAY)).then(
        expiry_changed(grt(1), to=NOW + 2 * DAY, previous=NOW + DAY)
    ).at(NOW + 2 * DAY - TICK).then_balance(available=5).at(NOW + 2 * DAY).then_balance()


def test_an_expiry_may_be_taken_away_and_brought_forward() -> None:
    """4.7"""
    story = given(granted(5, ends=NOW + DAY)).when(let_expire(grt(1), None))
    story.then(expiry_changed(grt(1), to=None, previous=NOW + DAY))
    story.when(let_expire(grt(1), NOW + TICK)).then(
        expiry_changed(grt(1), to=NOW + TICK, previous=None)
    ).at(NOW + TICK).then_balance()


@pytest.mark.parametrize("to", [NOW - DAY, NOW - TICK, NOW])
def test_an_expiry_is_not_moved_into_the_past(to: datetime) -> None:
    """4.7"""
    story = given(granted(5)).when(let_expire(grt(1), to))
    story.then_refused(Untimely, field="expires_at")


@pytest.mark.parametrize("to", [NOW + DAY - TICK, NOW + DAY])
def test_an_expiry_is_not_moved_before_the_start(to: datetime) -> None:
    """4.7"""
    given(granted(5, starts=NOW + DAY)).when(let_expire(grt(1), to)).then_invalid("expires_at")


def test_the_expiry_of_nothing_is_not_found() -> None:
    given(granted(5)).when(let_expire("grt_nothing", NEXT_YEAR)).then_refused(
        GrantNotFound, grant_id="grt_nothing"
    )


def test_a_changed_expiry_changes_the_burn_order() -> None:
    given(granted(1, ends=NOW + DAY), granted(1, ends=NOW + 2 * DAY)).after(
        let_expire(grt(1), NOW + 3 * DAY)
    ).when(deduct(1)).then(deducted(1, {grt(2): 1}))


def test_a_later_expiry_does_not_bring_back_what_has_expired() -> None:
    given(granted(5, ends=NOW - DAY)).when(let_expire(grt(1), NEXT_YEAR)).then(
        expired({grt(1): 5}, NOW - DAY),
        expiry_changed(grt(1), to=NEXT_YEAR, previous=NOW - DAY),
    ).then_balance()


def test_a_refund_goes_by_the_changed_expiry() -> None:
    """A lot that is empty remembers its new expiry."""
    story = given(granted(5, ends=NOW + DAY)).after(deduct(5), let_expire(grt(1), NEXT_YEAR))
    story.at(NOW + 2 * DAY).when(refund(ded(2))).then_answer(
        to=[{"grant_id": grt(1), "amount": 5}]
    ).then_balance(available=5)


# Policies.


def test_priorities_are_a_policy() -> None:
    first = Policies(priorities={"top_up": 1, "gift": 2})
    given(policies=first).when(grant(1, source="gift")).then(
        granted(1, source="gift", priority=2, starts=NOW)
    )
    given(policies=first).when(grant(1, source="trial")).then_invalid("source")


def test_assets_never_mix() -> None:
    """1.1"""
    tokens = GrantCredits(customer_id=ADA, asset="tokens", amount=CREDITS_MAX)
    story = given(granted(5)).after(tokens)
    story.when(deduct(6)).then_refused(InsufficientCredits, available=5, required=6)
    story.then_balance(available=5).then_balance(asset="tokens", available=CREDITS_MAX)


def test_a_payments_lot_keeps_its_payment() -> None:
    """A lot's payment is told by its grant, so that its revocation finds it."""
    story = given(granted(5, payment=PAYMENT)).after()
    assert [lot.payment_id for lot in story.account().lots] == [PAYMENT]
