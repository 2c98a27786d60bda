"""Whether the log is an order of commands that their callers can have seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placed:
    """What one caller saw, by one clock: when it asked, when it was answered, and which position of
    the log the answer named."""

    asked: float
    answered: float
    position: int
    what: object


def assert_in_real_time_order(placed: Iterable[Placed]) -> None:
    """Assert that whoever asked after another was answered does not stand before it in the log.

    The positions are one order for all; where no answer contradicts the callers' clock, the
    history is linearizable (Herlihy and Wing, 1990), for each account and for all of them.
    """
    seen = list(placed)
    by_asked = sorted(seen, key=lambda one: one.asked)
    by_answered = sorted(seen, key=lambda one: one.answered)
    newest: Placed | None = None
    answered = iter(by_answered)
    upcoming = next(answered, None)
    for one in by_asked:
        while upcoming is not None and upcoming.answered < one.asked:
            if newest is None or upcoming.position > newest.position:
                newest = upcoming
            upcoming = next(answered, None)
        assert newest is None or one.position >= newest.position, (newest, one)
