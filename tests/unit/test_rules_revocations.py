"""Revocations and reinstatements (domain/README.md, 7)."""

from __future__ import annotations

import pytest

from creditledger.domain.amounts import CREDITS_MAX, Money
from creditledger.domain.errors import (
    BalanceLimitExceeded,
    GrantNotFound,
    ReinstatementExceedsRevocation,
    RevocationExceedsGrant,
)
from creditledger.domain.policies import Policies
from given_when_then import (
    ADA,
    BOB,
    DAY,
    NOW,
    PAYMENT,
    TICK,
    Sketch,
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
    refund,
    reinstate,
    reinstated,
    release,
    revoke,
    revoked,
    terms,
    transfer,
)

ENDS = NOW + DAY


# What a revocation takes.


@pytest.mark.parametrize("amount", [1, 9, 10])
def test_a_revocation_takes_what_is_left_of_the_lot(amount: int) -> None:
    """7.1"""
    given(granted(10)).when(revoke(grt(1), amount)).then(
        revoked(grt(1), amount, {grt(1): amount})
    ).then_answer(debt=0, written_off=0).then_balance(available=10 - amount)


def test_without_an_amount_it_takes_all() -> None:
    given(granted(10)).when(revoke(grt(1))).then(revoked(grt(1), 10, {grt(1): 10}))
    given(granted(10)).after(revoke(grt(1), 4)).when(revoke(grt(1))).then(
        revoked(grt(1), 6, {grt(1): 6})
    )


def test_a_lot_that_has_not_started_is_taken_too() -> None:
    given(granted(10, starts=ENDS)).when(revoke(grt(1))).then(revoked(grt(1), 10, {grt(1): 10}))


@pytest.mark.parametrize(("spent", "left", "debt"), [(1, 9, 1), (9, 1, 9), (10, 0, 10)])
def test_what_was_spent_becomes_debt(spent: int, left: int, debt: int) -> None:
    """7.1"""
    lots = {grt(1): left} if left else {}
    given(granted(10), deducted(spent, {grt(1): spent})).when(revoke(grt(1))).then(
        revoked(grt(1), 10, lots, debt=debt)
    ).then_answer(debt=debt, written_off=0).then_balance(debt=debt)


def test_or_it_is_written_off_where_the_policy_says_so() -> None:
    """7.1"""
    story = given(granted(10), deducted(4, {grt(1): 4}))
    story.when(revoke(grt(1), policy="write_off")).then(
        revoked(grt(1), 10, {grt(1): 6}, written_off=4)
    ).then_answer(debt=0, written_off=4).then_balance()


def test_the_policy_of_the_service_holds_where_the_command_says_nothing() -> None:
    spent = [granted(10), deducted(4, {grt(1): 4})]
    lenient = Policies(revocation_policy="write_off")
    given(*spent, policies=lenient).when(revoke(grt(1))).then_answer(written_off=4, debt=0)
    given(*spent, policies=lenient).when(revoke(grt(1), policy="debt")).then_answer(debt=4)


def test_held_credits_are_not_taken_the_debt_is() -> None:
    """7.1"""
    story = given(granted(10)).after(hold(4))
    story.when(revoke(grt(1))).then(revoked(grt(1), 10, {grt(1): 6}, debt=4))
    story.then_balance(held=4, debt=4)


def test_no_other_lot_is_taken_from() -> None:
    given(granted(10), granted(10), deducted(4, {grt(1): 4})).when(revoke(grt(1))).then_balance(
        available=10, debt=4
    )


def of_one_payment(*spent: int) -> list[Sketch]:
    """Three lots of ten of one payment, in burn order 2, 3, 1, and one of another."""
    lots = [
        granted(10, payment=PAYMENT),
        granted(10, payment=PAYMENT, ends=ENDS),
        granted(10, payment=PAYMENT, ends=ENDS + TICK),
        granted(10, payment="pay_other", priority=1),
    ]
    gone = {grt(1): spent[0]} if spent else {}
    return [*lots, deducted(sum(spent), gone)] if spent else lots


