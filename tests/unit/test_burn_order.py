"""The order in which a proof expects lots to be spent (domain/README.md, 4.1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.events import Context, LotAmount
from creditledger.projections.account_sums import AccountSums
from creditledger.projections.burn_order import BurnOrder, LotSums
from creditledger.projections.findings import Findings, Witness

DAY = timedelta(days=1)
NOW = datetime(2026, 9, 1, tzinfo=UTC)
ACCOUNT = ids.account_id("ada", "credits")
KEY = ids.stream_key(ACCOUNT)


def lot(number: int, *, priority: int = 20, starts: int = 0, ends: int | None = None) -> LotSums:
    """A lot of ten credits; it starts and ends so many days from now."""
    ending = None if ends is None else NOW + ends * DAY
    return LotSums(f"grt_{number}", number, priority, 10, NOW + starts * DAY, ending, 10)


def order_of(*lots: LotSums) -> list[int]:
    """The numbers of the lots as they come first, each one emptied before the next."""
    order = BurnOrder()
    for one in lots:
        order.put(one)
    numbers = []
    while (first := order.first(NOW)) is not None:
        numbers.append(first.number)
        first.left = 0
    return numbers


def test_priority_comes_before_expiry_before_start_before_grant() -> None:
    assert order_of(
        lot(1, priority=30, ends=1),
        lot(2, ends=None),
        lot(3, ends=9, starts=0),
        lot(4, ends=9, starts=-1),
        lot(5, ends=9, starts=-1),
        lot(6, ends=2),
    ) == [6, 4, 5, 3, 2, 1]


def test_a_lot_that_has_not_started_or_has_ended_comes_never() -> None:
    assert order_of(lot(1, starts=1), lot(2, ends=0), lot(3)) == [3]


def test_a_lot_that_was_emptied_has_its_place_again_when_something_comes_back() -> None:
    first, second = lot(1), lot(2)
    order = BurnOrder()
    order.put(first)
    order.put(second)
    first.left = 0
    assert order.first(NOW) is second
    first.left = 3
    order.put(first)
    assert order.first(NOW) is first


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["new", "empty", "fill", "hold", "end", "wait"]),
        st.integers(0, 9),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(MOVES)
def test_the_first_is_that_which_a_look_at_all_lots_finds(
    moves: list[tuple[str, int, int]],
) -> None:
    order, lots, now = BurnOrder(), [lot(1)], NOW
    order.put(lots[0])
    for move, which, number in moves:
        one = lots[which % len(lots)]
        match move:
            case "new":
                one = lot(len(lots) + 1, priority=number, starts=which - 4, ends=number + 2)
                lots.append(one)
                order.put(one)
            case "empty":
                one.left = one.held
            case "fill":
                one.left += number
                order.put(one)
            case "hold":
                one.held = min(one.left, number)
                order.put(one)
            case "end":
                one.ends = None if number == 0 else now + number * DAY
                order.put(one)
            case _:
                now += number * DAY
        usable = [one for one in lots if one.free and one.usable(now)]
        assert order.first(now) is min(usable, key=LotSums.burn_key, default=None)


def _event(kind: type[e.AccountEvent], version: int, **fields: Any) -> Any:
    return kind(
        originator_id=ACCOUNT,
        originator_version=version,
        recorded_at=NOW,
        context=Context("client:x", "rcp_x", "rcp_x"),
        customer_id="ada",
        asset="credits",
        **fields,
    )


def _grant(version: int, priority: int) -> e.Granted:
    granted: e.Granted = _event(
        e.Granted,
        version,
        amount=Credits(10),
        source="gift",
        priority=priority,
        effective_at=NOW,
        expires_at=None,
    )
    return granted


FIRST, SECOND = (ids.event_id(ids.GRANT, KEY, version) for version in (1, 2))


DEDUCTIONS = [
    ([(FIRST, 4)], 0, None),
    ([(FIRST, 10), (SECOND, 1)], 0, None),
    ([(FIRST, 10), (SECOND, 10)], 5, None),
    ([(SECOND, 4)], 0, "first in burn order"),
    ([(SECOND, 10), (FIRST, 1)], 0, "first in burn order"),
    ([(FIRST, 9), (SECOND, 1)], 0, "first in burn order"),
    ([(FIRST, 10), (SECOND, 9)], 1, "free where overage was used"),
]


@pytest.mark.parametrize(
    ("kind", "legs", "overage", "fault"),
    [
        *((e.Deducted, *case) for case in DEDUCTIONS),
        # Overage never backs a hold.
        *((e.Held, *case) for case in DEDUCTIONS if not case[1]),
    ],
)
def test_what_was_taken_in_another_order_is_found(
    kind: type[e.AccountEvent], legs: list[tuple[str, int]], overage: int, fault: str | None
) -> None:
    findings = Findings()
    witness = Witness(findings, "log", "here")
    sums = AccountSums(KEY)
    sums.take_in(_grant(1, 10), witness)
    sums.take_in(_grant(2, 20), witness)
    taken = tuple(LotAmount(grant_id, Credits(amount)) for grant_id, amount in legs)
    amount = Credits(sum(leg.amount for leg in taken) + overage)
    more = {"expires_at": NOW + DAY} if kind is e.Held else {"overage": Credits(overage)}
    sums.take_in(_event(kind, 3, amount=amount, lots=taken, **more), witness)
    assert {difference.what for difference in findings.kept} == ({fault} if fault else set())
