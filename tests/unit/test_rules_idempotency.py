"""Keys, batches, dry runs, several writers and lost answers (domain/README.md, 9)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from creditledger.domain import ids
from creditledger.domain.commands import Command
from creditledger.domain.errors import Failed, Invalid, KeyReused
from creditledger.domain.events import Balance, Event
from creditledger.domain.ledger import ATTEMPTS_MAX, Ledger
from creditledger.domain.receipt import ACCEPTED, Batch, BatchReceipt, Outcome, Receipt, Wish
from creditledger.domain.store import Conflict, Expectation, LogEnd, Unavailable
from given_when_then import (
    ADA,
    BOB,
    DAY,
    NOW,
    TICK,
    ded,
    deduct,
    grant,
    grt,
    hold,
    refund,
    transfer,
    wish,
)
from memory_store import FaultyStore, MemoryStore
from proofs import prove_identities, replayed


class Desk:
    """Ledgers on one store, and short ways to tell them things."""

    def __init__(self) -> None:
        self.now: datetime = NOW
        self.store = FaultyStore()
        self.ledger = self.another()

    def another(self) -> Ledger:
        """A ledger as another process has it, with nothing at hand."""
        return Ledger(self.store, now=lambda: self.now)

    def tell(self, *items: Wish | Batch, by: Ledger | None = None) -> list[Outcome]:
        return (by or self.ledger).handle(items)

    def receipt(self, item: Wish | Batch, by: Ledger | None = None) -> Receipt:
        [outcome] = self.tell(item, by=by)
        told = outcome.receipt if isinstance(outcome, BatchReceipt) else outcome
        assert isinstance(told, Receipt), told
        return told

    def batch(self, item: Batch, by: Ledger | None = None) -> BatchReceipt:
        [outcome] = self.tell(item, by=by)
        assert isinstance(outcome, BatchReceipt), outcome
        return outcome

    def balance(self, of: str = ADA) -> Balance:
        stream = ids.account_id(of, "credits")
        return replayed(self.store.streams.get(stream, ()), stream).balance()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def batch(
    wishes: Sequence[Wish], key: str | None, *, all_or_nothing: bool = False, dry: bool = False
) -> Batch:
    return Batch(
        wishes=wishes,
        all_or_nothing=all_or_nothing,
        client_id="shop",
        key=key,
        fingerprint=repr((wishes, all_or_nothing)).encode(),
        dry_run=dry,
    )


def outcomes(told: BatchReceipt) -> list[str]:
    return [one.outcome if isinstance(one, Receipt) else one.code for one in told.results]


def assert_same(again: Receipt, first: Receipt) -> None:
    assert again.replayed
    assert not first.replayed
    assert (again.outcome, again.answer, again.position, again.public_id) == (
        first.outcome,
        first.answer,
        first.position,
        first.public_id,
    )


GRANT_10 = wish(grant(10), "grant-10")


# Keys.


def test_the_first_answer_again_and_nothing_new(desk: Desk) -> None:
    """9.2: on the same ledger, on another one, and after many other things."""
    first = desk.receipt(GRANT_10)
    for ledger in (desk.ledger, desk.another(), desk.ledger):
        assert_same(desk.receipt(GRANT_10, by=ledger), first)
        desk.receipt(wish(deduct(1), f"spend-{id(ledger)}-{len(desk.store.log)}"))
    assert [type(event).__name__ for event in desk.store.log].count("Granted") == 1


def test_a_refusal_is_remembered_though_it_would_succeed_now(desk: Desk) -> None:
    """9.1, 9.2: a new try needs a new key, or it would succeed behind the caller's back."""
    spend = wish(deduct(10), "spend")
    refused = desk.receipt(spend)
    assert refused.outcome == "insufficient_credits"
    desk.receipt(GRANT_10)
    for ledger in (desk.ledger, desk.another()):
        assert_same(desk.receipt(spend, by=ledger), refused)
    assert desk.balance().available == 10
    assert desk.receipt(wish(deduct(10), "spend-2")).outcome == "accepted"