@pytest.mark.parametrize(
    ("amount", "from_"),
    [
        (5, {1: 4, 2: 1}),
        (4, {1: 4}),
        (3, {1: 3}),
        (10, {1: 4, 2: 6}),
    ],
)
def test_other_lots_of_the_payment_are_taken_from_next(amount: int, from_: dict[int, int]) -> None:
    """7.1: in burn order."""
    lots = {grt(lot): part for lot, part in from_.items()}
    given(*of_one_payment(6)).when(revoke(grt(1), amount)).then(
        revoked(grt(1), amount, lots, payment_id=PAYMENT)
    )


def test_what_was_taken_from_another_lot_counts_against_the_named_grant() -> None:
    """7.3"""
    story = given(*of_one_payment(6)).after(revoke(grt(1)))
    story.when(revoke(grt(1), 1)).then_refused(RevocationExceedsGrant, revocable=0)
    story.when(revoke(grt(2), 10)).then(
        revoked(grt(2), 10, {grt(2): 4, grt(3): 6}, payment_id=PAYMENT)
    )


def test_a_payments_debt_begins_where_all_its_lots_end() -> None:
    story = given(*of_one_payment(6)).after(revoke(grt(1)), revoke(grt(2)))
    story.when(revoke(grt(3))).then(
        revoked(grt(3), 10, {grt(3): 4}, debt=6, payment_id=PAYMENT)
    ).then_balance(available=10, debt=6)


# How much.


def test_one_below_at_and_one_above_what_was_granted() -> None:
    """7.2"""
    given(granted(10)).when(revoke(grt(1), 9)).then_answer(amount=9)
    given(granted(10)).when(revoke(grt(1), 10)).then_answer(amount=10)
    given(granted(10)).when(revoke(grt(1), 11)).then_refused(
        RevocationExceedsGrant, requested=11, revocable=10, grant_id=grt(1)
    )


def test_what_is_revoked_already_counts_net_of_what_was_reinstated() -> None:
    """7.2"""
    story = given(granted(10)).after(revoke(grt(1), 8), reinstate(grt(1), 3))
    story.when(revoke(grt(1), 6)).then_refused(RevocationExceedsGrant, revocable=5)
    story.when(revoke(grt(1), 5)).then(revoked(grt(1), 5, {grt(1): 5}))
    story.when(revoke(grt(1))).then_refused(RevocationExceedsGrant, requested=0, revocable=0)


def test_a_grant_can_be_revoked_whole_though_it_repaid_debt() -> None:
    story = given(granted(4), deducted(4, {grt(1): 4})).after(revoke(grt(1)), grant(10))
    story.when(revoke(grt(4))).then(revoked(grt(4), 10, {grt(4): 6}, debt=4))


@pytest.mark.parametrize("amount", [0, -1])
def test_a_revocation_of_nothing_is_no_revocation_of_all(amount: int) -> None:
    """2.1"""
    given(granted(10)).when(revoke(grt(1), amount)).then_invalid("amount")
    given(granted(10)).after(revoke(grt(1))).when(reinstate(grt(1), amount)).then_invalid("amount")


def test_debt_stays_within_the_range_of_credits() -> None:
    """2.1"""
    rest = CREDITS_MAX - 10
    story = given(granted(CREDITS_MAX)).after(deduct(CREDITS_MAX), grant(10), deduct(10))
    story.after(revoke(grt(1), rest)).then_balance(debt=rest)
    story.when(revoke(grt(3), 10)).then_balance(debt=CREDITS_MAX)
    story.when(revoke(grt(1), 1)).then_refused(BalanceLimitExceeded, would_be=CREDITS_MAX + 1)
    story.when(revoke(grt(1), 1, policy="write_off")).then_answer(written_off=1)


@pytest.mark.parametrize("grant_id", ["", "nonsense", grt(9), grt(2), grt(1, BOB), hld(1)])
def test_an_unknown_grant_is_not_found(grant_id: str) -> None:
    story = given(granted(10), deducted(1, {grt(1): 1}))
    story.when(revoke(grant_id)).then_refused(GrantNotFound, grant_id=grant_id)
    story.when(reinstate(grant_id)).then_refused(GrantNotFound, grant_id=grant_id)


