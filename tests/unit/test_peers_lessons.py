"""What users of other credit systems complained about, one test for each: it does not happen here.

These are shown where the whole of a thing can be seen, not here:

- webhooks: bad signatures, 200 on a transient failure, provider redeliveries, unknown types and
  customers (`tests/integration/test_webhook_*`); order, copies and gaps of purchases and refunds
  (`test_purchases.py`, `test_payment_refunds.py`);
- HTTP: keys that arrive while the first is running, bodies that do not fit, what a retry after a
  slow success is told (`tests/integration/test_api_*`);
- processes: two writers, a killed service, a killed database, no answer acknowledged and lost
  (`tests/integration`, `tests/acceptance`);
- projections: a wipe gives no credits back, a poisoned event stops one projection and no other
  (`tests/integration/test_projections.py`, `test_verify.py`).

Subscriptions, disputes, roll-over, automatic top-ups and gift codes are not sold yet; neither are
their complaints (plan changes in the middle of a period, up-and-down farming, won disputes).
"""

from __future__ import annotations

from datetime import datetime

import pytest

from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.due import evaluate
from creditledger.domain.errors import (
    HoldClosed,
    InsufficientCredits,
    Invalid,
    Parked,
    RevocationExceedsGrant,
)
from creditledger.domain.ledger import Ledger
from creditledger.domain.provider_commands import SetPrice
from creditledger.domain.receipt import Receipt, Wish
from given_when_then import (
    ADA,
    BOB,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    PAYMENT,
    START,
    TICK,
    Story,
    allow_overage,
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
    refund,
    reinstate,
    release,
    released,
    revoke,
    revoked,
    sweep,
    transfer,
    wish,
)
from proofs import replayed, restored, state_of
from purchase_story import PACK_IS_500, purchase
from purchase_story import Story as Purchases
from purchase_story import refund as paid_back

ENDS = NOW + DAY


def told(ledger: Ledger, *wishes: Wish) -> list[str]:
    return [one.outcome for one in ledger.handle(wishes) if isinstance(one, Receipt)]


# Checked and spent in one: LibreChat 15879, one-api 2440, breeze 6460, routstr 540.


def test_parallel_calls_do_not_overspend() -> None:
    story = given(granted(10))
    calls = [wish(deduct(4), f"call-{n}") for n in range(5)]
    assert told(story.ledger, *calls).count("accepted") == 2
    story.then_balance(available=2)


def test_parallel_calls_at_several_processes_do_not_overspend() -> None:
    story = given(granted(10))
    processes = [story.ledger, story.new_ledger(), story.new_ledger()]
    for ledger in processes:
        told(ledger, wish(deduct(100), f"all look at the account {id(ledger)}"))
    outcomes = [told(ledger, wish(deduct(4), f"call-{id(ledger)}"))[0] for ledger in processes]
    assert outcomes == ["accepted", "accepted", "insufficient_credits"]


# Topped up twice: akash 3449, AutoGPT 10672, Lago 2243, open-saas 688.


def test_a_retry_of_a_slow_success_is_no_second_top_up() -> None:
    story = given()
    for ledger in (story.ledger, story.ledger, story.new_ledger()):
        assert told(ledger, wish(grant(500), "order-1")) == ["accepted"]
    story.then_balance(available=500)


def test_a_purchase_that_several_events_tell_of_is_granted_once() -> None:
    story = Purchases(PACK_IS_500, purchase(), purchase(), purchase(provider_customer_id=None))
    assert story.available() == 1000


# News out of order: cashier 1201, stripe-cli 418, fountain 158.


def test_a_refund_that_comes_before_its_purchase_is_not_lost() -> None:
    story = Purchases(PACK_IS_500)
    assert isinstance(story.outcome(paid_back("re_1", 900)), Parked)
    story.tell(purchase())
    story.tell(paid_back("re_1", 900))
    assert story.available() == 500


# Refunds of payments: elizaOS 10920, 10938, 11155, 31449; fountain 1126.


def test_a_refunded_payment_takes_its_credits_back() -> None:
    story = Purchases(PACK_IS_500, purchase(), paid_back("re_1", 1800))
    assert story.available() == 0