def test_the_key_is_looked_at_before_the_balance(desk: Desk) -> None:
    """9.2: what was bought with the last credits is not refused when it is asked again."""
    desk.receipt(GRANT_10)
    spend = wish(deduct(10), "spend")
    first = desk.receipt(spend)
    assert_same(desk.receipt(spend, by=desk.another()), first)
    assert desk.balance().available == 0


def test_the_key_is_looked_at_before_the_clock(desk: Desk) -> None:
    """9.2: a grant that was given is told again, though it could not be given any more."""
    give = wish(grant(10, expires_at=NOW + DAY), "give")
    first = desk.receipt(give)
    desk.now = NOW + 2 * DAY
    assert_same(desk.receipt(give, by=desk.another()), first)


def test_another_command_under_a_used_key_does_nothing(desk: Desk) -> None:
    """9.2"""
    desk.receipt(GRANT_10)
    traces = desk.store.traces()
    for ledger in (desk.ledger, desk.another()):
        for command in (grant(11), deduct(1), deduct(1_000), grant(0)):
            [told] = desk.tell(wish(command, "grant-10"), by=ledger)
            assert isinstance(told, KeyReused)
            assert told.values == {"idempotency_key": "grant-10"}
    assert desk.store.traces() == traces


def test_a_key_belongs_to_its_client(desk: Desk) -> None:
    """9.4"""
    desk.receipt(GRANT_10)
    other = desk.receipt(wish(grant(10), "grant-10", client="office"))
    assert not other.replayed
    assert desk.balance().available == 20


def test_what_does_not_fit_is_not_remembered(desk: Desk) -> None:
    """9.3"""
    [told] = desk.tell(wish(grant(0), "give"))
    assert isinstance(told, Invalid)
    assert desk.store.traces() == (0, 0)
    assert desk.receipt(wish(grant(10), "give")).outcome == "accepted"


def test_a_receipt_says_who_was_refused_what_and_why(desk: Desk) -> None:
    """9.1: refusals are part of the history."""
    desk.receipt(GRANT_10)
    receipt = desk.receipt(wish(deduct(11), "spend"))
    assert desk.store.kept_receipts[receipt.id] == receipt
    assert (receipt.command, receipt.customer_id, receipt.asset) == ("deduct", ADA, "credits")
    assert (receipt.client_id, receipt.key, receipt.recorded_at) == ("shop", "spend", NOW)
    assert receipt.answer == {
        "detail": "Not enough credits: 11 needed, 10 available.",
        "available": 10,
        "required": 11,
        "overage_left": 0,
        "asked": {"amount": 11},
    }


def test_a_position_is_where_the_change_stands(desk: Desk) -> None:
    first, second = desk.receipt(GRANT_10), desk.receipt(wish(deduct(1), "spend"))
    assert (first.position, second.position) == (1, 2)
    refused = desk.receipt(wish(deduct(100), "too much"))
    assert refused.position == 2


def test_keys_that_arrive_together_are_one_wish(desk: Desk) -> None:
    """A double click: both are told the same, and one happens."""
    first, again = desk.tell(GRANT_10, GRANT_10)
    assert isinstance(first, Receipt)
    assert isinstance(again, Receipt)
    assert_same(again, first)
    assert desk.balance().available == 10


def test_a_wish_of_the_services_own_needs_no_key(desk: Desk) -> None:
    told = desk.receipt(wish(grant(10), None))
    assert told.outcome == "accepted"
    assert desk.store.kept_receipts == {}


# Batches.


def test_the_commands_of_a_batch_are_decided_in_order(desk: Desk) -> None:
    """9.5"""
    told = desk.batch(
        batch([wish(deduct(1), "1"), wish(grant(2), "2"), wish(deduct(1), "3")], "all")
    )
    assert outcomes(told) == ["insufficient_credits", "accepted", "accepted"]
    assert told.receipt.outcome == "accepted"
    assert desk.balance().available == 1


