"""Refunds of deductions (domain/README.md, 6)."""

from __future__ import annotations

import pytest

from creditledger.domain.amounts import CREDITS_MAX, Money
from creditledger.domain.errors import (
    BalanceLimitExceeded,
    DeductionNotFound,
    RefundExceedsDeduction,
    TransferNotRefundable,
)
from creditledger.domain.policies import Policies
from given_when_then import (
    BOB,
    DAY,
    HOUR,
    NOW,
    PAYMENT,
    TICK,
    Sketch,
    capture,
    ded,
    deduct,
    deducted,
    expired,
    given,
    grant,
    granted,
    grt,
    hld,
    hold,
    let_expire,
    overage_limit_set,
    recovered,
    refund,
    refunded,
    revoke,
    terms,
    transfer,
)

ENDS = NOW + DAY
#: Ten credits of each of two lots, the first to end tomorrow; fifteen are spent.
SPENT = [granted(10, ends=ENDS), granted(10), deducted(15, {grt(1): 10, grt(2): 5})]
DEDUCTION = ded(3)


FIRST = terms(grt(1), 10, ENDS)


# What goes back where.


def test_a_refund_of_all_goes_back_last_spent_first() -> None:
    """6.1"""
    given(*SPENT).when(refund(DEDUCTION)).then(
        refunded(DEDUCTION, 15, {grt(2): 5, grt(1): 10}, reopened=(FIRST,))
    ).then_answer(
        to=[{"grant_id": grt(2), "amount": 5}, {"grant_id": grt(1), "amount": 10}], lost=0
    ).then_balance(available=20)


@pytest.mark.parametrize(
    ("amount", "lots"),
    [(1, {2: 1}), (4, {2: 4}), (5, {2: 5}), (6, {2: 5, 1: 1}), (15, {2: 5, 1: 10})],
)
def test_a_part_goes_back_last_spent_first(amount: int, lots: dict[int, int]) -> None:
    """6.1"""
    back = {grt(lot): part for lot, part in lots.items()}
    again = (FIRST,) if 1 in lots else ()
    given(*SPENT).when(refund(DEDUCTION, amount)).then(
        refunded(DEDUCTION, amount, back, reopened=again)
    )


def test_parts_go_on_where_the_last_one_ended() -> None:
    """6.1, 6.2"""
    story = given(*SPENT).when(refund(DEDUCTION, 3)).then(refunded(DEDUCTION, 3, {grt(2): 3}))
    story.when(refund(DEDUCTION, 3)).then(
        refunded(DEDUCTION, 3, {grt(2): 2, grt(1): 1}, reopened=(FIRST,))
    )
    story.when(refund(DEDUCTION)).then(refunded(DEDUCTION, 9, {grt(1): 9}))
    story.then_balance(available=20)


def test_refunds_go_by_the_recorded_order_and_not_by_todays() -> None:
    """6.1"""
    story = given(*SPENT).after(let_expire(grt(2), NOW + HOUR))
    story.when(refund(DEDUCTION, 5)).then(refunded(DEDUCTION, 5, {grt(2): 5}))


def test_overage_is_refunded_first() -> None:
    """6.1"""
    spent = [granted(10), overage_limit_set(5), deducted(13, {grt(1): 10}, overage=3)]
    story = given(*spent).after().then_balance(overage=3)
    story.when(refund(DEDUCTION, 2)).then(
        refunded(DEDUCTION, 2, {}, overage=2, overage_this_period=2)
    ).then_balance(overage=1)
    story.when(refund(DEDUCTION, 2)).then(
        refunded(
            DEDUCTION,
            2,
            {grt(1): 1},
            overage=1,
            overage_this_period=1,
            reopened=(terms(grt(1), 10),),
        )
    ).then_answer(overage=1).then_balance(available=1)