def test_credits_are_taken_in_proportion_and_never_in_cents() -> None:
    """900 of 1800 cents are half of 1000 credits; 900 is no number of credits."""
    story = Purchases(PACK_IS_500, purchase(), paid_back("re_1", 900))
    assert story.available() == 500


def test_two_refunds_take_no_more_than_was_granted() -> None:
    story = Purchases(PACK_IS_500, purchase(), paid_back("re_1", 1800), paid_back("re_2", 1800))
    assert (story.available(), story.balance().debt) == (0, 0)


def test_what_was_reinstated_can_be_revoked_again_and_no_more() -> None:
    """Revocations are netted: neither more nor less than the grant is ever taken."""
    story = given(granted(500)).after(revoke(grt(1)), reinstate(grt(1)), revoke(grt(1)))
    story.when(revoke(grt(1), 1)).then_refused(RevocationExceedsGrant, revocable=0)
    story.after(reinstate(grt(1))).then_balance(available=500)


def test_what_a_refund_cannot_take_is_said_and_not_forgotten() -> None:
    spent = [granted(500), deducted(490, {grt(1): 490})]
    given(*spent).when(revoke(grt(1))).then_answer(debt=490, written_off=0)
    given(*spent).when(revoke(grt(1), policy="write_off")).then_answer(debt=0, written_off=490)


def test_a_refund_takes_the_purchases_own_lot_first() -> None:
    story = given(granted(10, source="gift"), granted(10, payment=PAYMENT))
    story.when(revoke(grt(2))).then(revoked(grt(2), 10, {grt(2): 10}, payment_id=PAYMENT))


# Expiry races: fountain 1126; OpenMeter 1071, 1408, 4252; Blnk 181, 182.


def test_expiry_never_takes_what_was_paid_for() -> None:
    """What is left of the promotion is known when it ends, not when somebody looked."""
    promotion, paid = granted(10, source="promotion", ends=ENDS), granted(10)
    story = given(promotion, paid).after(deduct(8)).at(ENDS)
    story.when(sweep()).then(expired({grt(1): 2}, ENDS)).then_balance(available=10)


def test_spending_while_a_lot_ends_takes_no_expired_credit() -> None:
    story = given(granted(10, ends=ENDS), granted(10)).at(ENDS)
    story.when(deduct(10)).then(expired({grt(1): 10}, ENDS), deducted(10, {grt(2): 10}))


def test_expired_credit_is_not_spendable_until_a_nightly_sweep() -> None:
    story = given(granted(10, ends=ENDS)).at(ENDS)
    story.when(deduct(1)).then_refused(InsufficientCredits, available=0)


@pytest.mark.parametrize(("moment", "available"), [(ENDS - TICK, 11), (ENDS, 1)])
def test_the_instant_itself_belongs_to_one_side(moment: datetime, available: int) -> None:
    given(granted(10, ends=ENDS), granted(1)).at(moment).then_balance(available=available)


def test_a_job_that_runs_when_credits_end_still_gets_what_it_held() -> None:
    story = given(granted(10, ends=ENDS)).after(hold(10, expires_in=2 * 86400)).at(ENDS)
    story.after(sweep()).when(capture(hld(2))).then_answer(amount=10, released=0)


# Negative and impossible amounts: elizaOS 22681, LibreChat 2359.


def test_a_negative_price_mints_nothing() -> None:
    """A price sentinel of -1 settled a hold and minted 31,348 credits."""
    story = given(granted(10)).after(hold(4))
    for command in (capture(hld(2), -1), deduct(-1), hold(-1), transfer(-1), grant(-1)):
        story.when(command).then_invalid("amount")
    story.when(refund(ded(9), -1)).then_invalid("amount")


def test_a_price_is_worth_no_less_than_nothing() -> None:
    story = Purchases()
    for credits_ in (-1, 2**53):
        price = SetPrice(provider="stripe", price_id="p", credits=Credits(credits_))
        assert isinstance(story.outcome(price), Invalid)


# Holds: elizaOS 11169, Bike4Mind 1392, openstory 1326, Blnk 62; TigerBeetle, unprice.


def test_a_hold_that_nobody_released_comes_back_by_itself() -> None:
    story = given(granted(10)).after(hold(10)).at(NOW + 15 * MINUTE)
    story.when(deduct(10)).then_answer(amount=10)


