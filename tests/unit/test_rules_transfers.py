"""Transfers, and what an account remembers (domain/README.md, 8 and 10.4)."""

from __future__ import annotations

import pytest

from creditledger.domain.amounts import CREDITS_MAX, Money
from creditledger.domain.errors import BalanceLimitExceeded, InsufficientCredits
from creditledger.domain.snapshots import take
from given_when_then import (
    ADA,
    BOB,
    DAY,
    NOW,
    PAYMENT,
    TICK,
    Sketch,
    capture,
    deduct,
    deducted,
    expired,
    given,
    grant,
    granted,
    grt,
    hld,
    hold,
    overage_limit_set,
    refund,
    release,
    revoke,
    revoked,
    transfer,
)

ENDS = NOW + DAY


def received(amount: int, origin: str, *, by: int, **more: object) -> Sketch:
    """What Bob gets of one of Ada's lots, by her event of this number."""
    facts = {"starts": NOW, "priority": 30, "origin_grant_id": origin, **more}
    sender = "ded" + grt(by)[3:]
    return granted(amount, source="transfer", transfer_id=sender, **facts).by(BOB)


@pytest.mark.parametrize("amount", [1, 9, 10])
def test_a_transfer_takes_up_to_what_is_available(amount: int) -> None:
    """8.1"""
    story = given(granted(10)).when(transfer(amount))
    story.then(deducted(amount, {grt(1): amount}, transfer_to=BOB), received(amount, grt(1), by=2))
    story.then_balance(available=10 - amount).then_balance(of=BOB, available=amount)
    story.then_answer(grants=[{"grant_id": grt(1, BOB), "amount": amount, "expires_at": None}])


def test_a_transfer_of_one_more_is_refused() -> None:
    given(granted(10)).when(transfer(11)).then_refused(
        InsufficientCredits, available=10, required=11
    )


def test_overage_never_pays_a_transfer() -> None:
    """8.1"""
    given(granted(10), overage_limit_set(None)).when(transfer(11)).then_refused(
        InsufficientCredits, available=10, required=11
    )


def test_held_and_scheduled_credits_are_not_transferred() -> None:
    story = given(granted(10), granted(10, starts=ENDS)).after(hold(4))
    story.when(transfer(7)).then_refused(InsufficientCredits, available=6)


def test_the_receiver_gets_one_grant_for_each_lot_touched() -> None:
    """8.1: the same expiry, priority and payment, and its share of the cost."""
    lots = [
        granted(10, source="top_up", payment=PAYMENT, cost_basis=Money(1000, "USD")),
        granted(10, source="gift", ends=ENDS),
        granted(10, source="migration"),
    ]
    given(*lots).when(transfer(13)).then(
        deducted(13, {grt(2): 10, grt(1): 3}, transfer_to=BOB),
        received(10, grt(2), by=4, priority=20, ends=ENDS),
        received(3, grt(1), by=4, payment=PAYMENT, cost_basis=Money(300, "USD")),
    )


def test_shares_of_the_cost_add_up() -> None:
    """2.3: three transfers of a third carry what one whole transfer would."""
    lot = granted(3, cost_basis=Money(1000, "USD"))
    story = given(lot).after(transfer(1), transfer(1), transfer(1))
    costs = [lot.cost_basis for lot in story.account(BOB).lots]
    assert sum(cost.amount for cost in costs if cost) == 1000
    [whole] = given(lot).after(transfer(3)).account(BOB).lots
    assert whole.cost_basis == Money(1000, "USD")


def test_nothing_is_transferred_to_oneself() -> None:
    given(granted(10)).when(transfer(1, to=ADA)).then_invalid("to_customer_id")


def test_transferred_credits_end_when_they_would_have() -> None:
    story = given(granted(10, ends=ENDS)).after(transfer(4))
    story.at(ENDS - TICK).then_balance(of=BOB, available=4).at(ENDS).then_balance(of=BOB)


def test_a_transfer_repays_the_receivers_debt() -> None:
    """4.4: any grant does, at the moment it is granted."""
    owing = [
        granted(6).by(BOB),
        deducted(6, {grt(1, BOB): 6}).by(BOB),
        revoked(grt(1, BOB), 6, {}, debt=6).by(BOB),
    ]
    story = given(granted(4), granted(4), *owing).when(transfer(8))
    story.then(
        deducted(8, {grt(1): 4, grt(2): 4}, transfer_to=BOB),
        received(4, grt(1), by=3, debt_repaid={grt(1, BOB): 4}),
        received(4, grt(2), by=3, debt_repaid={grt(1, BOB): 2}),
    ).then_balance(of=BOB, available=2)


def test_the_receivers_total_stays_within_the_range_of_credits() -> None:
    """2.1: and a refusal changes neither account."""
    full = granted(CREDITS_MAX - 5).by(BOB)
    given(granted(10), full).when(transfer(5)).then_balance(of=BOB, available=CREDITS_MAX)
    given(granted(10), full).when(transfer(6)).then_refused(
        BalanceLimitExceeded, would_be=CREDITS_MAX + 1
    )


def test_what_is_due_on_both_accounts_is_written_first() -> None:
    """3.4"""
    given(granted(3, ends=NOW), granted(10), granted(5, ends=NOW).by(BOB)).when(transfer(1)).then(
        expired({grt(1): 3}, NOW),
        expired({grt(1, BOB): 5}, NOW).by(BOB),
        deducted(1, {grt(2): 1}, transfer_to=BOB),
        received(1, grt(2), by=4),
    )


def test_there_and_back_again() -> None:
    """The way to undo a transfer; the credits keep their payment."""
    story = given(granted(10, payment=PAYMENT, ends=ENDS)).after(transfer(4))
    story.after(transfer(4, of=BOB, to=ADA)).then_balance(available=10).then_balance(of=BOB)
    assert {lot.payment_id for lot in story.account().lots} == {PAYMENT}
    story.when(revoke(grt(1))).then_answer(debt=0)
    story.then_balance()


def test_the_receivers_own_debt_of_the_same_payment_is_not_touched() -> None:
    """8.1: the sender answers for a revoked payment; the receiver keeps what he was given."""
    story = given(granted(10, payment=PAYMENT)).after(transfer(4), revoke(grt(1)))
    story.then_balance(debt=4).then_balance(of=BOB, available=4)


# What an account remembers.


def test_a_million_deductions_would_leave_no_more_than_one_does() -> None:
    """8.2: state is open lots, open holds and open debts."""
    story = given(granted(1_000)).after(deduct(1))
    one = take(story.account()).state
    for _ in range(50):
        story.after(deduct(1), hold(1))
        story.after(capture(story.answer_of("hold")["hold_id"]))
        story.after(refund(story.answer_of("capture")["deduction_id"]))
    many = take(story.account()).state
    assert many == {**one, "lots": [{**one["lots"][0], "remaining": 949}]}


def test_what_is_closed_leaves_the_account() -> None:
    """8.2"""
    story = given(granted(10)).after(deduct(9), hold(1), capture(hld(3)))
    account = story.account()
    assert (list(account.lots), account.holds, account.debts) == ([], {}, {})
    story.after(revoke(grt(1)), grant(10))
    account = story.account()
    assert (list(account.lots), account.holds, account.debts) == ([], {}, {})


def test_what_is_closed_is_still_known() -> None:
    """8.2: by the trail of its id."""
    story = given(granted(10)).after(deduct(9), hold(1), capture(hld(3)))
    story.when(release(hld(3)))
    assert story.receipt.outcome == "hold_closed"
    story.when(refund("ded" + grt(2)[3:])).then_answer(amount=9).then_balance(available=9)
