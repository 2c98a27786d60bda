"""Commands: what changes accounts. Each route names a command; the rest is the same for all."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Depends

from creditledger.api import answers as a
from creditledger.api import bodies as b
from creditledger.api.auth import needs
from creditledger.api.command_requests import CommandRoute, command_parameters
from creditledger.api.openapi import EVERY_COMMAND, REPLAYED, problems
from creditledger.api.values import CustomerId, IdText
from creditledger.domain.commands import Command

commands: Final = APIRouter(
    prefix="/v1",
    tags=["Commands"],
    route_class=CommandRoute,
    dependencies=[Depends(needs("commands")), Depends(command_parameters)],
)


def _told(answer: type[a.CommandAnswer], *refusals: str, status: int = 201) -> dict[str, Any]:
    """What a route answers, and what it may be refused with."""
    responses = problems(*EVERY_COMMAND, *refusals)
    responses[status] = {"headers": REPLAYED}
    if status != 200:
        responses[200] = {"model": answer, "description": "A dry run: what would happen"}
    return {
        "status_code": status,
        "response_model": answer,
        "response_description": "Done",
        "responses": responses,
    }


@commands.post(
    "/customers/{customer_id}/grants",
    summary="Grant credits",
    **_told(a.GrantAnswer, "balance_limit_exceeded"),
)
def grant_credits(customer_id: CustomerId, body: b.GrantBody) -> Command:
    """Give a customer credits. Open debts are repaid first; the rest is a new lot."""
    return body.command(customer_id=customer_id)


@commands.post(
    "/customers/{customer_id}/deductions",
    summary="Deduct credits",
    **_told(a.DeductionAnswer, "insufficient_credits", "balance_limit_exceeded"),
)
def deduct_credits(customer_id: CustomerId, body: b.DeductionBody) -> Command:
    """Spend credits in burn order; beyond them overage, where the account allows it."""
    return body.command(customer_id=customer_id)


@commands.post(
    "/deductions/{deduction_id}/refunds",
    summary="Refund a deduction",
    **_told(
        a.RefundAnswer,
        "deduction_not_found",
        "refund_exceeds_deduction",
        "transfer_not_refundable",
        "balance_limit_exceeded",
    ),
)
def refund_deduction(deduction_id: IdText, body: b.RefundBody) -> Command:
    """Give a deduction back, in part or whole: overage first, then lots, last spent first."""
    return body.command(deduction_id=deduction_id)


@commands.post(
    "/customers/{customer_id}/holds",
    summary="Hold credits",
    **_told(a.HoldAnswer, "insufficient_credits"),
)
def hold_credits(customer_id: CustomerId, body: b.HoldBody) -> Command:
    """Set credits aside before the cost is known. Overage never backs a hold."""
    return body.command(customer_id=customer_id)


@commands.post(
    "/holds/{hold_id}/capture",
    summary="Capture a hold",
    **_told(
        a.CaptureAnswer,
        "hold_not_found",
        "hold_closed",
        "insufficient_credits",
        "balance_limit_exceeded",
    ),
)
def capture_hold(hold_id: IdText, body: b.CaptureBody) -> Command:
    """Spend what is held, less or more of it. What is left is released, unless not final."""
    return body.command(hold_id=hold_id)


@commands.post(
    "/holds/{hold_id}/release",
    summary="Release a hold",
    **_told(a.ReleaseAnswer, "hold_not_found", "hold_closed", status=200),
)
def release_hold(hold_id: IdText, body: b.ReleaseBody) -> Command:
    """Give back what a hold pins; nothing where it was released before, or its time was over."""
    return body.command(hold_id=hold_id)


@commands.post(
    "/grants/{grant_id}/revocations",
    summary="Revoke a grant",
    **_told(
        a.RevocationAnswer,
        "grant_not_found",
        "revocation_exceeds_grant",
        "balance_limit_exceeded",
    ),
)
def revoke_grant(grant_id: IdText, body: b.RevocationBody) -> Command:
    """Take a grant back. What is spent already becomes debt, or is written off."""
    return body.command(grant_id=grant_id)


@commands.post(
    "/grants/{grant_id}/reinstatements",
    summary="Reinstate a grant",
    **_told(
        a.ReinstatementAnswer,
        "grant_not_found",
        "reinstatement_exceeds_revocation",
        "balance_limit_exceeded",
    ),
)
def reinstate_grant(grant_id: IdText, body: b.ReinstatementBody) -> Command:
    """Undo a revocation: open debt is cancelled first, the rest returns to the lot."""
    return body.command(grant_id=grant_id)


@commands.patch(
    "/grants/{grant_id}",
    summary="Change a grant's expiry",
    **_told(a.ExpiryAnswer, "grant_not_found", status=200),
)
def change_expiry(grant_id: IdText, body: b.ExpiryBody) -> Command:
    """Let a grant's credits end at another time, or never."""
    return body.command(grant_id=grant_id)


@commands.put(
    "/customers/{customer_id}/overage",
    summary="Set the overage limit",
    **_told(a.OverageAnswer, status=200),
)
def set_overage_limit(customer_id: CustomerId, body: b.OverageBody) -> Command:
    """Allow or forbid spending beyond the lots, which is billed later."""
    return body.command(customer_id=customer_id)


@commands.post(
    "/transfers",
    summary="Transfer credits",
    **_told(a.TransferAnswer, "insufficient_credits", "balance_limit_exceeded"),
)
def transfer_credits(body: b.TransferBody) -> Command:
    """Give credits of one customer to another, lot by lot. Overage never pays a transfer."""
    return body.command()
