"""Moves as a seed draws them. Amounts are small, so that thresholds are met often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

from creditledger.domain.events import ExpiredLotsPolicy, RevocationPolicy
from moves import (
    CUSTOMERS,
    PRICES,
    UNKNOWN,
    WHO,
    Capture,
    Deduct,
    Grant,
    Move,
    MoveExpiry,
    PlaceHold,
    Purchase,
    Refund,
    Reinstate,
    Release,
    Revoke,
    SetLimit,
    Transfer,
    Who,
)
from scheduler import START

T = TypeVar("T")

_EXPIRED_LOTS: Sequence[ExpiredLotsPolicy] = ("grace", "expire")
_REVOKED: Sequence[RevocationPolicy | None] = (None, "debt", "write_off")

#: How long things last: some end while the simulation runs.
_LENGTHS = (
    timedelta(seconds=2),
    timedelta(seconds=30),
    timedelta(minutes=5),
    timedelta(days=9),
)


def draw_move(chance: Random, now: datetime) -> Move:
    """Any move on any account, mostly on one."""
    draw = chance.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0]
    move = draw(chance)
    if isinstance(move, Purchase):
        # Whoever tells of a payment, and when, it was paid at one moment.
        return replace(move, paid_ago=now - START + move.payment * timedelta(hours=6))
    return move


def _who(chance: Random) -> Who:
    return chance.choice((*WHO[:1] * 10, *WHO))


def _amount(chance: Random) -> int:
    return chance.randint(1, 9)


def _some(chance: Random) -> int | None:
    return chance.choice((None, _amount(chance), _amount(chance)))


def _at(chance: Random) -> int:
    return chance.choice((0, 0, 0, 1, 1, 2, 3, 5, UNKNOWN))


def _length(chance: Random) -> timedelta | None:
    return chance.choice((None, None, *_LENGTHS))


def _grant(chance: Random) -> Move:
    return Grant(
        who=_who(chance),
        amount=chance.randint(5, 40),
        source=chance.choice(("adjustment", "top_up", "promotion", "subscription")),
        priority=chance.choice((None, None, 20)),
        starts_in=chance.choice((None, None, None, *_LENGTHS[:2], -_LENGTHS[2])),
        ends_in=chance.choice((_length(chance), _length(chance), timedelta(0))),
    )


def _purchase(chance: Random) -> Move:
    return Purchase(
        customer=chance.choice(CUSTOMERS),
        payment=chance.randint(1, 4),
        lines=tuple(chance.choices(sorted(PRICES), k=chance.randint(1, 3))),
        paid_ago=timedelta(0),
    )


def _deduct(chance: Random) -> Move:
    return Deduct(_who(chance), _amount(chance))


def _hold(chance: Random) -> Move:
    return PlaceHold(_who(chance), _amount(chance), chance.choice((None, 1, 5, 60, 0)))


def _capture(chance: Random) -> Move:
    return Capture(_who(chance), _at(chance), _some(chance), chance.random() < 0.5)


def _release(chance: Random) -> Move:
    return Release(_who(chance), _at(chance))


def _refund(chance: Random) -> Move:
    return Refund(_who(chance), _at(chance), _some(chance), chance.choice(_EXPIRED_LOTS))


def _revoke(chance: Random) -> Move:
    return Revoke(_who(chance), _at(chance), _some(chance), chance.choice(_REVOKED))


def _reinstate(chance: Random) -> Move:
    return Reinstate(_who(chance), _at(chance), _some(chance))


def _move_expiry(chance: Random) -> Move:
    return MoveExpiry(_who(chance), _at(chance), _length(chance))


def _limit(chance: Random) -> Move:
    return SetLimit(_who(chance), chance.choice((None, 0, 5, 12)))


def _transfer(chance: Random) -> Move:
    return Transfer(_who(chance), chance.choice(CUSTOMERS), _amount(chance))


_WEIGHTS: dict[Callable[[Random], Move], int] = {
    _grant: 4,
    _purchase: 2,
    _deduct: 6,
    _hold: 3,
    _capture: 2,
    _release: 1,
    _refund: 2,
    _revoke: 1,
    _reinstate: 1,
    _move_expiry: 1,
    _limit: 1,
    _transfer: 2,
}
