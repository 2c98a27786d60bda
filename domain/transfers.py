"""Transfers: one customer's credits become another's, lot by lot (domain/README.md, 8)."""

from __future__ import annotations

from typing import Any

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.amounts import Credits
from creditledger.domain.books import Books
from creditledger.domain.commands import TransferCredits
from creditledger.domain.deductions import legs_of
from creditledger.domain.due import settle
from creditledger.domain.errors import InsufficientCredits, Invalid
from creditledger.domain.grants import ensure_room, grant, grant_id_of


def transfer_credits(command: TransferCredits, books: Books) -> dict[str, Any]:
    """Move credits: refuses more than is available, because overage never pays a transfer."""
    if command.from_customer_id == command.to_customer_id:
        raise Invalid(field="to_customer_id", reason="is the sender: nothing would be transferred")
    sender = books.account(command.from_customer_id, command.asset)
    receiver = books.account(command.to_customer_id, command.asset)
    settle(sender, books)
    now = settle(receiver, books)
    if command.amount > sender.available:
        raise InsufficientCredits(available=sender.available, required=command.amount)
    ensure_room(receiver, command.amount, repays=True)
    drawn = sender.lots.plan(command.amount)
    deduction_id = sender.next_id(ids.DEDUCTION)
    books.record(
        sender,
        e.Deducted,
        amount=command.amount,
        lots=legs_of(drawn),
        overage=Credits(0),
        transfer_to=command.to_customer_id,
    )
    grants = []
    for lot, amount in drawn:
        granted = grant(
            receiver,
            books,
            amount=Credits(amount),
            source="transfer",
            priority=lot.priority,
            effective_at=now,
            expires_at=lot.expires_at,
            cost_basis=lot.cost_of(amount),
            payment_id=lot.payment_id,
            origin_grant_id=lot.grant_id,
            transfer_id=deduction_id,
        )
        grants.append(
            {
                "grant_id": grant_id_of(receiver, granted),
                "amount": amount,
                "expires_at": answers.instant(lot.expires_at),
            }
        )
    return {
        "deduction_id": deduction_id,
        "amount": command.amount,
        "from": answers.drawn(drawn),
        "grants": grants,
        "balance": answers.balance(sender),
    }