def test_a_batch_again_is_told_the_same(desk: Desk) -> None:
    """9.2, 9.5"""
    item = batch([wish(deduct(1), "1"), wish(grant(0), "2"), wish(grant(2), "3")], "all")
    first = desk.batch(item)
    traces = desk.store.traces()
    for ledger in (desk.ledger, desk.another()):
        again = desk.batch(item, by=ledger)
        assert_same(again.receipt, first.receipt)
        assert [getattr(one, "answer", one.__class__) for one in again.results] == [
            getattr(one, "answer", one.__class__) for one in first.results
        ]
    assert desk.store.traces() == traces


def test_commands_and_batches_share_one_name_space(desk: Desk) -> None:
    """9.5: a command of a batch replays what was told outside of it, and the other way round."""
    first = desk.receipt(GRANT_10)
    told = desk.batch(batch([GRANT_10, wish(deduct(1), "spend")], "all"))
    assert isinstance(told.results[0], Receipt)
    assert_same(told.results[0], first)
    spent = told.results[1]
    assert isinstance(spent, Receipt)
    assert_same(desk.receipt(wish(deduct(1), "spend")), spent)
    [reused] = desk.tell(wish(deduct(1), "all"))
    assert isinstance(reused, KeyReused)
    [reused] = desk.tell(batch([], "spend"))
    assert isinstance(reused, KeyReused)


@pytest.mark.parametrize("all_or_nothing", [False, True])
def test_a_batchs_own_key_is_not_one_of_its_commands(desk: Desk, all_or_nothing: bool) -> None:
    """9.5: the key names the batch, so the command under it is another one."""
    item = batch([wish(grant(1), "same")], "same", all_or_nothing=all_or_nothing)
    told = desk.batch(item)
    if all_or_nothing:
        assert told.receipt.outcome == "batch_refused"
    else:
        assert outcomes(told) == ["idempotency_key_reused"]
    assert desk.store.log == []
    assert_same(desk.batch(item, by=desk.another()).receipt, told.receipt)


def test_a_key_repeated_within_a_batch_replays(desk: Desk) -> None:
    """9.5"""
    told = desk.batch(batch([GRANT_10, GRANT_10, wish(grant(11), "grant-10")], "all"))
    assert outcomes(told) == ["accepted", "accepted", "idempotency_key_reused"]
    assert isinstance(told.results[1], Receipt)
    assert told.results[1].replayed
    assert desk.balance().available == 10


def test_all_or_nothing_does_nothing_where_one_is_refused(desk: Desk) -> None:
    """9.5, 9.6: whichever of several accounts it had touched before."""
    desk.receipt(GRANT_10)
    item = batch(
        [
            wish(transfer(4), "1"),
            wish(deduct(1, customer_id=BOB), "2"),
            wish(deduct(7), "3"),
            wish(grant(5), "4"),
        ],
        "all",
        all_or_nothing=True,
    )
    told = desk.batch(item)
    assert told.receipt.outcome == "batch_refused"
    assert told.receipt.answer["index"] == 2
    assert told.receipt.answer["refused_code"] == "insufficient_credits"
    assert desk.balance() == Balance(10, 0, 0, 0, 0)
    assert desk.balance(BOB) == Balance(0, 0, 0, 0, 0)
    assert_same(desk.batch(item, by=desk.another()).receipt, told.receipt)
    assert desk.receipt(wish(deduct(10), "all of it")).outcome == "accepted"


def test_a_refused_batch_uses_up_its_own_key_only(desk: Desk) -> None:
    """9.5"""
    wishes = [wish(grant(1), "1"), wish(deduct(2), "2")]
    assert desk.receipt(batch(wishes, "all", all_or_nothing=True)).outcome == "batch_refused"
    assert len(desk.store.kept_receipts) == 1
    assert desk.receipt(wish(grant(1), "1")).outcome == "accepted"
    assert desk.receipt(wish(grant(2), "2")).outcome == "accepted"
    [reused] = desk.tell(batch(wishes, "all"))
    assert isinstance(reused, KeyReused)