def test_a_refusal_says_that_it_is_holds_that_are_in_the_way() -> None:
    """Too large a hold reads as "out of credits": the balance tells how much is only held."""
    story = given(granted(10)).after(hold(9))
    story.when(deduct(2)).then_refused(InsufficientCredits, available=1, required=2)
    story.then_balance(available=1, held=9)


def test_work_that_costs_more_than_its_hold_can_be_paid() -> None:
    story = given(granted(10)).after(hold(4))
    story.when(capture(hld(2), 7)).then_answer(amount=7).then_balance(available=3)


def test_several_captures_share_a_hold_and_it_is_paid_once() -> None:
    story = given(granted(10)).after(hold(6))
    story.after(capture(hld(2), 2, final=False), capture(hld(2), 2, final=False))
    story.when(capture(hld(2))).then_answer(amount=2)
    story.when(capture(hld(2), 1)).then_refused(HoldClosed, how="captured")
    story.then_balance(available=4)


def test_how_a_hold_ended_is_told_apart() -> None:
    """Captured, released and lapsed are three answers, not one "no such hold"."""
    for end, how in ((capture(hld(2)), "captured"), (release(hld(2)), "released")):
        given(granted(10)).after(hold(4), end).when(capture(hld(2))).then_refused(
            HoldClosed, how=how
        )
    story = given(granted(10)).after(hold(4)).at(NOW + HOUR)
    story.when(capture(hld(2))).then_refused(HoldClosed, how="lapsed")


def test_after_its_instant_a_hold_is_over_though_nothing_is_written() -> None:
    """And the balance agrees with that instant."""
    story = given(granted(10)).after(hold(4)).at(NOW + 15 * MINUTE)
    assert len(story.store.log) == 2
    story.then_balance(available=10)


def test_all_of_a_hold_is_what_it_holds_then_and_not_what_was_read() -> None:
    story = given(granted(10)).after(hold(6), capture(hld(2), 1, final=False))
    story.when(capture(hld(2))).then_answer(amount=5)


def test_a_lapse_is_a_fact_in_the_history() -> None:
    story = given(granted(10)).after(hold(4)).at(NOW + DAY)
    story.when(sweep()).then(
        released(hld(2), 4, {grt(1): 4}, "lapsed", lapsed_at=NOW + 15 * MINUTE)
    )


def test_a_hold_does_not_turn_a_promotion_into_lasting_credit() -> None:
    """Formance: hold it all, confirm one, and the rest came back without an expiry."""
    story = given(granted(10, source="promotion", ends=ENDS)).after(hold(10))
    story.after(capture(hld(2), 1)).then_balance(available=9).at(ENDS).then_balance()


# Where did my credits go? Bytez 46, 43.


def test_an_expiry_says_which_lot_how_much_and_when() -> None:
    story = given(granted(10, ends=ENDS), granted(3, ends=ENDS)).at(ENDS + DAY)
    story.when(sweep()).then(expired({grt(1): 10, grt(2): 3}, ENDS))
    event = story.store.log[-1]
    assert (event.context.actor, event.recorded_at) == ("system:time", ENDS + DAY)


def test_a_refusal_can_be_looked_up_later() -> None:
    story = given(granted(10)).when(deduct(11, feature="render"))
    kept = story.store.kept_receipts[story.receipt.id]
    assert (kept.outcome, kept.customer_id, kept.answer["available"]) == (
        "insufficient_credits",
        ADA,
        10,
    )


# What was bought stays: ai-shifu 2204, Autumn 1676, Polar 8451.


def test_what_was_bought_outlives_the_plan() -> None:
    plan, bought = granted(10, source="subscription", ends=ENDS), granted(10)
    given(plan, bought).at(ENDS + 100 * DAY).when(deduct(10)).then_answer(amount=10)


def test_a_new_period_touches_no_other_credits() -> None:
    story = given(granted(10, source="subscription", ends=ENDS), granted(7)).at(ENDS)
    story.after(grant(10, source="subscription", expires_at=ENDS + 30 * DAY))
    story.then_balance(available=17)


