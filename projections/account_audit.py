"""Proves what must always hold of one account, from its events alone (domain/README.md, 10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.books import TIME
from creditledger.domain.due import HOW_IT_ENDED, settle
from creditledger.domain.events import AccountEvent, Balance, Context, Event
from creditledger.domain.trails import Trail
from creditledger.projections.account_sums import AccountSums
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.frozen_log import Stored
from creditledger.projections.plain_deductions import PlainDeductions

V = TypeVar("V", bound=Event)

#: Past all positions.
_NO_END: Final = 2**63

#: An account that has not begun.
_NOTHING: Final = Balance(0, 0, 0, 0, 0)

#: What a stored event that names something unknown, or takes too much, makes the folds raise.
_CANNOT_BE: Final = (LookupError, ValueError, ArithmeticError, AssertionError)


class AccountAudit:
    """Takes in one account's events in order; `close` proves what must hold at the end.

    Keeps what its trails, transfers and payments must say, for `log_audit` to look up. `checkpoint`
    is the position of the balances' read model: `seen` is the account as that should have it.
    """

    def __init__(self, stream: UUID, findings: Findings, *, checkpoint: int) -> None:
        self.account = CreditAccount(stream)
        self.sums = AccountSums(self.account.key)
        self.seen: CreditAccount | None = None
        self._run = PlainDeductions(self.account, self.sums)
        #: The event that both folds took in last, but for what came of plain deductions.
        self._last: tuple[int, AccountEvent] | None = None
        #: What each trail must say, event by event, by the id that it is about.
        self.trails: dict[str, list[tuple[Any, ...]]] = {}
        self.transfers_out = 0
        #: What came from each transfer.
        self.transfers_in: dict[str, int] = {}
        #: Grants that a payment brought about.
        self.bought = 0
        self._findings = findings
        self._checkpoint = checkpoint
        self._after = _NOTHING
        self._sound = True
        self._place = _Place(self.account.key)
        #: Tells of the event that is taken in, for all of them.
        self._witness = Witness(findings, "log", self._place)

    @property
    def customer_id(self) -> str:
        """Whose account it is, as its first event says."""
        return self.account.customer_id

    @property
    def asset(self) -> str:
        """What it holds."""
        return self.account.asset

    def take_plain(self, rows: Sequence[Stored], first: int) -> int:
        """Check rows from the first on in one go, as far as they are plain; tells how many."""
        event, run = rows[first].event, self._run
        if type(event) is not e.Deducted or event.hold_id is not None:
            return 0
        if not run.goes_on and self._last is not None and self._sound:
            run.begin(*self._last)
        if not run.goes_on:
            return 0
        return run.takes(rows, first, self._checkpoint if self.seen is None else _NO_END)

    def take_in(self, position: int, event: AccountEvent) -> None:
        """Check one event by itself, against the one before it, and against both folds."""
        self._end_run()
        if position > self._checkpoint and self.seen is None:
            self.seen = self.account.copy()
        self._take_in(event)
        self._last = position, event

    def _end_run(self) -> None:
        """Let the folds take in what came of plain deductions."""
        last = self._run.version
        event = self._run.take_out()
        if event is not None:
            self._take_in(event)
            self.account.version = last

    def _take_in(self, event: AccountEvent) -> None:
        self._place.version = event.originator_version
        witness = self._witness
        witness.customer_id, witness.asset = event.customer_id, event.asset
        if self.account.version == 0:
            own = ids.account_id(event.customer_id, event.asset)
            witness.expect("the account's id", own, event.originator_id)
        elif self._sound:
            witness.expect("customer_id", self.customer_id, event.customer_id)
            witness.expect("asset", self.asset, event.asset)
        try:
            self._check_step(event, witness)
            if not self._sound:
                return
            self.sums.take_in(event, witness)
            self._expect_trails(event)
            self.account.apply(event)
        except _CANNOT_BE as fault:
            self._sound = False
            witness.report("follows from the events before it", "an event that can be", repr(fault))
            return
        # Once the fold has left the recorded balances, it would differ at every event.
        self._sound = witness.expect("balance after it", self.account.balance(), event.after)

    def close(self, at: datetime) -> None:
        """Apply what is due by `at`, and hold both folds and the identities against each other."""
        self._end_run()
        if self.seen is None:
            self.seen = self.account.copy()
        if not self._sound:
            return
        witness = Witness(
            self._findings, "log", f"account {self.account.key}", self.customer_id, self.asset
        )
        try:
            settle(self.account, _Foresight(at, self.sums, witness))
        except _CANNOT_BE as fault:
            witness.report("what is due by then", "a state that can be", repr(fault))
            return
        self._check_lots(witness)
        self._check_identities(witness)

    def _check_step(self, event: AccountEvent, witness: Witness) -> None:
        """The balance after an event is that before it, changed by what the event says."""
        before, after = self._after, event.after
        self._after = after
        total, held, debt = before.total, before.held, before.debt
        match event:
            case e.Deducted():
                total += event.overage - event.amount
                if event.captured:
                    held -= _sum(event.captured)
            case e.Held():
                held += event.amount
            case e.Released():
                held -= event.amount
            case e.Granted():
                repaid = _sum(event.debt_repaid)
                total += event.amount - repaid
                debt -= repaid
            case e.Refunded():
                total += event.amount - event.overage
            case e.Expired():
                total -= _sum(event.lots)
            case e.Revoked():
                total -= _sum(event.lots)
                debt += event.debt
            case e.Recovered():
                total -= event.amount
                debt -= event.debt
            case e.Reinstated():
                total += _sum(event.lots)
                debt -= _sum(event.debt_cancelled)
        if (total, held, debt) != (after.total, after.held, after.debt):
            witness.expect("total after it", total, after.total)
            witness.expect("held after it", held, after.held)
            witness.expect("debt after it", debt, after.debt)

    def _expect_trails(self, event: AccountEvent) -> None:
        match event:
            case e.Deducted():
                self.transfers_out += event.transfer_to is not None
            case e.Released():
                how = HOW_IT_ENDED.get(event.reason)
                if how is not None:
                    self._expect_trail(event.hold_id, "HoldEnded", how)
            case e.Refunded():
                refunded = self.sums.refunds[event.deduction_id].total()
                self._expect_trail(event.deduction_id, "DeductionRefunded", refunded)
            case e.Granted():
                if event.transfer_id is not None:
                    came = self.transfers_in.get(event.transfer_id, 0)
                    self.transfers_in[event.transfer_id] = came + event.amount
                elif event.payment_id is not None and event.origin_grant_id is None:
                    self.bought += 1
            case e.Revoked() | e.Reinstated() | e.ExpiryChanged():
                self._expect_revision(event.grant_id)
            case e.Recovered() if event.written_off:
                self._expect_revision(event.grant_id)

    def _expect_revision(self, grant_id: str) -> None:
        lot = self.sums.lots[grant_id]
        self._expect_trail(grant_id, "GrantRevised", lot.revoked, lot.written_off, lot.ends)

    def _expect_trail(self, subject: str, *says: Any) -> None:
        self.trails.setdefault(subject, []).append(says)

    def _check_lots(self, witness: Witness) -> None:
        """Lot by lot, the domain's fold and the sums have the same."""
        summed = {
            grant_id: (lot.free, lot.held, lot.ends)
            for grant_id, lot in self.sums.lots.items()
            if lot.free or lot.held
        }
        folded = {
            lot.grant_id: (lot.remaining, lot.held, lot.expires_at) for lot in self.account.lots
        }
        for grant_id in summed.keys() | folded.keys():
            witness.expect(
                f"free, held and expiry of {grant_id}", summed.get(grant_id), folded.get(grant_id)
            )
        debts = {grant_id: lot.debt for grant_id, lot in self.sums.lots.items() if lot.debt}
        witness.expect(
            "open debts",
            debts,
            {debt.grant_id: debt.amount for debt in self.account.debts.values()},
        )
        pins = {
            hold.hold_id: {leg.grant_id: leg.amount for leg in hold.lots}
            for hold in self.account.holds.values()
        }
        witness.expect("open holds", self.sums.holds, pins)

    def _check_identities(self, witness: Witness) -> None:
        balance, t = self.account.balance(), self.sums.totals
        available, scheduled = self.sums.split(self.account.lots.as_of)
        witness.expect("available", available, balance.available)
        witness.expect("scheduled", scheduled, balance.scheduled)
        granted = (
            balance.total
            + (t["spent"] - t["refunded"])
            + t["expired"]
            + (t["taken"] - t["returned"])
            + t["repaid"]
        )
        witness.expect("granted = what became of it", t["granted"], granted)
        revoked = t["revoked_from_lots"] + t["debt_created"] + t["written_off"]
        witness.expect("revoked = from lots + debt + written off", t["revoked"], revoked)
        debt = balance.debt + t["debt_ended"]
        witness.expect("debt created = open + repaid + cancelled", t["debt_created"], debt)
        overage = self.sums.overage(self.account.lots.as_of)
        witness.expect("overage = used - refunded in the period", overage, balance.overage)
        past = t["overage_refunded"] - t["overage_used"]
        witness.expect("overage refunded past what was used", 0, max(0, past))