def test_all_or_nothing_does_all_where_none_is_refused(desk: Desk) -> None:
    wishes = [wish(grant(5), "1"), wish(transfer(4), "2"), wish(deduct(1), "3")]
    told = desk.batch(batch(wishes, "all", all_or_nothing=True))
    assert outcomes(told) == ["accepted"] * 3
    assert (desk.balance().available, desk.balance(BOB).available) == (0, 4)


def test_what_does_not_fit_refuses_all_or_nothing_too(desk: Desk) -> None:
    told = desk.batch(batch([wish(grant(1), "1"), wish(grant(0), "2")], "all", all_or_nothing=True))
    assert told.receipt.answer["refused_code"] == "invalid_request"
    assert desk.store.log == []


def test_refused_commands_leave_no_trace_on_what_others_use(desk: Desk) -> None:
    """Commands that arrive together are decided on the same accounts at hand."""
    refused = batch([wish(grant(5), "1"), wish(deduct(16), "2")], "all", all_or_nothing=True)
    told = desk.tell(GRANT_10, refused, wish(deduct(11), "3"), wish(deduct(10), "4"))
    assert [getattr(one, "outcome", "batch") for one in told] == [
        "accepted",
        "batch",
        "insufficient_credits",
        "accepted",
    ]
    assert [event.originator_version for event in desk.store.log] == [1, 2]


def test_what_one_command_brings_about_another_of_the_batch_may_name(desk: Desk) -> None:
    told = desk.batch(batch([GRANT_10, wish(deduct(4), "2"), wish(refund(ded(2)), "3")], "all"))
    assert outcomes(told) == ["accepted"] * 3
    assert desk.balance().available == 10


def test_an_empty_batch_is_accepted(desk: Desk) -> None:
    assert desk.receipt(batch([], "all")).outcome == "accepted"


# Dry runs.


def test_a_dry_run_says_what_would_happen_and_does_nothing(desk: Desk) -> None:
    """9.5"""
    desk.receipt(GRANT_10)
    traces = desk.store.traces()
    would = desk.receipt(wish(deduct(4), None, dry_run=True))
    refused = desk.receipt(wish(deduct(11), None, dry_run=True))
    assert (would.outcome, refused.outcome) == ("accepted", "insufficient_credits")
    assert would.answer["balance"]["available"] == 6
    assert desk.store.traces() == traces
    assert desk.receipt(wish(deduct(10), "spend")).answer["balance"]["available"] == 0


def test_a_dry_run_writes_not_even_what_is_due(desk: Desk) -> None:
    desk.receipt(wish(grant(10, expires_at=NOW + DAY), "give"))
    desk.now = NOW + DAY
    assert desk.receipt(wish(deduct(1), None, dry_run=True)).outcome == "insufficient_credits"
    assert len(desk.store.log) == 1


def test_a_dry_run_of_a_batch_does_nothing(desk: Desk) -> None:
    desk.receipt(GRANT_10)
    traces = desk.store.traces()
    wishes = [wish(transfer(4), None), wish(deduct(6), None), wish(deduct(1), None)]
    told = desk.batch(batch(wishes, None, dry=True))
    assert outcomes(told) == ["accepted", "accepted", "insufficient_credits"]
    assert desk.store.traces() == traces
    assert desk.balance().available == 10
    assert desk.receipt(wish(deduct(10), "spend")).outcome == "accepted"


def test_a_dry_run_beside_real_commands_changes_nothing_of_theirs(desk: Desk) -> None:
    told = desk.tell(
        GRANT_10,
        wish(deduct(10), None, dry_run=True),
        wish(hold(10), "pin"),
        wish(deduct(1), "spend"),
    )
    assert [one.outcome for one in told if isinstance(one, Receipt)] == [
        "accepted",
        "accepted",
        "accepted",
        "insufficient_credits",
    ]


