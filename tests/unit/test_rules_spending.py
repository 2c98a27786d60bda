"""Deductions and overage (domain/README.md, 3.1, 3.6, 4.5 and 4.6)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from creditledger.domain.amounts import CREDITS_MAX
from creditledger.domain.errors import BalanceLimitExceeded, InsufficientCredits, Untimely
from given_when_then import (
    DAY,
    HOUR,
    NOW,
    TICK,
    Sketch,
    allow_overage,
    ded,
    deduct,
    deducted,
    given,
    grant,
    granted,
    grt,
    hold,
    overage_limit_set,
    refund,
    refunded,
    revoke,
)

MARCH_ENDS = datetime.fromisoformat("2026-04-01T00:00:00+00:00")
MIDNIGHT = datetime.fromisoformat("2026-03-11T00:00:00+00:00")
YEAR_ENDS = datetime.fromisoformat("2027-01-01T00:00:00+00:00")


# Deductions.


@pytest.mark.parametrize("amount", [1, 9, 10])
def test_a_deduction_takes_up_to_what_is_available(amount: int) -> None:
    """4.5"""
    given(granted(10)).when(deduct(amount)).then(deducted(amount, {grt(1): amount})).then_balance(
        available=10 - amount
    )


def test_a_deduction_of_one_more_is_refused_whole() -> None:
    """4.5"""
    given(granted(10)).when(deduct(11)).then_refused(InsufficientCredits, available=10, required=11)


def test_nothing_is_available_to_one_who_was_never_seen() -> None:
    story = given().when(deduct(1)).then_refused(InsufficientCredits, available=0, required=1)
    assert story.store.log == []


def test_a_deduction_says_which_lots_paid_and_what_they_are() -> None:
    soon = granted(4, source="gift", ends=NOW + DAY)
    story = given(soon, granted(10)).when(deduct(6, feature="render"))
    story.then(deducted(6, {grt(1): 4, grt(2): 2}, feature="render"))
    story.then_answer(
        overage=0,
        **{
            "from": [
                {
                    "grant_id": grt(1),
                    "source": "gift",
                    "amount": 4,
                    "expires_at": "2026-03-11T12:00:00.000000Z",
                },
                {"grant_id": grt(2), "source": "top_up", "amount": 2, "expires_at": None},
            ]
        },
    )


def test_held_credits_cannot_be_spent() -> None:
    """1.3"""
    story = given(granted(10)).after(hold(4))
    story.when(deduct(7)).then_refused(InsufficientCredits, available=6, required=7)
    story.when(deduct(6)).then(deducted(6, {grt(1): 6})).then_balance(held=4)


def test_debt_does_not_reduce_what_is_available() -> None:
    """1.3"""
    story = given(granted(10), granted(10)).after(deduct(15))
    story.after(revoke(grt(1))).then_balance(available=5, debt=10)
    story.when(deduct(5)).then(deducted(5, {grt(2): 5})).then_balance(debt=10)


# Overage.


def test_overage_is_off_until_a_limit_is_set() -> None:
    """4.6"""
    given(granted(3)).when(deduct(4)).then_refused(InsufficientCredits, overage_left=0)
    given(granted(3), overage_limit_set(0)).when(deduct(4)).then_refused(InsufficientCredits)


@pytest.mark.parametrize("limit", [0, 1, 5, None])
def test_a_limit_is_recorded(limit: int | None) -> None:
    given().when(allow_overage(limit)).then(overage_limit_set(limit))


def test_a_limit_is_not_negative() -> None:
    given().when(allow_overage(-1)).then_invalid("limit")


@pytest.mark.parametrize(("amount", "overage"), [(3, 0), (4, 1), (7, 4), (8, 5)])
def test_overage_pays_the_rest_up_to_its_limit(amount: int, overage: int) -> None:
    """4.5"""
    given(granted(3), overage_limit_set(5)).when(deduct(amount)).then(
        deducted(amount, {grt(1): 3}, overage=overage)
    ).then_balance(overage=overage)


def test_overage_of_one_more_than_the_limit_is_refused_whole() -> None:
    """4.5"""
    given(granted(3), overage_limit_set(5)).when(deduct(9)).then_refused(
        InsufficientCredits, available=3, required=9, overage_left=5
    )


def used(amount: int, limit: int | None = 5) -> list[Sketch]:
    """So much overage, used on the day before."""
    spent = deducted(amount, {}, overage=amount).recorded(NOW - DAY)
    return [overage_limit_set(limit), spent]


def test_what_was_used_in_the_period_counts_towards_the_limit() -> None:
    """4.6"""
    given(*used(3)).when(deduct(2)).then(deducted(2, {}, overage=2)).then_balance(overage=5)
    given(*used(3)).when(deduct(3)).then_refused(InsufficientCredits, overage_left=2)


def test_without_limit_any_amount_is_overage() -> None:
    """4.6"""
    given(overage_limit_set(None)).when(deduct(CREDITS_MAX)).then(
        deducted(CREDITS_MAX, {}, overage=CREDITS_MAX)
    )


def test_overage_stays_within_the_range_of_credits() -> None:
    """2.1: one below, at, one above."""
    nearly = used(CREDITS_MAX - 10, None)
    given(*nearly).when(deduct(9)).then(deducted(9, {}, overage=9))
    given(*nearly).when(deduct(10)).then(deducted(10, {}, overage=10))
    given(*nearly).when(deduct(11)).then_refused(BalanceLimitExceeded, would_be=CREDITS_MAX + 1)


def test_a_lower_limit_leaves_what_was_used_and_allows_no_more() -> None:
    story = given(*used(4)).after(grant(1), allow_overage(3)).then_balance(available=1, overage=4)
    story.when(deduct(2)).then_refused(InsufficientCredits, overage_left=0)
    story.when(deduct(1)).then(deducted(1, {grt(3): 1}))


@pytest.mark.parametrize(
    ("moment", "overage", "left"),
    [(MARCH_ENDS - TICK, 5, 0), (MARCH_ENDS, 0, 5), (MARCH_ENDS + TICK, 0, 5)],
)
def test_overage_starts_from_zero_with_each_month(
    moment: datetime, overage: int, left: int
) -> None:
    """4.6: UTC calendar months."""
    story = given(*used(5)).at(moment).then_balance(overage=overage)
    story.when(deduct(6)).then_refused(InsufficientCredits, overage_left=left)
    if left:
        story.when(deduct(5)).then(deducted(5, {}, overage=5)).then_balance(overage=5)


@pytest.mark.parametrize(("period", "end"), [("day", MIDNIGHT), ("year", YEAR_ENDS)])
def test_overage_may_be_counted_by_day_or_year(period: str, end: datetime) -> None:
    """4.6"""
    story = given().after(allow_overage(5, period=period), deduct(5))
    story.at(end - TICK).then_balance(overage=5)
    story.when(deduct(1)).then_refused(InsufficientCredits, overage_left=0)
    story.at(end).then_balance().when(deduct(5)).then(deducted(5, {}, overage=5))


def test_a_new_kind_of_period_starts_from_zero() -> None:
    story = given(*used(4)).after(allow_overage(5, period="day")).then_balance()
    story.when(deduct(5)).then(deducted(5, {}, overage=5))


def test_a_refund_of_what_an_older_kind_of_period_counted_frees_nothing_in_the_new_one() -> None:
    """The refund is of overage that the new count never held."""
    story = given(overage_limit_set(5)).after(deduct(4))
    story.at(NOW + TICK).after(allow_overage(5, period="day"), deduct(3)).then_balance(overage=3)
    story.when(refund(ded(2), 4)).then(
        refunded(ded(2), 4, {}, overage=4, overage_this_period=0)
    ).then_balance(overage=3)


def test_a_refund_frees_overage_of_this_month() -> None:
    """6.1, 10.3"""
    story = given(*used(5)).when(refund(ded(2), 2))
    story.then(refunded(ded(2), 2, {}, overage=2, overage_this_period=2)).then_balance(overage=3)
    story.when(deduct(3)).then_refused(InsufficientCredits, overage_left=2)
    story.when(deduct(2)).then(deducted(2, {}, overage=2)).then_balance(overage=5)


def test_a_refund_of_last_months_overage_frees_nothing_this_month() -> None:
    """10.3: the figure is of the current period."""
    story = given(*used(5)).at(MARCH_ENDS).after(deduct(4))
    story.when(refund(ded(2))).then(
        refunded(ded(2), 5, {}, overage=5, overage_this_period=0)
    ).then_balance(overage=4)


# Time that goes back, and the two times of a fact.


def test_a_command_is_never_earlier_than_the_accounts_last_event() -> None:
    """3.1: a clock that goes back does not bring back what has expired."""
    story = given(granted(5, ends=NOW)).at(NOW).after(grant(1)).at(NOW - HOUR)
    story.when(deduct(2)).then_refused(InsufficientCredits, available=1, required=2)
    story.after(deduct(1))
    assert [event.recorded_at for event in story.store.log[1:]] == [NOW, NOW, NOW]


def test_a_clock_that_goes_back_after_a_refusal_leaves_a_lot_that_has_started_usable() -> None:
    """3.1, 10.5: what a command saw is what replay sees."""
    story = given(granted(5, starts=NOW)).at(NOW)
    story.when(deduct(6)).then_refused(InsufficientCredits, available=5, required=6)
    story.at(NOW - HOUR).after(deduct(5))
    assert story.store.log[-1].recorded_at == NOW
    assert story.account().balance().total == 0


@pytest.mark.parametrize("ago", [timedelta(0), TICK, 400 * DAY])
def test_when_it_happened_is_kept_and_decides_nothing(ago: timedelta) -> None:
    """3.6"""
    story = given(granted(5, starts=NOW, ends=NOW + DAY))
    story.when(deduct(5, happened_at=NOW - ago)).then(deducted(5, {grt(1): 5}))
    event = story.store.log[-1]
    assert (event.recorded_at, event.context.happened_at) == (NOW, NOW - ago)


def test_nothing_happened_in_the_future() -> None:
    """3.6"""
    story = given(granted(5)).when(deduct(5, happened_at=NOW + TICK))
    story.then_refused(Untimely, field="happened_at")


def test_events_say_who_wished_it_and_with_what() -> None:
    story = given(granted(5)).when(deduct(1, metadata={"job": "7"}, feature="render"))
    event = story.store.log[-1]
    assert event.context.actor == "client:tests"
    assert event.context.metadata == {"job": "7"}
    assert event.context.causation_id == story.receipt.public_id
    assert event.context.correlation_id == event.context.causation_id
