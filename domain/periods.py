"""Sharing out a subscription's period among the payments that were made for it.

A payment that comes to be known after a later one takes its part back from that one, so that what
each has in the end does not depend on the order of the news (domain/README.md, 11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from creditledger.domain.amounts import Credits
from creditledger.domain.awards import (
    SUBSCRIPTION,
    Award,
    Worth,
    grant_award,
    period_award,
    period_lot_start,
)
from creditledger.domain.billing import (
    Bill,
    BilledLine,
    BillingPeriod,
    allot,
    find_period,
    record_bill,
)
from creditledger.domain.books import Books
from creditledger.domain.payment import Payment, payment_of
from creditledger.domain.payment_events import PaymentGrant, PaymentReallotted
from creditledger.domain.provider_commands import Period, RecordPurchase
from creditledger.domain.removals import follow
from creditledger.domain.values import value


@value()
class Change:
    """So many credits more (or less) of an asset for a payment that was granted before."""

    payment: Payment
    bill: Bill
    asset: str
    by: int


@value()
class PeriodShare:
    """What a purchase gets of one period, and what that changes for others who paid for it."""

    period: BillingPeriod
    bill: Bill
    awards: tuple[Award, ...]
    changes: tuple[Change, ...]


def shares_of(
    command: RecordPurchase, worths: Sequence[Worth], now: datetime, books: Books
) -> list[PeriodShare]:
    """What a purchase gets of each period that its lines pay for. Records nothing."""
    subscription_id = command.subscription_id
    by_end: dict[datetime, list[Worth]] = {}
    for worth in worths:
        if worth.periodic:
            assert worth.line.period is not None
            by_end.setdefault(worth.line.period.end, []).append(worth)
    shares = []
    for end, lines in sorted(by_end.items()):
        # A period belongs to a subscription; lines without one share it with nobody.
        name = subscription_id or command.provider_id
        period = find_period(command.provider, name, end, books)
        start = min(worth.line.period.start for worth in lines if worth.line.period)
        bill = Bill(command.provider_id, command.paid_at, start, tuple(_billed(lines)))
        shares.append(_share(period, bill, lines, now, books))
    return shares


def share_period(share: PeriodShare, books: Books) -> None:
    """Keep the bill, and take from others what is not theirs, or give them what is.

    What is taken back may have been spent; that debt is repaid by the grants that follow.
    """
    record_bill(share.period, share.bill, books)
    for change in sorted(share.changes, key=lambda change: change.by):
        _reallot(change, share, books)


def _billed(worths: Sequence[Worth]) -> list[BilledLine]:
    lines = []
    for worth in worths:
        assert worth.line.price_id is not None
        assert worth.terms is not None
        lines.append(
            BilledLine(
                worth.line.price_id,
                worth.terms.asset,
                worth.credits,
                worth.line.proration,
                worth.line.credited,
            )
        )
    return lines


def _share(
    period: BillingPeriod, bill: Bill, worths: Sequence[Worth], now: datetime, books: Books
) -> PeriodShare:
    assert period.period_end is not None
    span = Period(bill.start, period.period_end)
    allotments = allot([*period.bills.values(), bill])
    awards = []
    for asset, amount in allotments[bill.provider_id].items():
        lines = [worth for worth in worths if worth.terms and worth.terms.asset == asset]
        if lines:
            awards.append(period_award(lines, amount, span, bill.paid_at, now))
    changes = []
    for other in period.bills.values():
        payment = payment_of(period.provider, other.provider_id, books)
        has = _allotted(payment, period.period_end)
        for asset, amount in allotments[other.provider_id].items():
            by = amount - has.get(asset, 0)
            if by:
                changes.append(Change(payment, other, asset, by))
    return PeriodShare(period, bill, tuple(awards), tuple(changes))


def _allotted(payment: Payment, period_end: datetime) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for grant in payment.grants:
        if grant.period_end == period_end:
            sums[grant.asset] = sums.get(grant.asset, 0) + grant.allotted
    return sums


def _reallot(change: Change, share: PeriodShare, books: Books) -> None:
    payment, end = change.payment, share.period.period_end
    assert end is not None
    before = payment.targets()
    grants, left = [], change.by
    for grant in payment.grants:
        if grant.asset == change.asset and grant.period_end == end:
            # Down to nothing, or up to all that it once was.
            allotted = min(max(0, grant.allotted + left), grant.amount)
            left -= allotted - grant.allotted
            grants.append(replace(grant, withdrawn=Credits(grant.amount - allotted)))
        else:
            grants.append(grant)
    if left > 0:
        grants.append(_grant_more(change, Credits(left), end, books))
    books.record(payment, PaymentReallotted, customer_id=payment.customer_id, grants=tuple(grants))
    follow(payment, before, books)


def _grant_more(change: Change, amount: Credits, end: datetime, books: Books) -> PaymentGrant:
    payment = change.payment
    assert payment.customer_id is not None
    bill, now = change.bill, books.now(payment)
    award = Award(
        asset=change.asset,
        credits=amount,
        source=SUBSCRIPTION,
        effective_at=period_lot_start(Period(bill.start, end), bill.paid_at, now, end),
        expires_at=end,
        amount=None,
        period_end=end,
    )
    account = books.account(payment.customer_id, change.asset)
    grant_id = grant_award(award, account, payment, None, books)
    return PaymentGrant(grant_id, change.asset, amount, end)