# Several writers.


def test_two_writers_never_spend_the_same_credits(desk: Desk) -> None:
    """Each has the account at hand, as it was before the other wrote."""
    other = desk.another()
    desk.receipt(GRANT_10)
    desk.receipt(wish(deduct(1), "warm up"), by=other)
    assert desk.receipt(wish(deduct(9), "one")).outcome == "accepted"
    assert desk.receipt(wish(deduct(1), "two"), by=other).outcome == "insufficient_credits"
    assert desk.receipt(wish(deduct(1), "three")).outcome == "insufficient_credits"


def test_only_what_is_affected_is_decided_again(desk: Desk) -> None:
    """The others keep what they were told, and all are saved together."""
    other = desk.another()
    for customer in (ADA, BOB):
        desk.receipt(wish(grant(10, customer_id=customer), f"give {customer}"))
    desk.receipt(wish(deduct(10), "first"), by=other)
    told = desk.tell(
        wish(deduct(1, customer_id=BOB), "b1"),
        wish(deduct(10), "a1"),
        wish(deduct(9, customer_id=BOB), "b2"),
        wish(deduct(1, customer_id=BOB), "b3"),
    )
    assert [one.outcome for one in told if isinstance(one, Receipt)] == [
        "accepted",
        "insufficient_credits",
        "accepted",
        "insufficient_credits",
    ]
    prove_identities(desk.store.log)


def test_what_follows_from_an_affected_command_is_decided_again_too(desk: Desk) -> None:
    """Bob would have spent what Ada's transfer, now refused, would have brought him."""
    other = desk.another()
    desk.receipt(GRANT_10)
    desk.receipt(wish(deduct(10, customer_id=ADA), "first"), by=other)
    told = desk.tell(wish(transfer(10), "pass on"), wish(deduct(10, customer_id=BOB), "spend"))
    assert [one.outcome for one in told if isinstance(one, Receipt)] == ["insufficient_credits"] * 2
    assert desk.balance(BOB) == Balance(0, 0, 0, 0, 0)


def test_a_refusal_is_decided_on_what_is_true_when_it_is_saved(desk: Desk) -> None:
    """An account that was only read must not have moved either."""
    other = desk.another()
    desk.receipt(GRANT_10)
    assert desk.receipt(wish(deduct(11), "one"), by=other).outcome == "insufficient_credits"
    desk.receipt(wish(grant(10), "more"))
    assert desk.receipt(wish(deduct(11), "two"), by=other).outcome == "accepted"


def test_two_writers_with_the_same_key_do_it_once(desk: Desk) -> None:
    """Their receipts collide, and the second is told what the first was."""
    other = desk.another()
    first = desk.receipt(GRANT_10)
    assert_same(desk.receipt(GRANT_10, by=other), first)
    assert desk.balance().available == 10


def test_an_id_is_looked_up_anew_after_a_conflict(desk: Desk) -> None:
    """The event that another writer put where ours would have stood is the one that is found."""
    other = desk.another()
    desk.receipt(GRANT_10)
    desk.receipt(wish(grant(5), "five"), by=other)
    told = desk.tell(wish(deduct(1), "spend"), wish(refund(ded(2)), "refund"))
    assert [one.outcome for one in told if isinstance(one, Receipt)] == [
        "accepted",
        "deduction_not_found",
    ]
    assert desk.receipt(wish(refund(ded(3)), "refund-2")).outcome == "accepted"
    assert grt(2) in {lot.grant_id for lot in _lots(desk)}


def _lots(desk: Desk) -> list:  # type: ignore[type-arg]
    stream = ids.account_id(ADA, "credits")
    return list(replayed(desk.store.streams[stream], stream).lots)


class Overtaken(FaultyStore):
    """Somebody else is always first, as often as it is told."""

    times = 0

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        if self.times:
            self.times -= 1
            raise Conflict("somebody was first")
        return super().append(events, receipts, expectations, seen)


