"""Revocations and reinstatements: a grant taken back, and given again (domain/README.md, 7)."""

from __future__ import annotations

from typing import Any

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import CREDITS_MAX, NO_CREDITS, Credits
from creditledger.domain.books import Books
from creditledger.domain.commands import ReinstateGrant, RevokeGrant
from creditledger.domain.due import settle
from creditledger.domain.errors import (
    BalanceLimitExceeded,
    ReinstatementExceedsRevocation,
    RevocationExceedsGrant,
)
from creditledger.domain.grants import ensure_room, find_grant
from creditledger.domain.refunds import give_back, lots_of, reopened


def revoke_grant(command: RevokeGrant, books: Books) -> dict[str, Any]:
    """Take a grant back: refuses more than was granted and is not revoked yet."""
    account, granted, trail = find_grant(command.grant_id, books)
    settle(account, books)
    revocable = granted.amount - trail.revoked
    amount = revocable if command.amount is None else command.amount
    if amount > revocable or revocable == 0:
        raise RevocationExceedsGrant(
            requested=amount, revocable=revocable, grant_id=command.grant_id
        )
    legs = _takeable(account, command.grant_id, granted.payment_id, amount)
    short = Credits(amount - sum(leg.amount for leg in legs))
    policy = command.policy or books.policies.revocation_policy
    debt, loss = (short, NO_CREDITS) if policy == "debt" else (NO_CREDITS, short)
    if account.debt + debt > CREDITS_MAX:
        raise BalanceLimitExceeded(would_be=account.debt + debt, limit=CREDITS_MAX)
    revocation_id = account.next_id(ids.REVOCATION)
    books.record(
        account,
        e.Revoked,
        grant_id=command.grant_id,
        amount=amount,
        lots=legs,
        debt=debt,
        written_off=loss,
        payment_id=granted.payment_id,
        reason=command.reason,
    )
    books.record(
        trail,
        e.GrantRevised,
        revoked=Credits(trail.revoked + amount),
        written_off=Credits(trail.written_off + loss),
        expires_at=trail.expires_at if trail.revised else granted.expires_at,
    )
    return {
        "revocation_id": revocation_id,
        "grant_id": command.grant_id,
        "amount": amount,
        "from": [{"grant_id": leg.grant_id, "amount": leg.amount} for leg in legs],
        "debt": debt,
        "written_off": loss,
        "balance": answers.balance(account),
    }


def reinstate_grant(command: ReinstateGrant, books: Books) -> dict[str, Any]:
    """Undo a revocation: open debts of the payment first, then the lot, then what was written off.

    Refuses more than is revoked. What was written off had been spent, so nothing returns for it.
    """
    account, granted, trail = find_grant(command.grant_id, books)
    now = settle(account, books)
    amount = trail.revoked if command.amount is None else command.amount
    if amount > trail.revoked or trail.revoked == 0:
        raise ReinstatementExceedsRevocation(
            requested=amount, reinstatable=trail.revoked, grant_id=command.grant_id
        )
    left = min(amount, trail.revoked - trail.written_off)
    loss = Credits(amount - left)
    cancelled = []
    for debt in account.debts_of(command.grant_id, granted.payment_id):
        part = Credits(min(debt.amount, left))
        if part:
            cancelled.append(e.LotAmount(debt.grant_id, part))
            left -= part
    ensure_room(account, left)
    legs = (e.LotAmount(command.grant_id, Credits(left)),) if left else ()
    lots = lots_of(account, legs, books)
    reinstatement_id = account.next_id(ids.REINSTATEMENT)
    books.record(
        account,
        e.Reinstated,
        grant_id=command.grant_id,
        amount=amount,
        lots=legs,
        debt_cancelled=tuple(cancelled),
        written_off=loss,
        reopened=reopened(account, lots.values()),
        reason=command.reason,
    )
    books.record(
        trail,
        e.GrantRevised,
        revoked=Credits(trail.revoked - amount),
        written_off=Credits(trail.written_off - loss),
        expires_at=trail.expires_at if trail.revised else granted.expires_at,
    )
    to, lost = give_back(account, legs, books, lots=lots, taken={}, now=now, policy="grace")
    return {
        "reinstatement_id": reinstatement_id,
        "grant_id": command.grant_id,
        "amount": amount,
        "to": to,
        "debt_cancelled": sum(share.amount for share in cancelled),
        "write_off_cancelled": loss,
        "lost": lost,
        "balance": answers.balance(account),
    }


def _takeable(
    account: CreditAccount, grant_id: str, payment_id: str | None, amount: int
) -> tuple[e.LotAmount, ...]:
    """What can be taken: from the grant's own lot, then from others of its payment."""
    lots = [lot for lot in account.lots.burn_order() if lot.grant_id == grant_id]
    if payment_id is not None:
        lots += [
            lot
            for lot in account.lots.burn_order()
            if lot.payment_id == payment_id and lot.grant_id != grant_id
        ]
    legs = []
    for lot in lots:
        part = Credits(min(lot.remaining, amount))
        if part:
            legs.append(e.LotAmount(lot.grant_id, part))
            amount -= part
    return tuple(legs)
