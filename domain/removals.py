"""What a payment's refunds and disputes take back of its grants (domain/README.md, 11).

The removal is a target for each asset, `Payment.targets`: bring what is revoked in all to it,
whoever revoked it. Only what the policy itself took is ever given back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from creditledger.domain import waiting
from creditledger.domain.amounts import NO_CREDITS, Credits
from creditledger.domain.books import Books
from creditledger.domain.commands import ReinstateGrant, RevokeGrant
from creditledger.domain.errors import Parked
from creditledger.domain.events import LotAmount
from creditledger.domain.grants import find_grant
from creditledger.domain.payment import (
    Dispute,
    Payment,
    describe,
    ensure_same_currency,
    find_payment,
    payment_of,
)
from creditledger.domain.payment_events import (
    DisputeReported,
    PaymentGrant,
    PaymentTied,
    RefundReported,
    RefundTotalReported,
    RemovalSet,
)
from creditledger.domain.provider_commands import (
    PaymentCommand,
    RefundTotal,
    ReportDispute,
    ReportRefund,
    ReportRefundTotal,
    TiePayment,
)
from creditledger.domain.revocations import reinstate_grant, revoke_grant

_TAKEN: Final = "the payment was refunded, disputed or shared with another"
_RETURNED: Final = "a refund or dispute of the payment came to nothing"


def report_refund(command: ReportRefund, books: Books) -> dict[str, Any]:
    """A refund has come this far: keep it where that is news, and let credits follow."""
    payment, source = granted_payment(command, books)
    ensure_same_currency(payment, command.amount.currency)
    if payment.refund_is_news(command.refund_id, command.status):
        before = payment.targets()
        books.record(
            payment,
            RefundReported,
            customer_id=payment.customer_id,
            refund_id=command.refund_id,
            amount=command.amount,
            status=command.status,
            counted=command.counted,
            source=source,
        )
        follow(payment, before, books)
    return describe(payment)


def report_refund_total(command: ReportRefundTotal, books: Books) -> dict[str, Any]:
    """So much is refunded in all: keep it where that is news, and let credits follow."""
    payment, source = granted_payment(command, books)
    ensure_same_currency(payment, command.currency)
    take_in_total(payment, command.total, source, books)
    return describe(payment)


def report_dispute(command: ReportDispute, books: Books) -> dict[str, Any]:
    """A dispute has come this far: keep it where that is news, and let credits follow."""
    payment, source = granted_payment(command, books)
    ensure_same_currency(payment, command.amount.currency)
    dispute = Dispute(command.amount.amount, command.standing, command.status, command.as_of)
    if payment.dispute_is_news(command.dispute_id, dispute):
        before = payment.targets()
        books.record(
            payment,
            DisputeReported,
            customer_id=payment.customer_id,
            dispute_id=command.dispute_id,
            amount=command.amount,
            standing=command.standing,
            status=command.status,
            as_of=command.as_of,
            source=source,
        )
        follow(payment, before, books)
    return describe(payment)


def tie_payment(command: TiePayment, books: Books) -> dict[str, Any]:
    """Say which payment the news about a PaymentIntent or charge is about; the first word stands.

    What is bought by a PaymentIntent alone has an invoice, too, where the merchant wants one: such
    a payment is known by itself, and a tie says nothing of it.
    """
    tied = find_payment(command, books)
    if tied.pays is None and tied.paid is None and command.pays != command.provider_id:
        books.record(tied, PaymentTied, customer_id=None, pays=command.pays)
    return {"provider_id": command.provider_id, "pays": tied.pays}


def take_in_total(payment: Payment, total: RefundTotal, source: str | None, books: Books) -> None:
    """Keep a total that was told of a payment, where it is news; let credits follow."""
    if payment.is_news(total, source):
        before = payment.targets()
        books.record(
            payment,
            RefundTotalReported,
            customer_id=payment.customer_id,
            total=total,
            source=source,
        )
        follow(payment, before, books)


def remove_refunded(payment: Payment, books: Books) -> None:
    """Let credits follow what was told of a payment's refunds before it was granted."""
    follow(payment, {}, books)


