"""Holds: placing, capturing, releasing, lapsing (domain/README.md, 5)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.books import TIME
from creditledger.domain.errors import (
    DeductionNotFound,
    HoldClosed,
    HoldNotFound,
    InsufficientCredits,
)
from creditledger.domain.policies import Policies
from given_when_then import (
    BOB,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    TICK,
    Legs,
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
    held,
    hld,
    hold,
    let_expire,
    overage_limit_set,
    recovered,
    refund,
    release,
    released,
    revoke,
    sweep,
)

LAPSES = NOW + HOUR
#: Four of ten credits are held for an hour.
HOLDING = [granted(10), held(4, {grt(1): 4}, ends=LAPSES)]
HOLD = hld(2)
REST = released(HOLD, 4, {grt(1): 4}, "lapsed", lapsed_at=LAPSES)


def captured(
    amount: int, pins: Legs, *, lots: Legs | None = None, overage: int = 0, of: str = HOLD
) -> Sketch:
    """A deduction that resolves a hold, beyond it from free lots and as overage."""
    return deducted(amount, lots or {}, overage=overage, hold_id=of, captured=pins)


# Placing.


@pytest.mark.parametrize("amount", [1, 9, 10])
def test_a_hold_pins_up_to_what_is_available(amount: int) -> None:
    """5.1: and lives 15 minutes unless it says otherwise."""
    given(granted(10)).when(hold(amount)).then(
        held(amount, {grt(1): amount}, ends=NOW + 15 * MINUTE)
    ).then_answer(hold_id=HOLD, expires_at="2026-03-10T12:15:00.000000Z").then_balance(
        available=10 - amount, held=amount
    )


def test_a_hold_of_one_more_is_refused() -> None:
    """5.1"""
    given(granted(10)).when(hold(11)).then_refused(InsufficientCredits, available=10, required=11)


def test_overage_never_backs_a_hold() -> None:
    """5.1"""
    given(granted(10), overage_limit_set(None)).when(hold(11)).then_refused(
        InsufficientCredits, available=10, required=11
    )


def test_what_one_hold_pins_no_other_can() -> None:
    """Two at once cannot both have the last credits."""
    given(*HOLDING).when(hold(7)).then_refused(InsufficientCredits, available=6, required=7)
    given(*HOLDING).when(hold(6)).then(held(6, {grt(1): 6}, ends=NOW + 15 * MINUTE))


THIRTY_DAYS = 30 * 24 * 3600


@pytest.mark.parametrize("seconds", [1, 2, THIRTY_DAYS - 1, THIRTY_DAYS])
def test_a_hold_lives_as_long_as_it_says(seconds: int) -> None:
    """5.1"""
    given(granted(10)).when(hold(1, expires_in=seconds)).then(
        held(1, {grt(1): 1}, ends=NOW + timedelta(seconds=seconds))
    )


@pytest.mark.parametrize("seconds", [-1, 0, THIRTY_DAYS + 1])
def test_a_hold_lives_a_second_at_least_and_30_days_at_most(seconds: int) -> None:
    """5.1"""
    given(granted(10)).when(hold(1, expires_in=seconds)).then_invalid("expires_in")


def test_how_long_a_hold_lives_is_a_policy() -> None:
    short = Policies(hold_expires_in_default=5, hold_expires_in_max=10)
    given(granted(10), policies=short).when(hold(1)).then(
        held(1, {grt(1): 1}, ends=NOW + timedelta(seconds=5))
    )
    given(granted(10), policies=short).when(hold(1, expires_in=11)).then_invalid("expires_in")


# Capturing.


def test_a_capture_takes_all_that_is_held_unless_it_says_otherwise() -> None:
    """5.3"""
    given(*HOLDING).when(capture(HOLD)).then(captured(4, {grt(1): 4})).then_answer(
        deduction_id=ded(3), released=0
    ).then_balance(available=6)


@pytest.mark.parametrize("amount", [1, 3])
def test_a_capture_of_less_releases_the_rest(amount: int) -> None:
    """5.3"""
    rest = 4 - amount
    given(*HOLDING).when(capture(HOLD, amount)).then(
        captured(amount, {grt(1): amount}), released(HOLD, rest, {grt(1): rest}, "remainder")
    ).then_answer(released=rest).then_balance(available=6 + rest)


def test_a_capture_that_is_not_final_keeps_the_rest_pinned() -> None:
    """5.3"""
    story = given(*HOLDING).when(capture(HOLD, 1, final=False)).then(captured(1, {grt(1): 1}))
    story.then_answer(released=0).then_balance(available=6, held=3)
    story.when(capture(HOLD, 1, final=False)).then(captured(1, {grt(1): 1}))
    story.when(capture(HOLD)).then(captured(2, {grt(1): 2})).then_balance(available=6)
    story.when(capture(HOLD)).then_refused(HoldClosed, how="captured")


@pytest.mark.parametrize("amount", [4, 5])
def test_a_hold_with_nothing_left_is_closed_though_the_capture_is_not_final(amount: int) -> None:
    """5.3"""
    story = (
        given(*HOLDING)
        .after(capture(HOLD, amount, final=False))
        .then_balance(available=10 - amount)
    )
    story.when(capture(HOLD, 1)).then_refused(HoldClosed, how="captured")
    story.when(release(HOLD)).then_refused(HoldClosed, how="captured")


def test_pins_are_captured_in_the_order_in_which_they_were_pinned() -> None:
    """5.3: the burn order of then, whatever it is now."""
    story = given(granted(2, ends=NOW + DAY), granted(5)).after(hold(4))
    story.after(let_expire(grt(1), None), let_expire(grt(2), NOW + DAY))
    story.when(capture(hld(3), 3)).then(
        captured(3, {grt(1): 2, grt(2): 1}, of=hld(3)),
        released(hld(3), 1, {grt(2): 1}, "remainder"),
    )


@pytest.mark.parametrize(("amount", "more"), [(5, 1), (9, 5), (10, 6)])
def test_a_capture_of_more_takes_the_difference_from_free_lots(amount: int, more: int) -> None:
    """5.4"""
    given(*HOLDING).when(capture(HOLD, amount)).then(
        captured(amount, {grt(1): 4}, lots={grt(1): more})
    ).then_balance(available=6 - more)


def test_a_capture_of_more_than_there_is_is_refused_whole() -> None:
    """5.4"""
    story = (
        given(*HOLDING)
        .when(capture(HOLD, 11))
        .then_refused(InsufficientCredits, available=6, required=7)
    )
    story.then_balance(available=6, held=4).when(capture(HOLD)).then(captured(4, {grt(1): 4}))


@pytest.mark.parametrize(("amount", "overage"), [(10, 0), (11, 1), (13, 3)])
def test_a_capture_of_more_may_use_overage(amount: int, overage: int) -> None:
    """5.4"""
    given(*HOLDING, overage_limit_set(3)).when(capture(HOLD, amount)).then(
        captured(amount, {grt(1): 4}, lots={grt(1): 6}, overage=overage)
    )


def test_a_capture_uses_no_more_overage_than_is_left() -> None:
    """5.4"""
    given(*HOLDING, overage_limit_set(3)).when(capture(HOLD, 14)).then_refused(
        InsufficientCredits, available=6, required=10, overage_left=3
    )


@pytest.mark.parametrize("amount", [0, -1])
def test_a_capture_of_nothing_is_not_a_capture_of_all(amount: int) -> None:
    """2.1: a price of zero, or of minus one, must not spend or mint anything."""
    given(*HOLDING).when(capture(HOLD, amount)).then_invalid("amount")


def test_parallel_captures_share_a_hold() -> None:
    """Two jobs of one hold: each takes its part, the last one closes it."""
    story = given(*HOLDING).after(capture(HOLD, 3, final=False), capture(HOLD, 3, final=False))
    story.then_balance(available=4).when(capture(HOLD)).then_refused(HoldClosed, how="captured")


# Lapsing.


@pytest.mark.parametrize("moment", [LAPSES, LAPSES + TICK, LAPSES + DAY])
def test_from_the_moment_its_time_runs_out_a_hold_cannot_be_captured(moment: datetime) -> None:
    """5.5"""
    story = given(*HOLDING).at(moment)
    story.when(capture(HOLD)).then_refused(HoldClosed, how="lapsed", hold_id=HOLD)
    story.then_balance(available=10)


def test_one_tick_earlier_it_can() -> None:
    """5.5"""
    given(*HOLDING).at(LAPSES - TICK).when(capture(HOLD)).then(captured(4, {grt(1): 4}))


def test_a_lapse_is_a_fact_that_says_when() -> None:
    """3.4, 5.5"""
    given(*HOLDING).at(LAPSES).when(deduct(10)).then(REST, deducted(10, {grt(1): 10}))
    given(*HOLDING).at(LAPSES + DAY).when(sweep()).then(REST)
    given(*HOLDING).at(LAPSES - TICK).when(sweep()).then()


def test_what_is_left_of_a_partly_captured_hold_lapses() -> None:
    story = given(*HOLDING).after(capture(HOLD, 1, final=False)).at(LAPSES)
    story.when(sweep()).then(released(HOLD, 3, {grt(1): 3}, "lapsed", lapsed_at=LAPSES))
    story.when(capture(HOLD)).then_refused(HoldClosed, how="lapsed")
    story.when(release(HOLD)).then().then_answer(released=0)


def test_holds_lapse_in_the_order_of_their_times() -> None:
    """3.3"""
    story = given(granted(10)).after(hold(1, expires_in=20), hold(1, expires_in=10))
    at = NOW + timedelta(seconds=20)
    story.at(at).when(sweep()).then(
        released(hld(3), 1, {grt(1): 1}, "lapsed", lapsed_at=NOW + timedelta(seconds=10)),
        released(hld(2), 1, {grt(1): 1}, "lapsed", lapsed_at=at),
    )


# Releasing.


def test_a_release_gives_back_what_is_pinned() -> None:
    given(*HOLDING).when(release(HOLD)).then(released(HOLD, 4, {grt(1): 4}, "voided")).then_answer(
        released=4
    ).then_balance(available=10)


def test_releasing_again_does_nothing_and_is_no_error() -> None:
    """5.6"""
    given(*HOLDING).after(release(HOLD)).when(release(HOLD)).then().then_answer(released=0)


def test_releasing_what_lapsed_does_nothing_and_is_no_error() -> None:
    """5.6"""
    given(*HOLDING).at(LAPSES).when(release(HOLD)).then(REST).then_answer(released=0)
    given(*HOLDING).at(LAPSES - TICK).when(release(HOLD)).then_answer(released=4)


def test_releasing_what_was_captured_is_refused() -> None:
    """5.6"""
    given(*HOLDING).after(capture(HOLD)).when(release(HOLD)).then_refused(
        HoldClosed, how="captured", hold_id=HOLD
    )
    given(*HOLDING).after(capture(HOLD, 1)).when(release(HOLD)).then_refused(
        HoldClosed, how="captured"
    )


@pytest.mark.parametrize("amount", [4, 1])
def test_a_capture_leaves_no_trail_and_that_says_how_the_hold_ended(amount: int) -> None:
    """8.2: as does the trail that older logs have of one."""
    story = given(*HOLDING).after(capture(HOLD, amount))
    trail = ids.trail_id(HOLD)
    assert trail not in story.store.streams
    story.when(capture(HOLD)).then_refused(HoldClosed, how="captured")
    said = e.HoldEnded(
        originator_id=trail, originator_version=1, recorded_at=NOW, context=TIME, how="captured"
    )
    story.store.append([said], [], [])
    story.when(capture(HOLD)).then_refused(HoldClosed, how="captured")
    story.when(release(HOLD)).then_refused(HoldClosed, how="captured")


def test_the_rest_of_a_partly_captured_hold_can_be_released() -> None:
    given(*HOLDING).after(capture(HOLD, 1, final=False)).when(release(HOLD)).then(
        released(HOLD, 3, {grt(1): 3}, "voided")
    ).then_balance(available=9)


def test_capturing_what_was_released_is_refused() -> None:
    given(*HOLDING).after(release(HOLD)).when(capture(HOLD)).then_refused(
        HoldClosed, how="released", hold_id=HOLD
    )


# Holds and the expiry of their lots.


def ending(amount: int = 10) -> list[Sketch]:
    """Four credits are held, of a lot that ends half an hour before the hold does."""
    lot = granted(amount, ends=NOW + HOUR / 2)
    return [lot, held(4, {grt(1): 4}, ends=LAPSES)]


OVER = NOW + HOUR / 2
FREE_ENDED = expired({grt(1): 6}, OVER)


def test_held_credits_do_not_expire() -> None:
    """5.2"""
    given(*ending()).at(OVER).when(sweep()).then(FREE_ENDED).then_balance(held=4)
    given(*ending()).at(OVER).when(capture(HOLD)).then(FREE_ENDED, captured(4, {grt(1): 4}))


def test_what_a_hold_gives_back_after_its_lots_expiry_expires_at_once() -> None:
    """5.2: by hand, as a remainder, and by time."""
    given(*ending(4)).at(OVER).when(release(HOLD)).then(
        released(HOLD, 4, {grt(1): 4}, "voided"), expired({grt(1): 4}, OVER)
    ).then_answer(released=4).then_balance()
    given(*ending(4)).at(OVER).when(capture(HOLD, 1)).then(
        captured(1, {grt(1): 1}),
        released(HOLD, 3, {grt(1): 3}, "remainder"),
        expired({grt(1): 3}, OVER),
    ).then_balance()
    given(*ending(4)).at(LAPSES).when(sweep()).then(REST, expired({grt(1): 4}, OVER))


def test_one_tick_before_its_lots_expiry_what_comes_back_can_be_spent() -> None:
    given(*ending()).at(OVER - TICK).after(release(HOLD)).then_balance(available=10)


def test_at_one_and_the_same_time_expiries_come_first() -> None:
    """3.3"""
    given(granted(10, ends=LAPSES), held(4, {grt(1): 4}, ends=LAPSES)).at(LAPSES).when(
        sweep()
    ).then(expired({grt(1): 6}, LAPSES), REST, expired({grt(1): 4}, LAPSES))


def test_what_comes_back_goes_by_the_expiry_of_now() -> None:
    """A pinned lot's expiry may be moved while it is held."""
    story = given(*ending(4)).at(OVER).after(let_expire(grt(1), NOW + DAY), release(HOLD))
    story.then_balance(available=4)


