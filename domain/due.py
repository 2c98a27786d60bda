"""What time does to an account: lots expire, holds lapse (domain/README.md, 3).

It follows from the account's events and the moment alone, in the order of the due times, so that
evaluating to b and then to c is the same as evaluating to c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount, Hold
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.amounts import Credits
from creditledger.domain.books import TIME
from creditledger.domain.trails import Trail

V = TypeVar("V", bound=e.Event)


class Recording(Protocol):
    """Where facts go: the books, or nowhere where a moment is only looked at."""

    def now(self, aggregate: Aggregate) -> datetime:
        """The moment of what is recorded."""

    def trail(self, subject: str, *, fresh: bool = False) -> Trail:
        """What became of a grant, hold or deduction; `fresh` where it cannot have begun yet."""

    def record(
        self,
        aggregate: Aggregate,
        kind: type[V],
        *,
        context: e.Context | None = None,
        **fields: Any,
    ) -> V:
        """Let a fact happen."""


def settle(account: CreditAccount, books: Recording) -> datetime:
    """Write down all that is due, and return the moment at which the account now stands."""
    now = books.now(account)
    while True:
        expiry, lapse = account.lots.next_expiry, account.next_lapse
        if expiry is not None and expiry <= now and (lapse is None or expiry <= lapse):
            lots = account.lots.ending_at(expiry)
            books.record(account, e.Expired, context=TIME, lots=lots, expired_at=expiry)
        elif lapse is not None and lapse <= now:
            release(account, account.lapsing_hold(), "lapsed", books, lapsed_at=lapse)
        else:
            account.lots.advance(now)
            return now


def release(
    account: CreditAccount,
    hold: Hold,
    reason: e.ReleaseReason,
    books: Recording,
    *,
    lapsed_at: datetime | None = None,
    note: str | None = None,
) -> None:
    """Give back what a hold still pins; what expired meanwhile is due after it."""
    context = TIME if reason == "lapsed" else None
    books.record(
        account,
        e.Released,
        context=context,
        hold_id=hold.hold_id,
        reason=reason,
        amount=hold.amount,
        lots=hold.lots,
        lapsed_at=lapsed_at,
        note=note,
    )
    how = HOW_IT_ENDED.get(reason)
    if how is not None:
        trail = books.trail(hold.hold_id, fresh=True)
        books.record(trail, e.HoldEnded, context=context, how=how)
    recover(account, hold.lots, books, context=context)


#: What a hold's trail says of its end. The rest after a capture is no end of its own.
HOW_IT_ENDED: Final[Mapping[e.ReleaseReason, e.HoldOutcome]] = {
    "voided": "released",
    "lapsed": "lapsed",
}


def recover(
    account: CreditAccount,
    legs: Iterable[e.LotAmount],
    books: Recording,
    *,
    context: e.Context | None = None,
) -> dict[str, int]:
    """Take from what came back to revoked lots what revocation could not take (rule 7.4).

    Returns how much was taken from each lot.
    """
    taken: dict[str, int] = {}
    for leg in legs:
        lot = account.lots.get(leg.grant_id)
        debt = account.debts.get(leg.grant_id)
        if lot is None or (debt is None and not lot.written_off):
            continue
        amount = min(leg.amount, (debt.amount if debt else 0) + lot.written_off)
        from_debt = min(amount, debt.amount if debt else 0)
        loss = Credits(amount - from_debt)
        expires_at = lot.expires_at
        books.record(
            account,
            e.Recovered,
            context=context,
            grant_id=leg.grant_id,
            amount=Credits(amount),
            debt=Credits(from_debt),
            written_off=loss,
        )
        if loss:
            trail = books.trail(leg.grant_id)
            books.record(
                trail,
                e.GrantRevised,
                context=context,
                revoked=trail.revoked,
                written_off=Credits(trail.written_off - loss),
                expires_at=expires_at,
            )
        taken[leg.grant_id] = amount
    return taken


class _Glance:
    """Records nowhere: time passes on a copy, to see what will be."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self, aggregate: Aggregate) -> datetime:
        last = aggregate.reached
        return self._at if last is None or last <= self._at else last

    def trail(self, subject: str, *, fresh: bool = False) -> Trail:
        return Trail(ids.trail_id(subject))

    def record(
        self,
        aggregate: Aggregate,
        kind: type[V],
        *,
        context: e.Context | None = None,
        **fields: Any,
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
        return event


def evaluate(account: CreditAccount, at: datetime) -> CreditAccount:
    """The account as it is at a moment not before its last event, if nobody does anything.

    The account itself is left as it is, and nothing is written. `version` of the result counts
    the facts that were due, so it must not be used to save anything.
    """
    future = account.copy()
    settle(future, _Glance(at))
    return future
