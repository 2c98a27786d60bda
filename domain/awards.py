"""Awards: what a purchase gives, before it is granted, and how one becomes a grant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import NO_CREDITS, Credits, Money
from creditledger.domain.books import Books
from creditledger.domain.commands import ChangeExpiry
from creditledger.domain.due import settle
from creditledger.domain.grants import change_expiry, find_grant, grant, grant_id_of
from creditledger.domain.payment import Payment
from creditledger.domain.payment_events import PaymentRedated
from creditledger.domain.price import ONE_TIME_EXPIRES_AFTER_DAYS, Price, PriceTerms
from creditledger.domain.provider_commands import Period, PurchaseLine, RecordPurchase
from creditledger.domain.values import value

#: What is bought once, and what a subscription brings.
TOP_UP: Final = "top_up"
SUBSCRIPTION: Final = "subscription"


@value()
class Worth:
    """A line with what it is worth; `terms` is None where it has no price id."""

    line: PurchaseLine
    terms: PriceTerms | None
    price: Price | None

    @property
    def credits(self) -> Credits:
        """What all its units are worth together; of a change of plan, begun or given back.

        A line that gives money back without a change of plan is worth none.
        """
        if self.terms is None or (self.line.credited and not self.line.proration):
            return NO_CREDITS
        return Credits(self.terms.credits * self.line.quantity)

    @property
    def periodic(self) -> bool:
        """Whether it pays for a period of a subscription."""
        return self.terms is not None and self.line.period is not None


@value(kw_only=True)
class Award:
    """Credits of one asset that a purchase gives, for a period of a subscription or for good.

    `amount` is the part of the payment that paid for them, in minor units, where it is known.
    """

    asset: str
    credits: Credits
    source: str
    effective_at: datetime
    expires_at: datetime
    amount: int | None
    period_end: datetime | None = None


def single_award(worth: Worth, command: RecordPurchase, now: datetime) -> Award:
    """What a line gives that pays for no period."""
    terms = worth.terms
    # A provider's clock may be ahead of ours; a lot cannot start before it was there.
    start = min(command.paid_at, now)
    days, source = ONE_TIME_EXPIRES_AFTER_DAYS, TOP_UP
    if terms is not None:
        days = terms.expires_after_days or days
        if command.subscription_id is not None and terms.kind == "recurring":
            source = SUBSCRIPTION
    return Award(
        asset="" if terms is None else terms.asset,
        credits=worth.credits,
        source=source,
        effective_at=start,
        expires_at=start + timedelta(days=days),
        amount=worth.line.amount,
    )


def period_award(
    worths: Sequence[Worth], credits_: Credits, period: Period, paid_at: datetime, now: datetime
) -> Award:
    """What lines of one asset give that pay for one period, when they are allotted so much.

    It ends with the period, or after the days that the price says.
    """
    terms = [worth.terms for worth in worths if worth.terms is not None]
    start = min(paid_at, now)
    days = max((t.expires_after_days for t in terms if t.expires_after_days), default=None)
    expires_at = period.end if days is None else start + timedelta(days=days)
    amounts = [worth.line.amount for worth in worths if worth.line.amount is not None]
    return Award(
        asset=terms[0].asset,
        credits=credits_,
        source=SUBSCRIPTION,
        effective_at=period_lot_start(period, paid_at, now, expires_at),
        expires_at=expires_at,
        amount=sum(amounts) if len(amounts) == len(worths) else None,
        period_end=period.end,
    )


def period_lot_start(
    period: Period, paid_at: datetime, now: datetime, expires_at: datetime
) -> datetime:
    """From when what pays for a period can be spent: from when it was paid.

    What comes after its period starts with it, so that every lot ends after its start.
    """
    start = min(paid_at, now)
    return start if start < expires_at else period.start


def costs(paid: Money, awards: Sequence[Award]) -> Iterator[Money]:
    """Each award's part of what was paid, so that the parts add up to all of it.

    By their own amounts where each of them has one; else in equal parts.
    """
    known = [max(0, award.amount) for award in awards if award.amount is not None]
    weights = known if len(known) == len(awards) and any(known) else [1 for _ in awards]
    whole, before = sum(weights), 0
    for weight in weights:
        upto = before + weight
        part = paid.share(upto, whole).amount - paid.share(before, whole).amount
        before = upto
        yield Money(part, paid.currency)


def grant_award(
    award: Award, account: CreditAccount, payment: Payment, cost: Money | None, books: Books
) -> str:
    """Grant what a purchase gives; return the grant's id."""
    granted = grant(
        account,
        books,
        amount=award.credits,
        source=award.source,
        priority=books.policies.priorities[award.source],
        effective_at=award.effective_at,
        expires_at=award.expires_at,
        cost_basis=cost,
        payment_id=payment.payment_id,
        reference=payment.provider_id,
    )
    return grant_id_of(account, granted)


def redate(payment: Payment, paid_at: datetime, books: Books) -> None:
    """Let a payment count from an earlier time of payment, where news tells one.

    Several events tell of one purchase, each with a time of its own. What lives for so many days
    ends that much earlier, unless it has ended, or somebody gave it another expiry.
    """
    if payment.paid_at is None or paid_at >= payment.paid_at:
        return
    before = payment.paid_at
    books.record(payment, PaymentRedated, customer_id=payment.customer_id, paid_at=paid_at)
    for grant_ in payment.grants:
        if grant_.period_end is None:
            _move_expiry(grant_.grant_id, before, paid_at, books)


def _move_expiry(grant_id: str, before: datetime, paid_at: datetime, books: Books) -> None:
    account, granted, trail = find_grant(grant_id, books)
    now = settle(account, books)
    ends_at = trail.expires_at if trail.revised else granted.expires_at
    if granted.expires_at is None or ends_at is None:
        return
    lifetime = granted.expires_at - granted.effective_at
    expires_at = paid_at + lifetime
    if ends_at == before + lifetime and now < expires_at and granted.effective_at < expires_at:
        change_expiry(ChangeExpiry(grant_id=grant_id, expires_at=expires_at), books)