# One order for all: OpenMeter, Flexprice, Autumn; Polar 5648.


def test_a_replay_agrees_wherever_it_starts() -> None:
    """Each prefix of the history, kept as a snapshot, leads to the same end."""
    story = _much_has_happened()
    stream = ids.account_id(ADA, "credits")
    events = story.store.streams[stream]
    whole = state_of(evaluate(replayed(events, stream), NOW + 30 * DAY))
    for at in range(1, len(events)):
        account = restored(replayed(events[:at], stream))
        for event in events[at:]:
            account.apply(event)
        assert state_of(evaluate(account, NOW + 30 * DAY)) == whole


def test_evaluating_in_steps_is_evaluating_at_once() -> None:
    account = _much_has_happened().account()
    moments = [NOW + MINUTE * n for n in (1, 15, 16, 60 * 24, 60 * 24 * 8, 60 * 24 * 40)]
    by_steps = account
    for moment in moments:
        by_steps = evaluate(by_steps, moment)
        assert state_of(by_steps) == state_of(evaluate(account, moment))


def _much_has_happened() -> Story:
    story = given(granted(10, ends=ENDS), granted(10, payment=PAYMENT), granted(5, starts=ENDS))
    story.after(hold(12), deduct(3), capture(hld(4), 4, final=False), revoke(grt(2), 9))
    story.after(refund(ded(5), 2), grant(4), let_expire(grt(1), NOW + HOUR), reinstate(grt(2), 2))
    story.after(allow_overage(50), deduct(20))
    return story.after(refund(story.answer_of("deduct")["deduction_id"], 3))


def test_a_refund_unwinds_in_reverse_of_what_was_recorded() -> None:
    """OpenMeter: never by today's priorities."""
    story = given(granted(5, ends=ENDS), granted(5)).after(deduct(8), let_expire(grt(1), None))
    story.when(refund(ded(3), 4)).then_answer(
        to=[{"grant_id": grt(2), "amount": 3}, {"grant_id": grt(1), "amount": 1}]
    )


# Keys: TigerBeetle, Formance Wallets, fountain 1126, Midaz.


def test_a_failed_try_does_not_succeed_later_behind_the_callers_back() -> None:
    story = given()
    assert told(story.ledger, wish(deduct(5), "try")) == ["insufficient_credits"]
    story.after(grant(5))
    assert told(story.new_ledger(), wish(deduct(5), "try")) == ["insufficient_credits"]
    story.then_balance(available=5)


def test_a_retry_is_the_same_command_though_other_lots_would_pay_today() -> None:
    """What is compared is what was sent, not which lots it came to."""
    story = given(granted(5, ends=ENDS), granted(5))
    assert told(story.ledger, wish(deduct(5), "try")) == ["accepted"]
    story.at(ENDS)
    assert told(story.new_ledger(), wish(deduct(5), "try")) == ["accepted"]
    story.then_balance(available=5)


def test_keys_are_kept_for_ever() -> None:
    story = given(granted(10))
    assert told(story.ledger, wish(deduct(5), "try")) == ["accepted"]
    story.at(NOW + 3650 * DAY)
    assert told(story.new_ledger(), wish(deduct(5), "try")) == ["accepted"]
    story.then_balance(available=5)


# Late news: Orb, Metronome, Polar.


def test_late_news_is_booked_when_it_comes_and_keeps_its_own_time() -> None:
    story = given(granted(5, ends=NOW), granted(5))
    story.when(deduct(5, happened_at=START)).then(
        expired({grt(1): 5}, NOW), deducted(5, {grt(2): 5})
    )
    context = story.store.log[-1].context
    assert context.happened_at == START


# Overdraft: Midaz, Autumn 1318, 1369, 1371.


def test_a_top_up_is_not_eaten_by_overage_that_is_billed() -> None:
    story = given().after(allow_overage(10), deduct(10), grant(10))
    story.then_balance(available=10, overage=10)


# Transfers as a way around a refund.


def test_passing_credits_on_does_not_escape_a_refund() -> None:
    story = given(granted(10, payment=PAYMENT)).after(transfer(10), revoke(grt(1)))
    story.then_balance(debt=10).then_balance(of=BOB, available=10)
    story.after(grant(10)).then_balance()
