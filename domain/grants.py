"""Grants: credits given, and when they end (domain/README.md, 4 and 7)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import CREDITS_MAX, Credits, Money
from creditledger.domain.books import Books
from creditledger.domain.commands import ChangeExpiry, GrantCredits
from creditledger.domain.due import settle
from creditledger.domain.errors import BalanceLimitExceeded, GrantNotFound, Invalid, Untimely
from creditledger.domain.lots import Lot
from creditledger.domain.trails import Trail


def grant_credits(command: GrantCredits, books: Books) -> dict[str, Any]:
    """Give credits by hand: refuses an expiry that is past, or not after the start."""
    priorities = books.policies.priorities
    if command.source not in priorities:
        known = ", ".join(sorted(priorities))
        raise Invalid(field="source", reason=f"is {command.source!r}, and can be one of {known}")
    account = books.account(command.customer_id, command.asset)
    now = settle(account, books)
    effective_at = command.effective_at or now
    expires_at = _expiry(command, effective_at)
    if expires_at is not None:
        refuse_expiry(expires_at, effective_at, now)
    ensure_room(account, command.amount, repays=True)
    priority = priorities[command.source] if command.priority is None else command.priority
    granted = grant(
        account,
        books,
        amount=command.amount,
        source=command.source,
        priority=priority,
        effective_at=effective_at,
        expires_at=expires_at,
        cost_basis=command.cost_basis,
        reference=command.reference,
    )
    return {
        "grant_id": grant_id_of(account, granted),
        "amount": granted.amount,
        "source": granted.source,
        "priority": granted.priority,
        "effective_at": answers.instant(granted.effective_at),
        "expires_at": answers.instant(granted.expires_at),
        "debt_repaid": sum(share.amount for share in granted.debt_repaid),
        "balance": answers.balance(account),
    }


def change_expiry(command: ChangeExpiry, books: Books) -> dict[str, Any]:
    """Let a grant's lot end at another time; refuses one that is past or not after the start."""
    account, granted, trail = find_grant(command.grant_id, books)
    now = settle(account, books)
    if command.expires_at is not None:
        refuse_expiry(command.expires_at, granted.effective_at, now)
    previous = trail.expires_at if trail.revised else granted.expires_at
    books.record(
        account,
        e.ExpiryChanged,
        grant_id=command.grant_id,
        expires_at=command.expires_at,
        previous=previous,
    )
    books.record(
        trail,
        e.GrantRevised,
        revoked=trail.revoked,
        written_off=trail.written_off,
        expires_at=command.expires_at,
    )
    return {
        "grant_id": command.grant_id,
        "expires_at": answers.instant(command.expires_at),
        "previous_expires_at": answers.instant(previous),
        "balance": answers.balance(account),
    }


def grant(
    account: CreditAccount,
    books: Books,
    *,
    amount: Credits,
    source: str,
    priority: int,
    effective_at: datetime,
    expires_at: datetime | None,
    cost_basis: Money | None = None,
    payment_id: str | None = None,
    origin_grant_id: str | None = None,
    transfer_id: str | None = None,
    reference: str | None = None,
) -> e.Granted:
    """Give credits without asking: open debts take theirs first, and what is past ends at once.

    The caller has settled the account and made sure of room.
    """
    repaid, left = [], amount
    for debt in account.debts.values():
        if not left:
            break
        share = Credits(min(debt.amount, left))
        repaid.append(e.LotAmount(debt.grant_id, share))
        left = Credits(left - share)
    granted = books.record(
        account,
        e.Granted,
        amount=amount,
        source=source,
        priority=priority,
        effective_at=effective_at,
        expires_at=expires_at,
        cost_basis=cost_basis,
        payment_id=payment_id,
        origin_grant_id=origin_grant_id,
        transfer_id=transfer_id,
        reference=reference,
        debt_repaid=tuple(repaid),
    )
    settle(account, books)
    return granted


def grant_id_of(account: CreditAccount, granted: e.Granted) -> str:
    """The id of a grant on this account."""
    return ids.event_id(ids.GRANT, account.key, granted.originator_version)


def find_grant(grant_id: str, books: Books) -> tuple[CreditAccount, e.Granted, Trail]:
    """A grant's account, its event and what became of it; raises GrantNotFound."""
    ref = ids.parse_event_id(ids.GRANT, grant_id)
    account = books.account_of(ref)
    granted = books.event(e.Granted, ref) if ref and account else None
    if account is None or granted is None:
        raise GrantNotFound(grant_id=grant_id)
    return account, granted, books.trail(grant_id)


def closed_lot(grant_id: str, books: Books) -> Lot:
    """The empty lot of a grant that has nothing left, as it would open again."""
    _, granted, trail = find_grant(grant_id, books)
    terms = e.LotTerms(
        grant_id,
        granted.source,
        granted.priority,
        granted.amount,
        granted.effective_at,
        trail.expires_at if trail.revised else granted.expires_at,
        granted.cost_basis,
        granted.payment_id,
        trail.written_off,
    )
    return Lot.of(terms, granted.originator_version)


def grant_again(
    account: CreditAccount, books: Books, lot: Lot, amount: int, now: datetime
) -> e.Granted:
    """The grace of a refund into an expired lot: the same credits anew, for a while (rule 6.4)."""
    cost = lot.cost_basis and lot.cost_basis.share(min(amount, lot.granted), lot.granted)
    return grant(
        account,
        books,
        amount=Credits(amount),
        source="refund",
        priority=lot.priority,
        effective_at=now,
        expires_at=now + books.policies.refund_grace,
        cost_basis=cost,
        payment_id=lot.payment_id,
        origin_grant_id=lot.grant_id,
    )


def ensure_room(account: CreditAccount, amount: int, *, repays: bool = False) -> None:
    """Raise BalanceLimitExceeded where the account's total would leave the range of credits."""
    added = amount - min(amount, account.debt) if repays else amount
    would_be = account.balance().total + added
    if would_be > CREDITS_MAX:
        raise BalanceLimitExceeded(would_be=would_be, limit=CREDITS_MAX)


def refuse_expiry(expires_at: datetime, effective_at: datetime, now: datetime) -> None:
    """Raise Untimely where an expiry is past, Invalid where it is not after another start."""
    if expires_at <= effective_at != now:
        reason = (
            f"is {answers.instant(expires_at)}, which is not after the start, "
            f"{answers.instant(effective_at)}"
        )
        raise Invalid(field="expires_at", reason=reason)
    if expires_at <= now:
        reason = f"is {answers.instant(expires_at)}, which is past (now {answers.instant(now)})"
        raise Untimely(field="expires_at", reason=reason)


def _expiry(command: GrantCredits, effective_at: datetime) -> datetime | None:
    if command.expires_after_days is None:
        return command.expires_at
    if command.expires_at is not None:
        raise Invalid(field="expires_after_days", reason="cannot stand beside expires_at")
    try:
        return effective_at + timedelta(days=command.expires_after_days)
    except OverflowError:
        reason = f"is {command.expires_after_days}, which ends after the year 9999"
        raise Invalid(field="expires_after_days", reason=reason) from None