def _sum(legs: Iterable[e.LotAmount]) -> int:
    return sum(leg.amount for leg in legs)


@dataclass(slots=True)
class _Place:
    """The event that is at hand, which is told by its id where one is needed.

    It knows nothing of who goes through the events: an audit in a cycle would outlive its account.
    """

    key: str
    version: int = 0

    def __call__(self) -> str:
        return ids.event_id(ids.EVENT, self.key, self.version)


class _Foresight:
    """Lets time pass on an account without writing anything, and adds it to the sums."""

    def __init__(self, at: datetime, sums: AccountSums, witness: Witness) -> None:
        self._at = at
        self._sums = sums
        self._witness = witness

    def now(self, aggregate: Aggregate) -> datetime:
        last = aggregate.recorded_at
        return self._at if last is None or last <= self._at else last

    def trail(self, subject: str, *, fresh: bool = False) -> Trail:
        return Trail(ids.trail_id(subject))

    def record(
        self, aggregate: Aggregate, kind: type[V], *, context: Context | None = None, **fields: Any
    ) -> V:
        event = kind(
            originator_id=aggregate.id,
            originator_version=aggregate.version + 1,
            recorded_at=self.now(aggregate),
            context=context or TIME,
            **aggregate.identity(),
            **fields,
        )
        aggregate.apply(event)
        if isinstance(event, AccountEvent):
            place = f"what is due by {self._at.isoformat()}"
            self._sums.take_in(event, replace(self._witness, place=place))
        return event