def test_an_expired_grant_can_still_be_revoked() -> None:
    """The payment is gone, whatever became of the credits."""
    story = given(granted(10, ends=ENDS), deducted(4, {grt(1): 4})).at(ENDS)
    story.when(revoke(grt(1))).then(expired({grt(1): 6}, ENDS), revoked(grt(1), 10, {}, debt=10))


# Reinstatements.


@pytest.mark.parametrize("amount", [1, 9, 10])
def test_a_reinstatement_goes_back_to_the_lot(amount: int) -> None:
    """7.5"""
    given(granted(10)).after(revoke(grt(1))).when(reinstate(grt(1), amount)).then(
        reinstated(grt(1), amount, {grt(1): amount}, reopened=(terms(grt(1), 10),))
    ).then_answer(
        to=[{"grant_id": grt(1), "amount": amount}], debt_cancelled=0, lost=0
    ).then_balance(available=amount)


def test_a_reinstatement_of_more_than_is_revoked_is_refused() -> None:
    story = given(granted(10)).after(revoke(grt(1), 6))
    story.when(reinstate(grt(1), 7)).then_refused(
        ReinstatementExceedsRevocation, requested=7, reinstatable=6, grant_id=grt(1)
    )
    story.when(reinstate(grt(1))).then(reinstated(grt(1), 6, {grt(1): 6}))
    story.when(reinstate(grt(1))).then_refused(
        ReinstatementExceedsRevocation, requested=0, reinstatable=0
    )


@pytest.mark.parametrize(
    ("amount", "cancelled", "back"), [(3, 3, 0), (4, 4, 0), (5, 4, 1), (10, 4, 6)]
)
def test_open_debt_is_cancelled_first(amount: int, cancelled: int, back: int) -> None:
    """7.5"""
    story = given(granted(10), deducted(4, {grt(1): 4})).after(revoke(grt(1)))
    story.when(reinstate(grt(1), amount)).then(
        reinstated(
            grt(1),
            amount,
            {grt(1): back} if back else {},
            debt_cancelled={grt(1): cancelled},
            reopened=(terms(grt(1), 10),) if back else (),
        )
    ).then_answer(debt_cancelled=cancelled).then_balance(available=back, debt=4 - cancelled)


def test_revoked_and_reinstated_is_as_if_nothing_had_been() -> None:
    story = given(granted(10), deducted(4, {grt(1): 4})).after()
    before = story.account().balance()
    story.after(revoke(grt(1)), reinstate(grt(1)))
    assert story.account().balance() == before


def test_debt_of_other_grants_of_the_payment_is_cancelled_next() -> None:
    """7.5: oldest first."""
    lots = [granted(5, payment=PAYMENT) for _ in range(3)]
    story = given(*lots, deducted(10, {grt(1): 5, grt(2): 5}))
    story.after(revoke(grt(3)), revoke(grt(2)), revoke(grt(1))).then_balance(debt=10)
    story.when(reinstate(grt(3))).then(
        reinstated(grt(3), 5, {}, debt_cancelled={grt(2): 5})
    ).then_balance(debt=5)
    story.when(reinstate(grt(2))).then(reinstated(grt(2), 5, {}, debt_cancelled={grt(1): 5}))
    story.when(reinstate(grt(1))).then_balance(available=5)


def test_a_grants_own_debt_is_cancelled_before_an_older_one_of_its_payment() -> None:
    """7.5"""
    lots = [granted(5, payment=PAYMENT) for _ in range(2)]
    story = given(*lots, deducted(10, {grt(1): 5, grt(2): 5})).after(revoke(grt(2)), revoke(grt(1)))
    story.when(reinstate(grt(1), 4)).then(reinstated(grt(1), 4, {}, debt_cancelled={grt(1): 4}))


