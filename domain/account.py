"""The credit account: one customer's holding of one asset.

State only: what each event changes, and what follows from it at a moment. What may be wished of an
account is decided in `grants`, `holds`, `deductions`, `refunds`, `revocations` and `transfers`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar, Final, Self
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.amounts import CREDITS_MAX, NO_CREDITS, Credits
from creditledger.domain.events import ACCOUNT_EVENTS, Balance, Event, LotAmount
from creditledger.domain.lots import Lot, Lots
from creditledger.domain.values import value


@value()
class Hold:
    """Credits set aside: `amount` is what it still pins, in `lots` as they were pinned."""

    hold_id: str
    amount: Credits
    expires_at: datetime
    lots: tuple[LotAmount, ...]
    feature: str | None


@value()
class Debt:
    """What a revocation could neither take nor give up: the next grants repay it."""

    grant_id: str
    amount: Credits
    payment_id: str | None


def period_start(at: datetime, period: e.OveragePeriod) -> datetime:
    """When the UTC calendar period around a moment began."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "day":
            return day
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)


class CreditAccount(Aggregate):
    """Open lots, open holds, open debts, and the overage of the current period: nothing else."""

    __slots__ = ("_lapsing", "asset", "customer_id", "debts", "holds", "key", "lots",
                 "overage_limit", "overage_period", "overage_since", "overage_used")  # fmt: skip

    EVENTS: ClassVar[tuple[type[Event], ...]] = ACCOUNT_EVENTS

    def __init__(self, stream: UUID, customer_id: str = "", asset: str = "") -> None:
        super().__init__(stream)
        #: How the ids of what happens here begin, after their prefix.
        self.key = ids.stream_key(stream)
        self.customer_id = customer_id
        self.asset = asset
        self.lots = Lots()
        self.holds: dict[str, Hold] = {}
        #: By revoked grant, oldest first.
        self.debts: dict[str, Debt] = {}
        self.overage_limit: Credits | None = Credits(0)
        self.overage_period: e.OveragePeriod = "month"
        #: Since when overage is counted: the period's start, or when the kind of period changed.
        self.overage_since: datetime | None = None
        self.overage_used = 0
        self._lapsing: list[tuple[datetime, int, str]] = []

    @classmethod
    def restore(
        cls,
        stream: UUID,
        *,
        customer_id: str,
        asset: str,
        version: int,
        recorded_at: datetime | None,
        lots: Iterable[Lot],
        holds: Iterable[Hold],
        debts: Iterable[Debt],
        overage_limit: Credits | None = NO_CREDITS,
        overage_period: e.OveragePeriod = "month",
        overage_since: datetime | None = None,
        overage_used: int = 0,
    ) -> Self:
        """The account as a snapshot or a read model kept it at `recorded_at`."""
        account = cls(stream, customer_id, asset)
        account.version = account.snapshot_version = version
        account.recorded_at = recorded_at
        if recorded_at is not None:
            account.lots.advance(recorded_at)
        for lot in lots:
            account.lots.put(lot)
        for hold in holds:
            account._open(hold)
        account.debts = {debt.grant_id: debt for debt in debts}
        account.overage_limit = overage_limit
        account.overage_period = overage_period
        account.overage_since = overage_since
        account.overage_used = overage_used
        return account

    @property
    def reached(self) -> datetime:
        """The moment up to which lots have been let start, and no earlier than the last event."""
        return self.lots.as_of

    def identity(self) -> dict[str, Any]:
        """Whose account it is, of what."""
        return {"customer_id": self.customer_id, "asset": self.asset}

    def seal(self, event: Event) -> None:
        """Write the balance after the event into it, before anybody has seen it."""
        object.__setattr__(event, "after", self.balance())

    def copy(self) -> Self:
        """The same state again; lots, holds and debts themselves never change."""
        other = type(self)(self.id, self.customer_id, self.asset)
        other.version, other.recorded_at = self.version, self.recorded_at
        other.snapshot_version = self.snapshot_version
        other.lots = self.lots.copy()
        other.holds = self.holds.copy()
        other.debts = self.debts.copy()
        other.overage_limit = self.overage_limit
        other.overage_period = self.overage_period
        other.overage_since = self.overage_since
        other.overage_used = self.overage_used
        other._lapsing = self._lapsing.copy()
        return other

    def next_id(self, prefix: str) -> str:
        """The id of what the next event will bring about."""
        return ids.event_id(prefix, self.key, self.version + 1)

    # What follows from the state.

    @property
    def available(self) -> int:
        """What started lots hold and no hold has pinned."""
        return self.lots.available

    @property
    def debt(self) -> int:
        """What the next grants will repay."""
        return sum(debt.amount for debt in self.debts.values()) if self.debts else 0

    @property
    def overage(self) -> int:
        """What was spent beyond the lots in the current period, less what was refunded of it."""
        return self.overage_used if self._is_this_period(self.lots.as_of) else 0

    @property
    def overage_left(self) -> int:
        """How much more overage the limit allows in the current period."""
        if self.overage_limit is None:
            return CREDITS_MAX
        return max(0, self.overage_limit - self.overage)

    def balance(self) -> Balance:
        """The five figures as of the last event or evaluation."""
        lots = self.lots
        overage = self.overage if self.overage_used else 0
        return Balance(lots.available, lots.held, lots.scheduled, self.debt, overage)

    @property
    def next_lapse(self) -> datetime | None:
        """When the next open hold's time runs out."""
        return self._lapsing[0][0] if self._lapsing else None

    @property
    def next_due(self) -> datetime | None:
        """When time next does something to the account that must be written down."""
        moments = [at for at in (self.lots.next_expiry, self.next_lapse) if at is not None]
        return min(moments, default=None)

    def lapsing_hold(self) -> Hold:
        """The open hold whose time runs out first; there must be one."""
        return self.holds[self._lapsing[0][2]]

    def debts_of(self, grant_id: str, payment_id: str | None) -> list[Debt]:
        """The grant's own debt, then the others of its payment, oldest first."""
        own = [debt for debt in self.debts.values() if debt.grant_id == grant_id]
        if payment_id is None:
            return own
        others = [debt for debt in self.debts.values() if debt.payment_id == payment_id]
        return own + [debt for debt in others if debt.grant_id != grant_id]

    def counts_overage_of(self, moment: datetime) -> bool:
        """Whether what was used at a past moment is part of the current period's figure."""
        since = self.overage_since
        return since is not None and moment >= since and self._is_this_period(self.lots.as_of)

    # What events change.

    def _evolve(self, event: Event) -> None:
        if self.version == 0 and isinstance(event, e.AccountEvent):
            self.customer_id, self.asset = event.customer_id, event.asset
        self.lots.advance(event.recorded_at)
        _EVOLUTIONS[type(event)](self, event)

    def _granted(self, event: e.Granted) -> None:
        repaid = 0
        for share in event.debt_repaid:
            self._reduce_debt(share.grant_id, share.amount)
            repaid += share.amount
        rest = Credits(event.amount - repaid)
        grant_id = ids.event_id(ids.GRANT, self.key, event.originator_version)
        lot = Lot(
            grant_id,
            event.originator_version,
            event.source,
            event.priority,
            event.amount,
            event.effective_at,
            event.expires_at,
            event.cost_basis,
            event.payment_id,
            Credits(0),
            rest,
            Credits(0),
        )
        self.lots.put(lot)

    def _held(self, event: e.Held) -> None:
        for leg in event.lots:
            self.lots.change(self._lot(leg.grant_id), remaining=-leg.amount, held=leg.amount)
        hold_id = ids.event_id(ids.HOLD, self.key, event.originator_version)
        self._open(Hold(hold_id, event.amount, event.expires_at, event.lots, event.feature))

    def _deducted(self, event: e.Deducted) -> None:
        if event.hold_id is not None:
            self._capture(event.hold_id, event.captured)
        for leg in event.lots:
            self.lots.change(self._lot(leg.grant_id), remaining=-leg.amount)
        if event.overage:
            if not self._is_this_period(event.recorded_at):
                self.overage_used = 0
                self.overage_since = period_start(event.recorded_at, self.overage_period)
            self.overage_used += event.overage

    def _released(self, event: e.Released) -> None:
        self._unlist(self.holds.pop(event.hold_id))
        for leg in event.lots:
            self.lots.change(self._lot(leg.grant_id), remaining=leg.amount, held=-leg.amount)

    def _refunded(self, event: e.Refunded) -> None:
        self.overage_used -= event.overage_this_period
        self._return(event.lots, event.reopened)

    def _expired(self, event: e.Expired) -> None:
        for leg in event.lots:
            self.lots.change(self._lot(leg.grant_id), remaining=-leg.amount)

    def _revoked(self, event: e.Revoked) -> None:
        if event.written_off and self.lots.get(event.grant_id) is not None:
            self.lots.change(self._lot(event.grant_id), written_off=event.written_off)
        for leg in event.lots:
            self.lots.change(self._lot(leg.grant_id), remaining=-leg.amount)
        if event.debt:
            old = self.debts.get(event.grant_id)
            amount = Credits(event.debt + (old.amount if old else 0))
            self.debts[event.grant_id] = Debt(event.grant_id, amount, event.payment_id)

    def _recovered(self, event: e.Recovered) -> None:
        self.lots.change(
            self._lot(event.grant_id), remaining=-event.amount, written_off=-event.written_off
        )
        if event.debt:
            self._reduce_debt(event.grant_id, event.debt)

    def _reinstated(self, event: e.Reinstated) -> None:
        for share in event.debt_cancelled:
            self._reduce_debt(share.grant_id, share.amount)
        self._return(event.lots, event.reopened)
        if event.written_off and self.lots.get(event.grant_id) is not None:
            self.lots.change(self._lot(event.grant_id), written_off=-event.written_off)

    def _expiry_changed(self, event: e.ExpiryChanged) -> None:
        lot = self.lots.get(event.grant_id)
        if lot is not None:
            self.lots.put(lot.ending(event.expires_at))

    def _overage_limit_set(self, event: e.OverageLimitSet) -> None:
        if event.period != self.overage_period:
            self.overage_used, self.overage_since = 0, event.recorded_at
        self.overage_limit = event.limit
        self.overage_period = event.period

    def _lot(self, grant_id: str) -> Lot:
        lot = self.lots.get(grant_id)
        if lot is None:
            raise LookupError(f"the account {self.id} has no open lot {grant_id}")
        return lot

    def _return(self, legs: Iterable[LotAmount], reopened: Iterable[e.LotTerms]) -> None:
        empty = {terms.grant_id: terms for terms in reopened}
        for leg in legs:
            terms = empty.get(leg.grant_id)
            lot = (
                self._lot(leg.grant_id)
                if terms is None
                else Lot.of(terms, ids.version_of(leg.grant_id))
            )
            self.lots.put(lot.changed(remaining=leg.amount))

    def _reduce_debt(self, grant_id: str, amount: int) -> None:
        debt = self.debts[grant_id]
        if debt.amount == amount:
            del self.debts[grant_id]
        else:
            left = Credits(debt.amount - amount)
            self.debts[grant_id] = Debt(grant_id, left, debt.payment_id)

    def _open(self, hold: Hold) -> None:
        self.holds[hold.hold_id] = hold
        insort(self._lapsing, (hold.expires_at, ids.version_of(hold.hold_id), hold.hold_id))

    def _unlist(self, hold: Hold) -> None:
        """Let a hold that was closed lapse no more."""
        place = (hold.expires_at, ids.version_of(hold.hold_id), hold.hold_id)
        del self._lapsing[bisect_left(self._lapsing, place)]

    def _capture(self, hold_id: str, captured: tuple[LotAmount, ...]) -> None:
        hold = self.holds.pop(hold_id)
        left = {leg.grant_id: leg.amount for leg in hold.lots}
        for leg in captured:
            left[leg.grant_id] = Credits(left[leg.grant_id] - leg.amount)
            self.lots.change(self._lot(leg.grant_id), held=-leg.amount)
        pinned = tuple([LotAmount(grant_id, rest) for grant_id, rest in left.items() if rest])
        if pinned:
            # It lapses when it would have, so its place among those that do stays the same.
            rest = Credits(sum([leg.amount for leg in pinned]))
            self.holds[hold_id] = Hold(hold_id, rest, hold.expires_at, pinned, hold.feature)
        else:
            self._unlist(hold)

    def _is_this_period(self, now: datetime) -> bool:
        since = self.overage_since
        return since is not None and since >= period_start(now, self.overage_period)


_EVOLUTIONS: Final[dict[type[Event], Callable[[CreditAccount, Any], None]]] = {
    e.Granted: CreditAccount._granted,
    e.Held: CreditAccount._held,
    e.Deducted: CreditAccount._deducted,
    e.Released: CreditAccount._released,
    e.Refunded: CreditAccount._refunded,
    e.Expired: CreditAccount._expired,
    e.Revoked: CreditAccount._revoked,
    e.Recovered: CreditAccount._recovered,
    e.Reinstated: CreditAccount._reinstated,
    e.ExpiryChanged: CreditAccount._expiry_changed,
    e.OverageLimitSet: CreditAccount._overage_limit_set,
}
