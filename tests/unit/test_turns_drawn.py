"""Two ledgers take turns on one store: each is told what one alone would be, told all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from counting_store import CountingStore
from creditledger.domain.commands import Command
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Batch, BatchReceipt, Outcome, Wish
from given_when_then import (
    NOW,
    capture,
    ded,
    deduct,
    grant,
    grt,
    hld,
    hold,
    refund,
    release,
    revoke,
    transfer,
    wish,
)

CUSTOMERS = ("ada", "bob", "cem", "dua")

_who = st.sampled_from(CUSTOMERS)
_amount = st.integers(1, 9)
_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(lambda who, amount: deduct(amount, customer_id=who), _who, _amount),
    st.builds(lambda who, amount: deduct(amount, customer_id=who), _who, _amount),
    st.builds(lambda who, amount: grant(amount, customer_id=who), _who, _amount),
    st.builds(lambda who, amount: hold(amount, customer_id=who), _who, _amount),
    st.builds(lambda who: capture(hld(2, who)), _who),
    st.builds(lambda who: release(hld(2, who)), _who),
    st.builds(lambda who, amount: refund(ded(3, who), amount), _who, _amount),
    st.builds(lambda who, amount: revoke(grt(1, who), amount), _who, _amount),
    st.builds(lambda of, to, amount: transfer(amount, of=of, to=to), _who, _who, _amount),
)
_keys = st.sampled_from([f"key-{number}" for number in range(9)])
_keyed = st.builds(wish, _commands, _keys)
_dry = st.builds(
    lambda command, key: wish(command, key, dry_run=True), _commands, st.none() | _keys
)
_wishes = st.one_of(_keyed, st.builds(wish, _commands), _dry)


@dataclass(frozen=True)
class Turn:
    """What waits for a turn, what the other ledger is told before it comes, and what comes late."""

    waiting: Sequence[Wish | Batch]
    meanwhile: Sequence[Wish]
    late: Sequence[Wish]


@st.composite
def _batches(draw: st.DrawFn) -> Batch:
    wishes = draw(st.lists(_keyed, min_size=1, max_size=3))
    return Batch(
        wishes=tuple(wishes),
        all_or_nothing=draw(st.booleans()),
        client_id="shop",
        key=draw(st.sampled_from(["b1", "b2"])),
        fingerprint=repr(wishes).encode(),
    )


_turns = st.builds(
    Turn,
    waiting=st.lists(st.one_of(_wishes, _wishes, _batches()), min_size=1, max_size=6),
    meanwhile=st.lists(_wishes, max_size=3),
    late=st.lists(_wishes, max_size=2),
)


def begin(ledger: Ledger) -> None:
    for who in CUSTOMERS:
        ledger.handle([wish(grant(20, customer_id=who))])
        ledger.handle([wish(hold(5, customer_id=who))])
        ledger.handle([wish(deduct(3, customer_id=who))])


def said(outcomes: Sequence[Outcome]) -> list[object]:
    """What was told, in a form that can be compared."""
    return [
        (said([each.receipt]), said(each.results)) if isinstance(each, BatchReceipt) else repr(each)
        for each in outcomes
    ]


@given(st.lists(_turns, min_size=1, max_size=4))
def test_both_are_told_what_one_alone_would_be(turns: Sequence[Turn]) -> None:
    store, plain = CountingStore(), CountingStore()
    one, other = Ledger(store, now=lambda: NOW), Ledger(store, now=lambda: NOW)
    third = Ledger(plain, now=lambda: NOW)
    begin(one)
    begin(third)
    for turn in turns:
        told: list[Outcome] = []

        def interfere(turn: Turn = turn, told: list[Outcome] = told) -> None:
            for each in turn.meanwhile:
                told += one.handle([each])

        store.before_turn = interfere
        with other.ready(turn.waiting):
            told_late = other.handle([*turn.waiting, *turn.late])
        expected = [third.handle([each])[0] for each in turn.meanwhile]
        expected += third.handle([*turn.waiting, *turn.late])
        assert said([*told, *told_late]) == said(expected)
        assert store.log == plain.log
