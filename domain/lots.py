"""Lots: what grants left behind, in burn order."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Self

from creditledger.domain.amounts import Credits, Money
from creditledger.domain.events import LotAmount, LotTerms
from creditledger.domain.values import value

#: Later than the last moment in UTC, so that it sorts after every expiry: a lot without one is
#: spent last among its priority.
_NEVER: Final = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))

_BurnKey = tuple[int, datetime, datetime, int, str]


@value()
class Lot:
    """One grant's rest: `remaining` is free, `held` is pinned by open holds.

    `number` is the version of its `Granted` event, so it counts grants in their order.
    `written_off` is what a revocation of it could not take and gave up.
    """

    grant_id: str
    number: int
    source: str
    priority: int
    granted: Credits
    effective_at: datetime
    expires_at: datetime | None
    cost_basis: Money | None
    payment_id: str | None
    written_off: Credits
    remaining: Credits
    held: Credits

    @classmethod
    def of(cls, terms: LotTerms, number: int) -> Self:
        """An empty lot with these terms."""
        return cls(
            terms.grant_id,
            number,
            terms.source,
            terms.priority,
            terms.granted,
            terms.effective_at,
            terms.expires_at,
            terms.cost_basis,
            terms.payment_id,
            terms.written_off,
            Credits(0),
            Credits(0),
        )

    def changed(
        self,
        *,
        remaining: int = 0,
        held: int = 0,
        written_off: int = 0,
    ) -> Lot:
        """The lot with these differences."""
        return Lot(
            self.grant_id,
            self.number,
            self.source,
            self.priority,
            self.granted,
            self.effective_at,
            self.expires_at,
            self.cost_basis,
            self.payment_id,
            Credits(self.written_off + written_off),
            Credits(self.remaining + remaining),
            Credits(self.held + held),
        )

    def ending(self, expires_at: datetime | None) -> Lot:
        """The lot with another expiry."""
        terms = self.terms()
        return Lot.of(
            LotTerms(
                terms.grant_id,
                terms.source,
                terms.priority,
                terms.granted,
                terms.effective_at,
                expires_at,
                terms.cost_basis,
                terms.payment_id,
                terms.written_off,
            ),
            self.number,
        ).changed(remaining=self.remaining, held=self.held)

    def cost_of(self, amount: int) -> Money | None:
        """What the next credits that leave the lot cost, so that all parts add up to the whole."""
        whole = self.cost_basis
        if whole is None:
            return None
        # A reinstatement may have put more into the lot than was granted: that cost nothing here.
        gone = self.granted - self.remaining - self.held
        before = whole.share(max(0, gone), self.granted)
        upto = whole.share(max(0, gone + amount), self.granted)
        return Money(upto.amount - before.amount, whole.currency)

    def terms(self) -> LotTerms:
        """What the lot is, whatever is left of it."""
        return LotTerms(
            self.grant_id,
            self.source,
            self.priority,
            self.granted,
            self.effective_at,
            self.expires_at,
            self.cost_basis,
            self.payment_id,
            self.written_off,
        )

    def burn_key(self) -> _BurnKey:
        """The place in the burn order: priority, expiry, start, grant (domain/README.md, 4.1)."""
        return (
            self.priority,
            self.expires_at or _NEVER,
            self.effective_at,
            self.number,
            self.grant_id,
        )


class Lots:
    """An account's open lots, with sums and orders kept as they change.

    Every change costs the logarithm of their number. `as_of` is the moment up to which lots have
    been let start; `available` counts started lots, `scheduled` the others.
    """

    __slots__ = ("_by_id", "_ending", "_starting", "_usable", "as_of", "available", "held",
                 "scheduled")  # fmt: skip

    def __init__(self) -> None:
        self.as_of = datetime.min.replace(tzinfo=UTC)
        self.available = 0
        self.held = 0
        self.scheduled = 0
        self._by_id: dict[str, Lot] = {}
        self._usable: list[_BurnKey] = []
        self._starting: list[tuple[datetime, str]] = []
        self._ending: list[tuple[datetime, int, str]] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Lot]:
        return iter(self._by_id.values())

    def get(self, grant_id: str) -> Lot | None:
        """The lot of this grant, where it is open."""
        return self._by_id.get(grant_id)

    def advance(self, now: datetime) -> None:
        """Let the lots start that start by now."""
        if now <= self.as_of:
            return
        self.as_of = now
        while self._starting and self._starting[0][0] <= now:
            lot = self._by_id[self._starting.pop(0)[1]]
            insort(self._usable, lot.burn_key())
            self.scheduled -= lot.remaining
            self.available += lot.remaining

    def put(self, lot: Lot) -> None:
        """Set a lot's new state; one that has nothing left in it closes."""
        old = self._by_id.get(lot.grant_id)
        if old is not None:
            self._remove(old)
        self.held += lot.held
        if lot.remaining:
            self._index(lot)
        if lot.remaining or lot.held:
            self._by_id[lot.grant_id] = lot

    def change(self, lot: Lot, *, remaining: int = 0, held: int = 0, written_off: int = 0) -> None:
        """Change an open lot's figures; while some of it is free, it keeps its places."""
        new = lot.changed(remaining=remaining, held=held, written_off=written_off)
        if not (lot.remaining and new.remaining):
            self.put(new)
            return
        if self.is_started(lot):
            self.available += remaining
        else:
            self.scheduled += remaining
        self.held += held
        self._by_id[lot.grant_id] = new

    def plan(self, amount: int) -> list[tuple[Lot, int]]:
        """How much each lot would give, in burn order, as far as they reach."""
        drawn = []
        for key in self._usable:
            if amount <= 0:
                break
            lot = self._by_id[key[4]]
            take = min(lot.remaining, amount)
            drawn.append((lot, take))
            amount -= take
        return drawn

    def burn_order(self) -> list[Lot]:
        """All open lots as they would be spent; those that have not started are in place."""
        return sorted(self._by_id.values(), key=Lot.burn_key)

    def is_started(self, lot: Lot) -> bool:
        """Whether the lot has started by `as_of`."""
        return lot.effective_at <= self.as_of

    @property
    def next_expiry(self) -> datetime | None:
        """When the next free credits end."""
        return self._ending[0][0] if self._ending else None

    def ending_at(self, expires_at: datetime) -> tuple[LotAmount, ...]:
        """What is free in the lots that end at this moment."""
        ending = []
        for moment, _, grant_id in self._ending:
            if moment != expires_at:
                break
            ending.append(LotAmount(grant_id, self._by_id[grant_id].remaining))
        return tuple(ending)

    def copy(self) -> Lots:
        """The same lots again; lots themselves never change."""
        other = Lots()
        other.as_of, other.available = self.as_of, self.available
        other.held, other.scheduled = self.held, self.scheduled
        other._by_id = self._by_id.copy()
        other._usable = self._usable.copy()
        other._starting = self._starting.copy()
        other._ending = self._ending.copy()
        return other

    def _index(self, lot: Lot) -> None:
        if self.is_started(lot):
            insort(self._usable, lot.burn_key())
            self.available += lot.remaining
        else:
            insort(self._starting, (lot.effective_at, lot.grant_id))
            self.scheduled += lot.remaining
        if lot.expires_at is not None:
            insort(self._ending, (lot.expires_at, lot.number, lot.grant_id))

    def _remove(self, lot: Lot) -> None:
        del self._by_id[lot.grant_id]
        self.held -= lot.held
        if not lot.remaining:
            return
        if self.is_started(lot):
            del self._usable[bisect_left(self._usable, lot.burn_key())]
            self.available -= lot.remaining
        else:
            del self._starting[bisect_left(self._starting, (lot.effective_at, lot.grant_id))]
            self.scheduled -= lot.remaining
        if lot.expires_at is not None:
            del self._ending[bisect_left(self._ending, (lot.expires_at, lot.number, lot.grant_id))]