def test_debt_of_other_payments_is_not_cancelled() -> None:
    story = given(
        granted(5, payment=PAYMENT), granted(5, payment="pay_other"), granted(5), granted(5)
    )
    story.after(deduct(20), revoke(grt(2)), revoke(grt(3)), grant(5), revoke(grt(4)))
    story.after(revoke(grt(8))).then_balance(debt=15)
    story.when(reinstate(grt(4))).then(reinstated(grt(4), 5, {}, debt_cancelled={grt(4): 5}))
    story.when(reinstate(grt(8))).then(reinstated(grt(8), 5, {}, debt_cancelled={grt(8): 5}))
    story.then_balance(debt=5)


def test_debt_that_was_repaid_comes_back_as_credits() -> None:
    """The grant that repaid it paid for what is given back now."""
    story = given(granted(10), deducted(10, {grt(1): 10})).after(revoke(grt(1)), grant(4))
    story.then_balance(debt=6).when(reinstate(grt(1))).then_answer(debt_cancelled=6)
    story.then_balance(available=4)


@pytest.mark.parametrize(("amount", "back", "loss"), [(5, 5, 0), (6, 6, 0), (7, 6, 1), (10, 6, 4)])
def test_a_write_off_is_cancelled_last_and_nothing_comes_back_for_it(
    amount: int, back: int, loss: int
) -> None:
    """7.5"""
    story = given(granted(10), deducted(4, {grt(1): 4}))
    story.after(revoke(grt(1), policy="write_off")).when(reinstate(grt(1), amount)).then(
        reinstated(
            grt(1),
            amount,
            {grt(1): back},
            written_off=loss,
            reopened=(terms(grt(1), 10, written_off=4),),
        )
    ).then_answer(write_off_cancelled=loss).then_balance(available=back)


def test_a_cancelled_write_off_is_not_recovered_any_more() -> None:
    story = given(granted(10), deducted(4, {grt(1): 4}))
    story.after(revoke(grt(1), policy="write_off"), reinstate(grt(1)), refund(ded(2)))
    story.then_balance(available=10)


def test_debt_then_lot_then_write_off() -> None:
    """7.5: all three at once."""
    story = given(granted(10), deducted(7, {grt(1): 7}))
    story.after(revoke(grt(1), 5, policy="write_off"), revoke(grt(1), 5))
    story.then_balance(debt=5).when(reinstate(grt(1))).then(
        reinstated(
            grt(1),
            10,
            {grt(1): 3},
            debt_cancelled={grt(1): 5},
            written_off=2,
            reopened=(terms(grt(1), 10, written_off=2),),
        )
    ).then_balance(available=3)


def test_reinstating_one_grant_does_not_use_up_what_was_written_off_of_it() -> None:
    """Cancelling another's debt gives back what was taken of this one, never what was lost."""
    lots = [granted(10, payment=PAYMENT), granted(10, payment=PAYMENT)]
    story = given(*lots, deducted(20, {grt(1): 10, grt(2): 10}))
    story.after(revoke(grt(1), policy="write_off"), revoke(grt(2))).then_balance(debt=10)
    story.when(reinstate(grt(1))).then(reinstated(grt(1), 10, {}, written_off=10))
    story.when(reinstate(grt(2))).then_answer(debt_cancelled=10).then_balance()


def test_what_comes_back_to_a_lot_by_reinstatement_is_not_recovered() -> None:
    """7.4 is of releases and refunds; a reinstatement is the opposite of a revocation."""
    story = given(granted(10)).after(hold(4), revoke(grt(1)))
    story.when(reinstate(grt(1), 5)).then_answer(debt_cancelled=4)
    story.then_balance(available=1, held=4).after(release(hld(2))).then_balance(available=5)


def test_into_an_expired_lot_it_goes_expires_and_is_granted_anew() -> None:
    """7.5, 6.3, 6.4"""
    story = given(granted(10, ends=ENDS)).after(revoke(grt(1))).at(ENDS)
    story.when(reinstate(grt(1), 4)).then(
        reinstated(grt(1), 4, {grt(1): 4}, reopened=(terms(grt(1), 10, ENDS),)),
        expired({grt(1): 4}, ENDS),
        granted(
            4,
            source="refund",
            priority=30,
            starts=ENDS,
            ends=ENDS + 7 * DAY,
            origin_grant_id=grt(1),
        ),
    ).then_answer(to=[{"grant_id": grt(5), "amount": 4}], lost=0)