def test_a_capture_is_refunded_from_its_end() -> None:
    """6.1: what it took beyond the hold was spent last."""
    story = given(granted(10)).after(hold(4), capture(hld(2), 6)).then_balance(available=4)
    story.when(refund(DEDUCTION, 3)).then(refunded(DEDUCTION, 3, {grt(1): 3}))
    story.when(refund(DEDUCTION)).then(refunded(DEDUCTION, 3, {grt(1): 3}))
    story.then_balance(available=10)


def test_pins_are_refunded_last_captured_first() -> None:
    """6.1"""
    story = given(granted(2, ends=ENDS), granted(5)).after(hold(4), capture(hld(3)))
    story.when(refund(ded(4), 3)).then_answer(
        to=[{"grant_id": grt(2), "amount": 2}, {"grant_id": grt(1), "amount": 1}]
    )


def test_a_captures_own_order_is_pins_first_and_free_lots_after() -> None:
    """6.1: free credits of a lot that burns before the pinned ones were still spent after them."""
    story = given(granted(4)).after(hold(4), grant(4, source="gift"), capture(hld(2), 6))
    story.when(refund(ded(4), 2)).then(refunded(ded(4), 2, {grt(3): 2}))
    story.when(refund(ded(4), 1)).then_answer(to=[{"grant_id": grt(1), "amount": 1}])


def test_refunded_credits_can_be_spent_again() -> None:
    story = given(*SPENT).after(refund(DEDUCTION))
    story.when(deduct(20)).then(deducted(20, {grt(1): 10, grt(2): 10}))


# How much.


def test_one_below_at_and_one_above_what_was_deducted() -> None:
    """6.2"""
    given(*SPENT).when(refund(DEDUCTION, 14)).then_answer(amount=14)
    given(*SPENT).when(refund(DEDUCTION, 15)).then_answer(amount=15)
    given(*SPENT).when(refund(DEDUCTION, 16)).then_refused(
        RefundExceedsDeduction, requested=16, refundable=15, deduction_id=DEDUCTION
    )


def test_all_refunds_together_are_no_more_than_the_deduction() -> None:
    """6.2"""
    story = given(*SPENT).after(refund(DEDUCTION, 10))
    story.when(refund(DEDUCTION, 6)).then_refused(RefundExceedsDeduction, refundable=5)
    story.after(refund(DEDUCTION, 5))
    story.when(refund(DEDUCTION, 1)).then_refused(RefundExceedsDeduction, refundable=0)
    story.when(refund(DEDUCTION)).then_refused(RefundExceedsDeduction, requested=0, refundable=0)


@pytest.mark.parametrize("amount", [0, -1])
def test_a_refund_of_nothing_is_no_refund_of_all(amount: int) -> None:
    """2.1"""
    given(*SPENT).when(refund(DEDUCTION, amount)).then_invalid("amount")


def test_a_refund_stays_within_the_range_of_credits() -> None:
    """2.1"""
    full = [granted(10), deducted(10, {grt(1): 10}), granted(CREDITS_MAX - 9)]
    given(*full).when(refund(ded(2), 9)).then_balance(available=CREDITS_MAX)
    given(*full).when(refund(ded(2), 10)).then_refused(
        BalanceLimitExceeded, would_be=CREDITS_MAX + 1
    )


def test_refunded_overage_does_not_count_towards_the_range() -> None:
    """2.1: it stands beside the total."""
    full = [overage_limit_set(5), deducted(5, {}, overage=5), granted(CREDITS_MAX)]
    given(*full).when(refund(ded(2))).then_answer(overage=5).then_balance(available=CREDITS_MAX)


@pytest.mark.parametrize("deduction_id", ["", "nonsense", ded(9), ded(1), ded(3, BOB), grt(3)])
def test_an_unknown_deduction_is_not_found(deduction_id: str) -> None:
    given(*SPENT).when(refund(deduction_id)).then_refused(
        DeductionNotFound, deduction_id=deduction_id
    )