@pytest.mark.parametrize("times", [1, ATTEMPTS_MAX - 1])
def test_conflicts_are_tried_again(desk: Desk, times: int) -> None:
    store = desk.store = Overtaken()
    desk.ledger = desk.another()
    store.times = times
    assert desk.receipt(GRANT_10).outcome == "accepted"
    assert desk.balance().available == 10


def test_conflicts_without_end_are_unavailable_and_leave_nothing(desk: Desk) -> None:
    store = desk.store = Overtaken()
    desk.ledger = desk.another()
    store.times = ATTEMPTS_MAX
    with pytest.raises(Unavailable):
        desk.tell(GRANT_10)
    assert desk.receipt(wish(deduct(1), "spend")).outcome == "insufficient_credits"
    assert desk.receipt(GRANT_10).outcome == "accepted"


# Lost answers.


@pytest.mark.parametrize("fault", ["lost", "unreached"])
def test_a_save_of_unknown_outcome_is_found_out(desk: Desk, fault: str) -> None:
    """9.3: the keys are looked up before anything is decided again."""
    desk.receipt(GRANT_10)
    desk.store.fault = fault  # type: ignore[assignment]
    told = desk.tell(wish(deduct(4), "1"), wish(deduct(7), "2"), wish(deduct(6), "3"))
    assert [one.outcome for one in told if isinstance(one, Receipt)] == [
        "accepted",
        "insufficient_credits",
        "accepted",
    ]
    assert desk.balance().available == 0
    prove_identities(desk.store.log)


@pytest.mark.parametrize("fault", ["lost", "unreached"])
@pytest.mark.parametrize("all_or_nothing", [False, True])
def test_a_batch_of_unknown_outcome_is_found_out(
    desk: Desk, fault: str, all_or_nothing: bool
) -> None:
    desk.receipt(GRANT_10)
    desk.store.fault = fault  # type: ignore[assignment]
    item = batch([wish(deduct(4), "1"), wish(deduct(6), "2")], "all", all_or_nothing=all_or_nothing)
    told = desk.batch(item)
    assert outcomes(told) == ["accepted", "accepted"]
    assert desk.balance().available == 0
    assert desk.batch(item).receipt.replayed


def test_a_fault_of_one_command_does_not_reach_the_others(desk: Desk) -> None:
    class Unheard(Command):
        NAME = "unheard"

    told = desk.tell(GRANT_10, wish(Unheard(), "odd"), wish(deduct(4), "spend"))
    assert isinstance(told[1], Failed)
    assert [one.outcome for one in told if isinstance(one, Receipt)] == ["accepted", "accepted"]
    assert desk.balance().available == 6


class SlowStore(MemoryStore):
    """A store whose first saves are still on their way when somebody else saves."""

    def __init__(self) -> None:
        super().__init__()
        self.is_slow = True
        self._on_its_way: tuple[Any, ...] | None = None

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        if self.is_slow:
            self._on_its_way = events, receipts, expectations, seen
            raise Unavailable("no answer")
        if self._on_its_way is not None:
            super().append(*self._on_its_way)
            self._on_its_way = None
        return super().append(events, receipts, expectations, seen)


@pytest.mark.parametrize("in_a_batch", [False, True])
def test_a_grant_on_its_way_is_not_called_past(in_a_batch: bool) -> None:
    """Its answer was lost, and its expiry passed before it was sent again elsewhere."""
    store = SlowStore()
    give = wish(grant(10, expires_at=NOW + TICK), "give")
    with pytest.raises(Unavailable):
        Ledger(store, now=lambda: NOW).handle([give])
    store.is_slow = False
    later = Ledger(store, now=lambda: NOW + DAY)
    [told] = later.handle([batch([give], "again") if in_a_batch else give])
    [receipt] = told.results if isinstance(told, BatchReceipt) else [told]
    assert isinstance(receipt, Receipt)
    assert (receipt.outcome, receipt.replayed, receipt.position) == (ACCEPTED, True, 1)