def test_a_short_hold_does_not_turn_expiring_credits_into_lasting_ones() -> None:
    """Hold, capture one: the rest is not a new grant."""
    given(*ending(4)).at(OVER).after(capture(HOLD, 1)).then_balance()


# Holds of revoked grants.


def test_what_comes_back_to_a_revoked_lot_is_taken() -> None:
    """7.4"""
    story = given(*HOLDING).after(revoke(grt(1))).then_balance(held=4, debt=4)
    story.when(release(HOLD)).then(
        released(HOLD, 4, {grt(1): 4}, "voided"), recovered(grt(1), 4, debt=4)
    ).then_answer(released=4).then_balance()


def test_what_lapses_into_a_revoked_lot_is_taken() -> None:
    """7.4"""
    story = given(*HOLDING).after(revoke(grt(1), policy="write_off")).at(LAPSES)
    story.when(sweep()).then(REST, recovered(grt(1), 4, written_off=4)).then_balance()


def test_a_remainder_into_a_revoked_lot_is_taken() -> None:
    """7.4"""
    story = given(*HOLDING).after(revoke(grt(1)))
    story.when(capture(HOLD, 1)).then(
        captured(1, {grt(1): 1}),
        released(HOLD, 3, {grt(1): 3}, "remainder"),
        recovered(grt(1), 3, debt=3),
    ).then_balance(debt=1)


