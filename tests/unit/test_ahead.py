"""What waits is decided before the turn comes, and stands unless news of others concerns it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import pytest

from counting_store import CountingStore, available, tell, wishes
from creditledger.domain.ahead import AHEAD_MAX, PAUSE_MAX
from creditledger.domain.commands import Command
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import ACCEPTED, Batch, Outcome, Receipt, Wish
from creditledger.domain.store import Unavailable
from given_when_then import ADA, BOB, NOW, deduct, grant


class Clock:
    """A clock that is set by hand, and counts how often it was looked at."""

    def __init__(self) -> None:
        self.now = NOW
        self.looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        return self.now


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(store: CountingStore) -> Ledger:
    """Who is first: both customers have ten credits by it."""
    ledger = Ledger(store, now=lambda: NOW)
    tell(ledger, grant(10), grant(10, customer_id=BOB))
    return ledger


@pytest.fixture
def other(one: Ledger, store: CountingStore, clock: Clock) -> Ledger:
    """Who takes turns with it, and has learned of the grants."""
    ledger = Ledger(store, now=clock)
    tell(ledger, grant(1, customer_id="cem"))
    return ledger


def take_turn(ledger: Ledger, waiting: Sequence[Wish | Batch]) -> list[Outcome]:
    with ledger.ready(waiting):
        return ledger.handle(waiting)


def outcomes(told: Sequence[Outcome]) -> list[str]:
    return [receipt.outcome for receipt in told if isinstance(receipt, Receipt)]


def decisions_at_turn(
    store: CountingStore, clock: Clock, ledger: Ledger, *commands: Command
) -> tuple[int, int]:
    """How often the ledger looked at the clock before its turn, and in it."""
    at_turn: list[int] = []
    store.before_turn = lambda: at_turn.append(clock.looks)
    before = clock.looks
    take_turn(ledger, wishes(*commands))
    return at_turn[0] - before, clock.looks - at_turn[0]


def test_what_waits_is_decided_before_the_turn_and_not_again(
    store: CountingStore, clock: Clock, other: Ledger
) -> None:
    before, during = decisions_at_turn(store, clock, other, *[deduct(1)] * 5)
    assert (before, during) == (6, 1), "five decisions and when they were made; how long ago"
    assert available(store, ADA) == 5


def test_news_of_another_account_undoes_nothing(
    store: CountingStore, clock: Clock, one: Ledger, other: Ledger
) -> None:
    looks: list[int] = []

    def interfere() -> None:
        tell(one, deduct(9, customer_id=BOB))
        looks.append(clock.looks)

    store.before_turn = interfere
    assert outcomes(take_turn(other, wishes(deduct(1), deduct(2)))) == [ACCEPTED] * 2
    assert clock.looks - looks[0] == 1
    assert store.conflicts == 0
    assert (available(store, ADA), available(store, BOB)) == (7, 1)


def test_what_news_concerns_is_decided_again_with_all_after_it(
    store: CountingStore, one: Ledger, other: Ledger
) -> None:
    """Three credits are left of ten: the second command finds too few now."""
    store.before_turn = lambda: tell(one, deduct(7))
    told = take_turn(
        other,
        wishes(deduct(1, customer_id=BOB), deduct(4), deduct(2, customer_id=BOB), deduct(3)),
    )
    assert outcomes(told) == [ACCEPTED, "insufficient_credits", ACCEPTED, ACCEPTED]
    assert store.conflicts == 0
    assert (available(store, ADA), available(store, BOB)) == (0, 7)


def test_what_comes_while_the_turn_is_waited_for_goes_with_it(
    store: CountingStore, other: Ledger
) -> None:
    early, late = wishes(deduct(9)), wishes(deduct(1), deduct(1))
    with other.ready(early):
        told = other.handle([*early, *late])
    assert outcomes(told) == [ACCEPTED, ACCEPTED, "insufficient_credits"]
    assert available(store, ADA) == 0


def test_who_went_away_meanwhile_has_deducted_nothing(store: CountingStore, other: Ledger) -> None:
    waiting = wishes(deduct(8), deduct(7), deduct(1, customer_id=BOB))
    with other.ready(waiting):
        told = other.handle(waiting[1:])
    assert outcomes(told) == [ACCEPTED, ACCEPTED]
    assert (available(store, ADA), available(store, BOB)) == (3, 9)


def test_where_all_went_away_nothing_is_left_of_it(store: CountingStore, other: Ledger) -> None:
    with other.ready(wishes(deduct(8))):
        pass
    told = take_turn(other, wishes(deduct(10)))
    assert outcomes(told) == [ACCEPTED]
    assert available(store, ADA) == 0


def test_where_no_turn_comes_nothing_is_left_of_it(store: CountingStore, other: Ledger) -> None:
    def refuse() -> None:
        raise Unavailable("the others do not let it in")

    store.before_turn = refuse
    with pytest.raises(Unavailable):
        take_turn(other, wishes(deduct(8)))
    assert outcomes(take_turn(other, wishes(deduct(10)))) == [ACCEPTED]


@pytest.mark.parametrize(("late", "moment"), [(False, NOW), (True, NOW + 2 * AHEAD_MAX)])
def test_what_was_decided_long_ago_is_decided_again(
    store: CountingStore, clock: Clock, other: Ledger, late: bool, moment: datetime
) -> None:
    def wait() -> None:
        clock.now += 2 * AHEAD_MAX if late else AHEAD_MAX

    store.before_turn = wait
    take_turn(other, wishes(deduct(1)))
    assert store.log[-1].recorded_at == moment
    assert available(store, ADA) == 9


def test_a_key_that_somebody_else_used_meanwhile_is_told_its_first_answer(
    store: CountingStore, one: Ledger, other: Ledger
) -> None:
    wish = Wish(command=deduct(3), actor="client:shop", client_id="shop", key="retried")
    store.before_turn = lambda: one.handle([wish])
    told = take_turn(other, [*wishes(deduct(1, customer_id=BOB)), wish])
    assert outcomes(told) == [ACCEPTED] * 2
    assert isinstance(told[1], Receipt)
    assert told[1].replayed
    assert (available(store, ADA), available(store, BOB)) == (7, 9)


class Turns:
    """Turns of one ledger, in which it deducts from Ada, and which of them it decided ahead."""

    def __init__(self, store: CountingStore, clock: Clock, one: Ledger, other: Ledger) -> None:
        self.decided_ahead: list[bool] = []
        self._store = store
        self._clock = clock
        self._one = one
        self._other = other

    def take(self, *, first: Command) -> None:
        """Take a turn, before which the other ledger is told another command."""
        looks = self._clock.looks

        def interfere() -> None:
            self.decided_ahead.append(self._clock.looks > looks)
            tell(self._one, first)

        self._store.before_turn = interfere
        take_turn(self._other, wishes(deduct(1)))


def test_where_news_undoes_it_each_time_it_is_tried_ever_more_rarely(
    store: CountingStore, clock: Clock, one: Ledger, other: Ledger
) -> None:
    tell(one, grant(10_000))
    tell(other, deduct(1))
    turns = Turns(store, clock, one, other)
    for _ in range(4 * PAUSE_MAX):
        turns.take(first=deduct(1))
    ahead = [number for number, decided in enumerate(turns.decided_ahead) if decided]
    assert ahead[:5] == [0, 2, 5, 10, 19]
    assert max(later - earlier for earlier, later in pairwise(ahead)) == PAUSE_MAX + 1


def test_after_it_has_stood_it_is_tried_again_soon(
    store: CountingStore, clock: Clock, one: Ledger, other: Ledger
) -> None:
    tell(one, grant(1_000), grant(1_000, customer_id=BOB))
    tell(other, deduct(1))
    turns = Turns(store, clock, one, other)
    for who in (ADA, ADA, ADA, BOB, BOB, BOB, ADA, ADA, ADA):
        turns.take(first=deduct(1, customer_id=who))
    undone_and_paused = [True, False, True, False, False]
    stood = [True]
    undone_and_paused_shortly = [True, False, True]
    assert turns.decided_ahead == undone_and_paused + stood + undone_and_paused_shortly
