"""Holds: credits set aside before the work is done (domain/README.md, 5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.account import CreditAccount, Hold
from creditledger.domain.amounts import Credits
from creditledger.domain.books import Books
from creditledger.domain.commands import CaptureHold, HoldCredits, ReleaseHold
from creditledger.domain.deductions import draw, legs_of
from creditledger.domain.due import release, settle
from creditledger.domain.errors import HoldClosed, HoldNotFound, InsufficientCredits, Invalid
from creditledger.domain.lots import Lot


def hold_credits(command: HoldCredits, books: Books) -> dict[str, Any]:
    """Pin credits in burn order: refuses more than is available, whatever overage is left."""
    policies = books.policies
    expires_in = command.expires_in
    if expires_in is None:
        expires_in = policies.hold_expires_in_default
    if not 1 <= expires_in <= policies.hold_expires_in_max:
        reason = f"is {expires_in}, and can be 1 to {policies.hold_expires_in_max} seconds"
        raise Invalid(field="expires_in", reason=reason)
    account = books.account(command.customer_id, command.asset)
    now = settle(account, books)
    if command.amount > account.available:
        raise InsufficientCredits(available=account.available, required=command.amount)
    drawn = account.lots.plan(command.amount)
    hold_id = account.next_id(ids.HOLD)
    expires_at = now + timedelta(seconds=expires_in)
    held = books.record(
        account,
        e.Held,
        amount=command.amount,
        expires_at=expires_at,
        lots=legs_of(drawn),
        feature=command.feature,
    )
    return {
        "hold_id": hold_id,
        "amount": command.amount,
        "expires_at": answers.instant(expires_at),
        "from": answers.drawn(drawn),
        "balance": answers.balance_after(held),
    }


def capture_hold(command: CaptureHold, books: Books) -> dict[str, Any]:
    """Spend what a hold pins; beyond it free lots and overage pay, as in a deduction."""
    account, hold = _open_hold(command.hold_id, books)
    if hold is None:
        how = books.trail(command.hold_id).ended
        raise HoldClosed(hold_id=command.hold_id, how=how)
    amount = hold.amount if command.amount is None else command.amount
    beyond, overage = draw(account, max(0, amount - hold.amount))
    pinned = _take(account, hold, amount)
    deduction_id = account.next_id(ids.DEDUCTION)
    books.record(
        account,
        e.Deducted,
        amount=amount,
        lots=legs_of(beyond),
        overage=overage,
        feature=command.feature or hold.feature,
        hold_id=hold.hold_id,
        captured=legs_of(pinned),
    )
    released = 0
    rest = account.holds.get(hold.hold_id)
    if rest is not None and command.final:
        released = rest.amount
        release(account, rest, "remainder", books)
        settle(account, books)
    return {
        "deduction_id": deduction_id,
        "hold_id": hold.hold_id,
        "amount": amount,
        "from": answers.drawn([*pinned, *beyond]),
        "overage": overage,
        "released": released,
        "balance": answers.balance(account),
    }


def release_hold(command: ReleaseHold, books: Books) -> dict[str, Any]:
    """Give back what a hold pins; nothing where it was released or lapsed before."""
    account, hold = _open_hold(command.hold_id, books)
    released = 0
    if hold is not None:
        released = hold.amount
        release(account, hold, "voided", books, note=command.reason)
        settle(account, books)
    elif books.trail(command.hold_id).ended == "captured":
        raise HoldClosed(hold_id=command.hold_id, how="captured")
    return {
        "hold_id": command.hold_id,
        "released": released,
        "balance": answers.balance(account),
    }


def _open_hold(hold_id: str, books: Books) -> tuple[CreditAccount, Hold | None]:
    """The hold and its account, settled; no hold where it is closed. Raises HoldNotFound."""
    ref = ids.parse_event_id(ids.HOLD, hold_id)
    account = books.account_of(ref)
    if ref is None or account is None:
        raise HoldNotFound(hold_id=hold_id)
    settle(account, books)
    hold = account.holds.get(hold_id)
    if hold is None and books.event(e.Held, ref) is None:
        raise HoldNotFound(hold_id=hold_id)
    return account, hold


def _take(account: CreditAccount, hold: Hold, amount: int) -> list[tuple[Lot, int]]:
    """What each pinned lot gives, in the order in which they were pinned."""
    taken: list[tuple[Lot, int]] = []
    for leg in hold.lots:
        if amount <= 0:
            break
        part = Credits(min(leg.amount, amount))
        lot = account.lots.get(leg.grant_id)
        assert lot is not None, "a pinned lot stays open"
        taken.append((lot, part))
        amount -= part
    return taken