def test_one_tick_before_its_expiry_it_goes_back() -> None:
    story = given(granted(10, ends=ENDS)).after(revoke(grt(1))).at(ENDS - TICK)
    story.after(reinstate(grt(1))).then_balance(available=10).at(ENDS).then_balance()


def test_into_a_grace_lot_that_has_ended_it_is_lost() -> None:
    """6.4: no second grace."""
    story = given(granted(10, ends=ENDS), deducted(10, {grt(1): 10})).at(ENDS)
    story.after(refund(ded(2))).at(ENDS + DAY).after(revoke(grt(5))).at(ENDS + 7 * DAY)
    story.when(reinstate(grt(5))).then_answer(to=[], lost=10).then_balance()


def test_a_reinstatement_stays_within_the_range_of_credits() -> None:
    """2.1"""
    story = given(granted(10)).after(revoke(grt(1)), grant(CREDITS_MAX - 9))
    story.when(reinstate(grt(1), 10)).then_refused(BalanceLimitExceeded, would_be=CREDITS_MAX + 1)
    story.when(reinstate(grt(1), 9)).then_balance(available=CREDITS_MAX)


def test_cancelled_debt_does_not_count_towards_the_range() -> None:
    """2.1"""
    full = [granted(10), deducted(10, {grt(1): 10}), granted(CREDITS_MAX)]
    story = given(*full).after(revoke(grt(1))).then_balance(available=CREDITS_MAX, debt=10)
    story.when(reinstate(grt(1))).then_answer(debt_cancelled=10)
    story.then_balance(available=CREDITS_MAX)


def test_a_changed_expiry_outlasts_a_revocation() -> None:
    story = given(granted(10, ends=ENDS)).after(let_expire(grt(1), None), revoke(grt(1)))
    story.at(ENDS).after(reinstate(grt(1))).then_balance(available=10)


def test_taken_credits_come_back_to_the_named_grant_whatever_lot_they_came_from() -> None:
    """7.5"""
    story = given(*of_one_payment(6)).after(revoke(grt(1)))
    story.when(reinstate(grt(1))).then_answer(to=[{"grant_id": grt(1), "amount": 10}])
    assert {lot.grant_id: lot.remaining for lot in story.account().lots} == {
        grt(1): 10,
        grt(2): 4,
        grt(3): 10,
        grt(4): 10,
    }


def test_a_lot_may_come_to_hold_more_than_was_granted_and_its_cost_does_not_grow() -> None:
    """7.5: what its siblings gave for it came back to it, after a refund had filled it."""
    lots = [granted(10, payment=PAYMENT, cost_basis=Money(100, "EUR"), ends=ENDS) for _ in "ab"]
    story = given(*lots, deducted(6, {grt(1): 6})).after(revoke(grt(1)))
    story.after(refund(ded(3)), reinstate(grt(1)))
    assert [lot.remaining for lot in story.account().lots.burn_order()] == [16, 4]
    story.after(transfer(16))
    [passed_on] = story.account(BOB).lots
    assert passed_on.cost_basis == Money(100, "EUR")
    story.after(deduct(4), transfer(16, of=BOB, to=ADA), deduct(16)).at(ENDS)
    story.after(refund(story.answer_of("deduct")["deduction_id"]))
    [again] = story.account().lots
    assert again.cost_basis == Money(100, "EUR")


def test_who_is_paid_back_is_the_one_who_paid() -> None:
    """8.1: credits of a payment that were passed on are the sender's debt."""
    story = given(granted(10, payment=PAYMENT)).after(transfer(10))
    story.when(revoke(grt(1))).then(revoked(grt(1), 10, {}, debt=10, payment_id=PAYMENT))
    story.then_balance(debt=10).then_balance(of=BOB, available=10)


def test_a_grant_that_came_by_transfer_can_itself_be_revoked() -> None:
    story = given(granted(10, payment=PAYMENT)).after(transfer(10))
    story.when(revoke(grt(1, BOB), 4)).then(
        revoked(grt(1, BOB), 4, {grt(1, BOB): 4}, payment_id=PAYMENT).by(BOB)
    )