def granted_payment(command: PaymentCommand, books: Books) -> tuple[Payment, str | None]:
    """The payment that news is about, and the PaymentIntent that names it, where it is tied.

    Raises Parked as long as nothing is granted for it.
    """
    payment, source = find_payment(command, books), None
    if payment.pays is not None and payment.paid is None:
        payment, source = payment_of(command.provider, payment.pays, books), command.provider_id
    if not payment.granted:
        raise Parked(
            reason="unknown_payment",
            waits_for=waiting.payment(command.provider, payment.provider_id),
        )
    return payment, source


def follow(payment: Payment, before: Mapping[str, int], books: Books) -> None:
    """Bring what is revoked of each asset to its target, where the target has moved."""
    targets = payment.targets()
    moved = {
        asset: target - before.get(asset, 0)
        for asset, target in targets.items()
        if target != before.get(asset, 0)
    }
    if not moved:
        return
    # What was reinstated by hand meanwhile is no longer taken by us.
    removed = {
        grant_id: min(amount, books.trail(grant_id).revoked)
        for grant_id, amount in payment.removed.items()
    }
    for asset, by in moved.items():
        grants = [grant for grant in payment.grants if grant.asset == asset]
        bring = _take if by > 0 else _give_back
        bring(grants, targets[asset], removed, books)
    removed = {grant_id: amount for grant_id, amount in removed.items() if amount}
    if removed != payment.removed:
        lots = tuple(LotAmount(grant_id, amount) for grant_id, amount in removed.items())
        books.record(payment, RemovalSet, customer_id=payment.customer_id, removed=lots)


def _take(
    grants: Sequence[PaymentGrant], target: int, removed: dict[str, Credits], books: Books
) -> None:
    """Revoke what the target lacks: what was withdrawn of a grant there, the latest grant first."""
    missing = target - _revoked(grants, books)
    in_turn = list(reversed(grants))
    in_turn.sort(key=lambda grant: not _is_owing(grant, removed))
    for grant in in_turn:
        part = min(missing, grant.amount - books.trail(grant.grant_id).revoked)
        if part > 0:
            command = RevokeGrant(
                grant_id=grant.grant_id,
                amount=Credits(part),
                reason=_TAKEN,
                policy="write_off" if _came_too_late(grant, books) else None,
            )
            revoke_grant(command, books)
            removed[grant.grant_id] = Credits(removed.get(grant.grant_id, 0) + part)
            missing -= part


def _give_back(
    grants: Sequence[PaymentGrant], target: int, removed: dict[str, Credits], books: Books
) -> None:
    """Reinstate what is revoked past the target, the last taken first, and only what was taken."""
    excess = _revoked(grants, books) - target
    for grant in grants:
        taken = removed.get(grant.grant_id, NO_CREDITS)
        part = min(excess, taken)
        if part > 0:
            command = ReinstateGrant(
                grant_id=grant.grant_id, amount=Credits(part), reason=_RETURNED
            )
            reinstate_grant(command, books)
            removed[grant.grant_id] = Credits(taken - part)
            excess -= part


def _came_too_late(grant: PaymentGrant, books: Books) -> bool:
    """Whether a grant had expired when it was granted: nobody can owe what nobody could spend."""
    _, granted, _ = find_grant(grant.grant_id, books)
    expired = granted.expires_at is not None and granted.expires_at <= granted.recorded_at
    return expired and not granted.debt_repaid


def _is_owing(grant: PaymentGrant, removed: Mapping[str, Credits]) -> bool:
    return grant.withdrawn > removed.get(grant.grant_id, NO_CREDITS)


def _revoked(grants: Sequence[PaymentGrant], books: Books) -> int:
    return sum(books.trail(grant.grant_id).revoked for grant in grants)