def test_debt_that_was_repaid_is_not_taken_twice() -> None:
    """7.4"""
    story = given(*HOLDING).after(revoke(grt(1)), grant(3)).then_balance(held=4, debt=1)
    story.after(release(HOLD)).then_balance(available=3)


# Ids.

UNKNOWN = {
    "nonsense": "nonsense",
    "a hold that never was": hld(9),
    "another kind of event": hld(1),
    "a hold of somebody who was never seen": hld(2, BOB),
    "a deduction's id": ded(2),
}


@pytest.mark.parametrize("hold_id", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_hold_is_not_found(hold_id: str) -> None:
    given(*HOLDING).when(capture(hold_id)).then_refused(HoldNotFound, hold_id=hold_id)
    given(*HOLDING).when(release(hold_id)).then_refused(HoldNotFound, hold_id=hold_id)


def test_ids_forged_of_other_streams_are_not_found() -> None:
    """A trail's stream holds no account, and asking for one is no fault."""
    story = given(*HOLDING).after(capture(HOLD))
    trail = ids.stream_key(ids.trail_id(HOLD))
    for _ in range(2):
        story.when(capture(f"hld_{trail}1")).then_refused(HoldNotFound)
        story.when(refund(f"ded_{trail}1")).then_refused(DeductionNotFound)
        story.ledger = story.new_ledger()


def test_an_id_forged_of_a_stream_to_come_spoils_nothing() -> None:
    """Who asks for the account that a hold's trail is not does not keep it from being written."""
    story = given(*HOLDING)
    trail = ids.stream_key(ids.trail_id(HOLD))
    story.when(capture(f"hld_{trail}1")).then_refused(HoldNotFound)
    story.when(capture(HOLD)).then(captured(4, {grt(1): 4}))


def test_an_unknown_hold_comes_before_a_closed_one_and_that_before_amounts() -> None:
    story = given(*HOLDING).after(release(HOLD))
    story.when(capture(hld(9), 1_000)).then_refused(HoldNotFound)
    story.when(capture(HOLD, 1_000)).then_refused(HoldClosed, how="released")