def test_a_transfer_is_not_refundable() -> None:
    """6.5"""
    story = given(granted(10)).after(transfer(4))
    story.when(refund(ded(2))).then_refused(TransferNotRefundable, deduction_id=ded(2))
    story.when(refund(ded(2), 1_000)).then_refused(TransferNotRefundable)


# Into lots that have expired.

GRACE_ENDS = ENDS + 7 * DAY


def again(amount: int, origin: str, **more: object) -> Sketch:
    """The grace of a refund at the lot's expiry."""
    facts = {"starts": ENDS, "ends": GRACE_ENDS, "priority": 30, "origin_grant_id": origin}
    return granted(amount, source="refund", **{**facts, **more})


def test_into_an_expired_lot_it_goes_expires_and_is_granted_anew() -> None:
    """6.3, 6.4"""
    given(*SPENT).at(ENDS).when(refund(DEDUCTION, 7)).then(
        refunded(DEDUCTION, 7, {grt(2): 5, grt(1): 2}, reopened=(FIRST,)),
        expired({grt(1): 2}, ENDS),
        again(2, grt(1)),
    ).then_answer(
        to=[{"grant_id": grt(2), "amount": 5}, {"grant_id": grt(6), "amount": 2}], lost=0
    ).then_balance(available=12)


def test_one_tick_before_its_expiry_the_lot_takes_it_back() -> None:
    """6.3"""
    given(*SPENT).at(ENDS - TICK).when(refund(DEDUCTION, 7)).then(
        refunded(DEDUCTION, 7, {grt(2): 5, grt(1): 2}, reopened=(FIRST,))
    )


def test_by_the_other_policy_it_is_lost() -> None:
    """6.4"""
    given(*SPENT).at(ENDS).when(refund(DEDUCTION, 7, expired_lots="expire")).then(
        refunded(
            DEDUCTION,
            7,
            {grt(2): 5, grt(1): 2},
            reopened=(FIRST,),
            expired_lots="expire",
        ),
        expired({grt(1): 2}, ENDS),
    ).then_answer(to=[{"grant_id": grt(2), "amount": 5}], lost=2).then_balance(available=10)


def test_grace_ends_after_seven_days() -> None:
    """6.4"""
    story = given(granted(10, ends=ENDS), deducted(10, {grt(1): 10})).at(ENDS)
    story.after(refund(ded(2))).at(GRACE_ENDS - TICK).then_balance(available=10)
    story.at(GRACE_ENDS).then_balance()


def test_how_long_grace_is_is_a_policy() -> None:
    short = Policies(refund_grace=HOUR)
    story = given(granted(10, ends=ENDS), deducted(10, {grt(1): 10}), policies=short).at(ENDS)
    story.after(refund(ded(2))).at(ENDS + HOUR - TICK).then_balance(available=10)
    story.at(ENDS + HOUR).then_balance()


def test_grace_keeps_the_origins_priority_payment_and_share_of_the_cost() -> None:
    """6.4"""
    lot = granted(
        10, ends=ENDS, priority=3, source="gift", payment=PAYMENT, cost_basis=Money(999, "EUR")
    )
    same = {"payment_id": PAYMENT, "cost_basis": Money(999, "EUR")}
    given(lot, deducted(10, {grt(1): 10})).at(ENDS).when(refund(ded(2), 4)).then(
        refunded(
            ded(2),
            4,
            {grt(1): 4},
            reopened=(terms(grt(1), 10, ENDS, priority=3, source="gift", **same),),
        ),
        expired({grt(1): 4}, ENDS),
        again(4, grt(1), priority=3, payment=PAYMENT, cost_basis=Money(399, "EUR")),
    )


def test_there_is_no_second_grace() -> None:
    """6.4"""
    story = given(granted(10, ends=ENDS), deducted(10, {grt(1): 10})).at(ENDS)
    story.after(refund(ded(2)), deduct(10)).at(GRACE_ENDS)
    spent = story.answer_of("deduct")["deduction_id"]
    story.when(refund(spent)).then_answer(to=[], lost=10).then_balance()


