"""Refunds: a deduction given back to what paid for it (domain/README.md, 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import NO_CREDITS, Credits
from creditledger.domain.books import Books
from creditledger.domain.commands import RefundDeduction
from creditledger.domain.due import recover, settle
from creditledger.domain.errors import (
    DeductionNotFound,
    RefundExceedsDeduction,
    TransferNotRefundable,
)
from creditledger.domain.grants import closed_lot, ensure_room, grant_again, grant_id_of
from creditledger.domain.lots import Lot


def refund_deduction(command: RefundDeduction, books: Books) -> dict[str, Any]:
    """Give back part or all of a deduction: overage first, then lots, last spent first."""
    account, deducted = _find(command.deduction_id, books)
    now = settle(account, books)
    trail = books.trail(command.deduction_id)
    left = deducted.amount - trail.refunded
    amount = left if command.amount is None else command.amount
    if amount > left or left == 0:
        raise RefundExceedsDeduction(
            requested=amount, refundable=left, deduction_id=command.deduction_id
        )
    overage, legs = _parts(deducted, trail.refunded, amount)
    ensure_room(account, amount - overage)
    lots = lots_of(account, legs, books)
    refund_id = account.next_id(ids.REFUND)
    counted = account.counts_overage_of(deducted.recorded_at)
    this_period = min(overage, account.overage) if counted else 0
    books.record(
        account,
        e.Refunded,
        deduction_id=command.deduction_id,
        amount=amount,
        overage=overage,
        overage_this_period=Credits(this_period),
        lots=legs,
        reopened=reopened(account, lots.values()),
        expired_lots=command.expired_lots,
        reason=command.reason,
    )
    refunded = Credits(trail.refunded + amount)
    books.record(trail, e.DeductionRefunded, refunded=refunded)
    taken = recover(account, legs, books)
    to, lost = give_back(
        account, legs, books, lots=lots, taken=taken, now=now, policy=command.expired_lots
    )
    return {
        "refund_id": refund_id,
        "deduction_id": command.deduction_id,
        "amount": amount,
        "overage": overage,
        "to": to,
        "lost": lost,
        "recovered": sum(taken.values()),
        "balance": answers.balance(account),
    }


def lots_of(account: CreditAccount, legs: Sequence[e.LotAmount], books: Books) -> dict[str, Lot]:
    """The lots behind some legs, the closed ones as they would open again."""
    books.foresee([leg.grant_id for leg in legs if account.lots.get(leg.grant_id) is None])
    return {
        leg.grant_id: account.lots.get(leg.grant_id) or closed_lot(leg.grant_id, books)
        for leg in legs
    }


def reopened(account: CreditAccount, lots: Iterable[Lot]) -> tuple[e.LotTerms, ...]:
    """The terms of those lots that are closed now."""
    return tuple(lot.terms() for lot in lots if account.lots.get(lot.grant_id) is None)


def give_back(
    account: CreditAccount,
    legs: Iterable[e.LotAmount],
    books: Books,
    *,
    lots: dict[str, Lot],
    taken: dict[str, int],
    now: datetime,
    policy: e.ExpiredLotsPolicy,
) -> tuple[list[dict[str, Any]], int]:
    """Let expired lots lose again what came back to them, and grant it anew where there is grace.

    Returns where the credits are now, and how much is lost.
    """
    settle(account, books)
    to, lost = [], 0
    for leg in legs:
        lot, amount = lots[leg.grant_id], leg.amount - taken.get(leg.grant_id, 0)
        if not amount:
            continue
        if lot.expires_at is None or lot.expires_at > now:
            to.append({"grant_id": lot.grant_id, "amount": amount})
        elif policy == "grace" and lot.source != "refund":
            granted = grant_again(account, books, lot, amount, now)
            to.append({"grant_id": grant_id_of(account, granted), "amount": amount})
        else:
            lost += amount
    return to, lost


def _find(deduction_id: str, books: Books) -> tuple[CreditAccount, e.Deducted]:
    ref = ids.parse_event_id(ids.DEDUCTION, deduction_id)
    account = books.account_of(ref)
    deducted = books.event(e.Deducted, ref) if ref and account else None
    if account is None or deducted is None:
        raise DeductionNotFound(deduction_id=deduction_id)
    if deducted.transfer_to is not None:
        raise TransferNotRefundable(deduction_id=deduction_id)
    return account, deducted


def _parts(
    deducted: e.Deducted, refunded: int, amount: int
) -> tuple[Credits, tuple[e.LotAmount, ...]]:
    """The part of a deduction from `refunded` on, seen from its end: overage, then lots."""
    overage = NO_CREDITS
    legs: dict[str, int] = {}
    spent = [("", deducted.overage)]
    spent += [(leg.grant_id, leg.amount) for leg in reversed(deducted.lots)]
    spent += [(leg.grant_id, leg.amount) for leg in reversed(deducted.captured)]
    for grant_id, part in spent:
        skipped = min(refunded, part)
        refunded -= skipped
        take = min(part - skipped, amount)
        amount -= take
        if take and grant_id:
            legs[grant_id] = legs.get(grant_id, 0) + take
        elif take:
            overage = Credits(take)
    return overage, tuple(e.LotAmount(grant_id, Credits(n)) for grant_id, n in legs.items())
