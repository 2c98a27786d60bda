"""Deductions: credits spent, from lots in burn order, then as overage (domain/README.md, 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import CREDITS_MAX, NO_CREDITS, Credits
from creditledger.domain.books import Books
from creditledger.domain.commands import DeductCredits, SetOverageLimit
from creditledger.domain.due import settle
from creditledger.domain.errors import BalanceLimitExceeded, InsufficientCredits
from creditledger.domain.lots import Lot


def deduct_credits(command: DeductCredits, books: Books) -> dict[str, Any]:
    """Spend credits: refuses more than is available and the overage that is left."""
    account = books.account(command.customer_id, command.asset)
    settle(account, books)
    drawn, overage = draw(account, command.amount)
    deduction_id = account.next_id(ids.DEDUCTION)
    deducted = books.record(
        account,
        e.Deducted,
        amount=command.amount,
        lots=legs_of(drawn),
        overage=overage,
        feature=command.feature,
    )
    return {
        "deduction_id": deduction_id,
        "amount": command.amount,
        "from": answers.drawn(drawn),
        "overage": overage,
        "balance": answers.balance_after(deducted),
    }


def set_overage_limit(command: SetOverageLimit, books: Books) -> dict[str, Any]:
    """Allow or forbid spending beyond the lots; what was used already stays used."""
    account = books.account(command.customer_id, command.asset)
    settle(account, books)
    books.record(account, e.OverageLimitSet, limit=command.limit, period=command.period)
    return {
        "customer_id": command.customer_id,
        "asset": command.asset,
        "limit": command.limit,
        "period": command.period,
        "balance": answers.balance(account),
    }


def draw(account: CreditAccount, amount: int) -> tuple[list[tuple[Lot, int]], Credits]:
    """What each free lot gives towards an amount, and what overage pays.

    Raises InsufficientCredits where both together do not reach, and BalanceLimitExceeded where
    more overage than can be counted would be used.
    """
    available = account.available
    if amount <= available:
        return account.lots.plan(amount), NO_CREDITS
    overage = amount - available
    if overage > account.overage_left:
        raise InsufficientCredits(
            available=available, required=amount, overage_left=account.overage_left
        )
    if account.overage + overage > CREDITS_MAX:
        raise BalanceLimitExceeded(would_be=account.overage + overage, limit=CREDITS_MAX)
    return account.lots.plan(amount), Credits(overage)


def legs_of(drawn: Iterable[tuple[Lot, int]]) -> tuple[e.LotAmount, ...]:
    """The same as an event says it."""
    return tuple([e.LotAmount(lot.grant_id, Credits(amount)) for lot, amount in drawn])