def test_before_its_own_expiry_a_grace_lot_takes_back_what_it_paid() -> None:
    """6.4"""
    story = given(granted(10, ends=ENDS), deducted(10, {grt(1): 10})).at(ENDS)
    story.after(refund(ded(2)), deduct(10)).at(GRACE_ENDS - TICK)
    spent = story.answer_of("deduct")["deduction_id"]
    story.when(refund(spent)).then_answer(lost=0).then_balance(available=10)


def test_what_is_granted_anew_repays_debt() -> None:
    """4.4: any grant does."""
    story = given(granted(10, ends=ENDS), granted(5), deducted(15, {grt(1): 10, grt(2): 5}))
    story.after(revoke(grt(2))).then_balance(debt=5)
    story.at(ENDS).when(refund(ded(3), 12)).then_balance(available=7)


def test_a_refund_into_a_lot_that_is_only_held_and_expired() -> None:
    """6.3: an expired lot that a hold keeps open takes nothing back, either."""
    lot = granted(10, ends=ENDS)
    story = given(lot).after(deduct(6), hold(4, expires_in=30 * 86400)).at(ENDS)
    story.when(refund(ded(2), expired_lots="expire")).then(
        refunded(ded(2), 6, {grt(1): 6}, expired_lots="expire"), expired({grt(1): 6}, ENDS)
    ).then_answer(lost=6).then_balance(held=4)


# Into lots that were revoked.


def test_what_goes_back_to_a_revoked_lot_is_taken_first() -> None:
    """7.4"""
    story = given(granted(10), deducted(10, {grt(1): 10})).after(revoke(grt(1)))
    story.then_balance(debt=10).when(refund(ded(2), 4)).then(
        refunded(ded(2), 4, {grt(1): 4}, reopened=(terms(grt(1), 10),)),
        recovered(grt(1), 4, debt=4),
    ).then_answer(to=[], lost=0, recovered=4).then_balance(debt=6)


@pytest.mark.parametrize(("amount", "back"), [(5, 0), (6, 0), (7, 1)])
def test_no_more_is_taken_than_could_not_be_taken_before(amount: int, back: int) -> None:
    """7.4"""
    story = given(granted(10), deducted(10, {grt(1): 10})).after(revoke(grt(1), 6))
    story.after(refund(ded(2), amount)).then_balance(available=back, debt=6 - amount + back)


def test_a_write_off_is_recovered_too() -> None:
    """7.4: the open debt first, then the write-off."""
    story = given(granted(10), deducted(10, {grt(1): 10}))
    story.after(revoke(grt(1), 3, policy="write_off"), revoke(grt(1), 4))
    story.when(refund(ded(2), 5)).then(
        refunded(ded(2), 5, {grt(1): 5}, reopened=(terms(grt(1), 10, written_off=3),)),
        recovered(grt(1), 5, debt=4, written_off=1),
    )
    story.after(refund(ded(2), 3)).then_balance(available=1)


def test_what_is_taken_from_an_expired_lot_gets_no_grace() -> None:
    """7.4 comes before 6.4."""
    story = given(granted(10, ends=ENDS), deducted(10, {grt(1): 10})).after(revoke(grt(1), 6))
    story.at(ENDS).when(refund(ded(2))).then(
        refunded(ded(2), 10, {grt(1): 10}, reopened=(FIRST,)),
        recovered(grt(1), 6, debt=6),
        expired({grt(1): 4}, ENDS),
        again(4, grt(1)),
    )


def test_only_the_revoked_lot_itself_is_taken_from() -> None:
    """7.4: debt of one grant is not recovered from what comes back to another."""
    story = given(granted(5), granted(5), deducted(10, {grt(1): 5, grt(2): 5}))
    story.after(revoke(grt(1))).then_balance(debt=5)
    story.after(refund(ded(3), 5)).then_balance(available=5, debt=5)
