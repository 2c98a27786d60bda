"""An account's sums, added up from what its events say, without the domain's own fold.

The two ways to the same figures are held against each other: see `account_audit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import period_start
from creditledger.domain.amounts import CREDITS_MAX
from creditledger.domain.events import AccountEvent, Event, LotAmount
from creditledger.projections.burn_order import BurnOrder, LotSums
from creditledger.projections.findings import Witness


@dataclass(slots=True)
class AccountSums:
    """Running totals of one account.

    `totals` has: granted, repaid, spent, refunded, expired, taken (from lots by revocations and
    recoveries), returned (to lots by reinstatements), revoked, revoked_from_lots, debt_created,
    debt_ended, written_off, overage_used, overage_refunded.
    """

    key: str
    lots: dict[str, LotSums] = field(default_factory=dict)
    #: What each open hold still pins, by lot, and when its time runs out.
    holds: dict[str, dict[str, int]] = field(default_factory=dict)
    lapses: dict[str, datetime] = field(default_factory=dict)
    #: How much of each deduction was refunded, by the lot that it went to; overage is "".
    refunds: dict[str, Counter[str]] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    #: When overage was used, or given back in its own period, since the period last changed.
    overages: list[tuple[datetime, int]] = field(default_factory=list)
    period: e.OveragePeriod = "month"
    total: int = 0
    held: int = 0
    debt: int = 0
    _order: BurnOrder = field(default_factory=BurnOrder)

    def take_in(self, event: AccountEvent, witness: Witness) -> None:
        """Add what an event says, and check that it makes sense by itself and after the others.

        Raises LookupError where it names what the account never had.
        """
        match event:
            # First what comes most often.
            case e.Deducted():
                self._deducted(event, witness)
            case e.Held():
                self._held(event, witness)
            case e.Granted():
                self._granted(event, witness)
            case e.Released():
                self._released(event, witness)
            case e.Refunded():
                self._refunded(event, witness)
            case e.Expired():
                self._expired(event, witness)
            case e.Revoked() | e.Recovered():
                self._taken_back(event, witness)
            case e.Reinstated():
                self._reinstated(event, witness)
            case e.ExpiryChanged():
                lot = self.lots[event.grant_id]
                witness.expect("previous expiry", lot.ends, event.previous)
                lot.ends = event.expires_at
                self._order.put(lot)
            case e.OverageLimitSet() if event.period != self.period:
                self.period = event.period
                self.overages.clear()
        self._check_range(event, witness)

    def first(self, now: datetime) -> LotSums | None:
        """The lot that is to be spent first; `now` never goes back."""
        return self._order.first(now)

    def next_change(self, lot: LotSums) -> datetime:
        """Until when this lot, which is the first, stays so if no event changes any other."""
        return min(lot.ends_or_never, self._order.next_start)

    def split(self, at: datetime) -> tuple[int, int]:
        """What is free of started lots, and of those that have not started."""
        available = sum(lot.free for lot in self.lots.values() if lot.starts <= at)
        return available, sum(lot.free for lot in self.lots.values()) - available

    def overage(self, at: datetime) -> int:
        """What was used in the period of a moment, less what was given back of it."""
        since = period_start(at, self.period)
        return sum(amount for moment, amount in self.overages if moment >= since)

    def _granted(self, event: e.Granted, witness: Witness) -> None:
        repaid = self._end_debts(event.debt_repaid)
        grant_id = ids.event_id(ids.GRANT, self.key, event.originator_version)
        rest = event.amount - repaid
        lot = LotSums(
            grant_id,
            event.originator_version,
            event.priority,
            event.amount,
            event.effective_at,
            event.expires_at,
            rest,
        )
        self.lots[grant_id] = lot
        self._order.put(lot)
        self.totals.update(granted=event.amount, repaid=repaid)
        self.total += rest
        witness.expect("more debt repaid than granted", 0, max(0, -rest))

    def _held(self, event: e.Held, witness: Witness) -> None:
        hold_id = ids.event_id(ids.HOLD, self.key, event.originator_version)
        self.holds[hold_id] = {leg.grant_id: leg.amount for leg in event.lots}
        self.lapses[hold_id] = event.expires_at
        for leg in event.lots:
            self._check_first(leg.grant_id, event.recorded_at, witness)
            self._pin((leg,), 1)
        witness.expect("sum of the lots", event.amount, _sum(event.lots))

    def _deducted(self, event: e.Deducted, witness: Witness) -> None:
        if event.hold_id is not None:
            in_time = event.recorded_at < self.lapses[event.hold_id]
            witness.expect("captured before the hold lapsed", True, in_time)
            self._unpin(event.hold_id, event.captured)
        if event.captured:
            self._pin(event.captured, -1)
            self._spend("spent", event.captured)
        for leg in event.lots:
            self._check_first(leg.grant_id, event.recorded_at, witness)
            self._spend("spent", (leg,))
        if event.overage:
            self.totals["overage_used"] += event.overage
            self.overages.append((event.recorded_at, event.overage))
            first = self._order.first(event.recorded_at)
            witness.expect("free where overage was used", None, first and first.grant_id)
        parts = _sum(event.captured) + _sum(event.lots) + event.overage
        witness.expect("sum of lots and overage", event.amount, parts)

    def _released(self, event: e.Released, witness: Witness) -> None:
        pinned = self.holds.pop(event.hold_id)
        lapses_at = self.lapses.pop(event.hold_id)
        self._pin(event.lots, -1)
        if event.reason == "lapsed":
            witness.expect("when the hold lapsed", lapses_at, event.lapsed_at)
        witness.expect("lots released", pinned, {leg.grant_id: leg.amount for leg in event.lots})
        witness.expect("sum of the lots", event.amount, _sum(event.lots))

    def _refunded(self, event: e.Refunded, witness: Witness) -> None:
        self._give("refunded", event.lots)
        self.totals["overage_refunded"] += event.overage
        if event.overage_this_period:
            self.overages.append((event.recorded_at, -event.overage_this_period))
        back = self.refunds.setdefault(event.deduction_id, Counter())
        back.update({leg.grant_id: leg.amount for leg in event.lots})
        back[""] += event.overage
        parts = _sum(event.lots) + event.overage
        witness.expect("sum of lots and overage", event.amount, parts)

    def _expired(self, event: e.Expired, witness: Witness) -> None:
        self._spend("expired", event.lots)
        for leg in event.lots:
            lot = self.lots[leg.grant_id]
            witness.expect(f"expiry of {leg.grant_id}", lot.ends, event.expired_at)
            witness.expect(f"free in {leg.grant_id} after its expiry", 0, lot.free)
        passed = event.expired_at <= event.recorded_at
        witness.expect("expired when its time had come", True, passed)

    def _taken_back(self, event: e.Revoked | e.Recovered, witness: Witness) -> None:
        lot = self.lots[event.grant_id]
        if isinstance(event, e.Revoked):
            self._spend("taken", event.lots)
            lot.revoked += event.amount
            lot.written_off += event.written_off
            lot.debt += event.debt
            self.debt += event.debt
            self.totals.update(
                revoked=event.amount,
                revoked_from_lots=_sum(event.lots),
                debt_created=event.debt,
                written_off=event.written_off,
            )
            parts = _sum(event.lots) + event.debt + event.written_off
            witness.expect("more revoked than granted", 0, max(0, lot.revoked - lot.granted))
        else:
            self._spend("taken", [LotAmount(event.grant_id, event.amount)])
            self._end_debts([LotAmount(event.grant_id, event.debt)])
            lot.written_off -= event.written_off
            parts = event.debt + event.written_off
        witness.expect("sum of lots, debt and write-off", event.amount, parts)

    def _reinstated(self, event: e.Reinstated, witness: Witness) -> None:
        lot = self.lots[event.grant_id]
        self._give("returned", event.lots)
        cancelled = self._end_debts(event.debt_cancelled)
        lot.revoked -= event.amount
        lot.written_off -= event.written_off
        parts = _sum(event.lots) + cancelled + event.written_off
        witness.expect("sum of lots, debt and write-off", event.amount, parts)
        witness.expect("more reinstated than revoked", 0, max(0, -lot.revoked))

    def _pin(self, legs: Iterable[LotAmount], sign: int) -> None:
        for leg in legs:
            lot = self.lots[leg.grant_id]
            lot.held += sign * leg.amount
            self.held += sign * leg.amount
            if sign < 0:
                self._order.put(lot)

    def _unpin(self, hold_id: str, captured: Iterable[LotAmount]) -> None:
        pins = self.holds[hold_id]
        for leg in captured:
            pins[leg.grant_id] -= leg.amount
            if not pins[leg.grant_id]:
                del pins[leg.grant_id]
        if not pins:
            del self.holds[hold_id], self.lapses[hold_id]

    def _spend(self, counted: str, legs: Iterable[LotAmount]) -> None:
        for leg in legs:
            self.lots[leg.grant_id].left -= leg.amount
            self.total -= leg.amount
            self.totals[counted] += leg.amount

    def _give(self, counted: str, legs: Iterable[LotAmount]) -> None:
        for leg in legs:
            lot = self.lots[leg.grant_id]
            lot.left += leg.amount
            self._order.put(lot)
            self.total += leg.amount
            self.totals[counted] += leg.amount

    def _end_debts(self, shares: Iterable[LotAmount]) -> int:
        ended = 0
        for share in shares:
            self.lots[share.grant_id].debt -= share.amount
            ended += share.amount
        self.debt -= ended
        self.totals["debt_ended"] += ended
        return ended

    def _check_first(self, grant_id: str, now: datetime, witness: Witness) -> None:
        """The lot is usable and, of those that are and have something free, the first."""
        first = self._order.first(now)
        if first is None or first.grant_id != grant_id:
            usable = self.lots[grant_id].usable(now)
            witness.expect(f"{grant_id} is usable at {now.isoformat()}", True, usable)
            witness.report("first in burn order", first and first.grant_id, grant_id)

    def _check_range(self, event: AccountEvent, witness: Witness) -> None:
        """No lot is ever less than empty, and no sum leaves the range of credits."""
        for grant_id in _TOUCHED[type(event)](event):
            lot = self.lots[grant_id]
            if not lot.in_range:
                worst = min(lot.free, lot.held, lot.debt, lot.written_off)
                witness.expect(f"{grant_id} below nothing", 0, worst)
        largest = max(self.total, self.debt)
        if largest > CREDITS_MAX:
            witness.expect("past the largest sum", 0, largest - CREDITS_MAX)


def _sum(legs: Iterable[LotAmount]) -> int:
    return sum(leg.amount for leg in legs)


def _lots_of(event: Any) -> list[str]:
    return [leg.grant_id for leg in event.lots]


def _nothing(event: Any) -> tuple[str, ...]:
    return ()


#: The grants on which an event leaves its mark.
_TOUCHED: Final[Mapping[type[Event], Callable[[Any], Iterable[str]]]] = {
    e.Granted: lambda event: [share.grant_id for share in event.debt_repaid],
    e.Held: _lots_of,
    e.Deducted: lambda event: [leg.grant_id for leg in event.lots + event.captured],
    e.Released: _lots_of,
    e.Refunded: _lots_of,
    e.Expired: _lots_of,
    e.Revoked: lambda event: [event.grant_id, *_lots_of(event)],
    e.Recovered: lambda event: [event.grant_id],
    e.Reinstated: lambda event: [
        event.grant_id,
        *_lots_of(event),
        *(share.grant_id for share in event.debt_cancelled),
    ],
    e.ExpiryChanged: _nothing,
    e.OverageLimitSet: _nothing,
}
