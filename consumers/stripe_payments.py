"""Stripe's one-off purchases, refunds and disputes as commands.

A purchase is named by its PaymentIntent, or by the Checkout Session where nothing was to be paid;
several events tell of one purchase, and each alone is enough.
"""

from __future__ import annotations

from typing import Final, cast

from creditledger.consumers.reading import Ignored, Reader, Told
from creditledger.domain.provider_commands import (
    DisputeStanding,
    LinkCustomer,
    PurchaseLine,
    RecordPurchase,
    RefundStatus,
    RefundTotal,
    ReportDispute,
    ReportRefund,
    ReportRefundTotal,
)

_REFUND_STATUSES: Final = frozenset(
    {"pending", "requires_action", "succeeded", "failed", "canceled"}
)

#: What a dispute's status does to the money, for each that stripe-python 16.1.0 lists.
_STANDINGS: Final[dict[str, DisputeStanding]] = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "inquiry",
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "open",
    "appeal_under_review": "open",
    "won": "won",
    "lost": "lost",
    "prevented": "prevented",
}


def session(envelope: Reader, of: Reader) -> Told | Ignored:
    """A Checkout Session that was completed, or whose payment came later."""
    match of.one_of("mode", {"payment", "setup", "subscription"}):
        case "payment":
            return _paid_session(envelope, of)
        case "subscription":
            return _subscribed_session(envelope, of)
        case _:
            return Ignored("nothing_to_book")


def payment_intent(envelope: Reader, of: Reader) -> Told | Ignored:
    """A PaymentIntent that succeeded."""
    if of.metadata().id_or_none("price_id") is None:
        # An invoice's payment, or one that its Checkout Session tells about.
        return Ignored("no_price_named")
    of.one_of("status", {"succeeded"})
    purchase = _purchase(envelope, of, provider_id=of.id("id"), amount="amount_received")
    return Told((purchase,))


def charge_refunded(envelope: Reader, charge: Reader) -> Told | Ignored:
    """How much of a charge is refunded in all."""
    total = ReportRefundTotal(
        provider="stripe",
        provider_id=charge.id_or_none("payment_intent") or charge.id("id"),
        currency=charge.currency(),
        # Without a time: Stripe may send an old snapshot in a new event, so the largest stands.
        total=RefundTotal(amount=charge.integer("amount_refunded")),
        happened_at=envelope.seconds("created"),
    )
    return Told((total,))


def refund(envelope: Reader, of: Reader) -> Told | Ignored:
    """One refund."""
    payment_id = _payment_id(of)
    if payment_id is None:
        return Ignored("no_payment_named")
    report = ReportRefund(
        provider="stripe",
        provider_id=payment_id,
        refund_id=of.id("id"),
        amount=of.money("amount"),
        status=cast(RefundStatus, of.one_of("status", _REFUND_STATUSES)),
        counted=True,
        happened_at=envelope.seconds("created"),
    )
    return Told((report,))


def dispute(envelope: Reader, of: Reader) -> Told | Ignored:
    """A bank's dispute as it stood when the event was made."""
    payment_id = _payment_id(of)
    if payment_id is None:
        return Ignored("no_payment_named")
    status = of.one_of("status", _STANDINGS)
    at = envelope.seconds("created")
    report = ReportDispute(
        provider="stripe",
        provider_id=payment_id,
        dispute_id=of.id("id"),
        amount=of.money("amount"),
        standing=_STANDINGS[status],
        status=status,
        as_of=at,
        happened_at=at,
    )
    return Told((report,))


def named_owner(of: Reader) -> str | None:
    """Whose the object says that it is: our own id, in its metadata or as its reference."""
    return of.metadata().customer_id_or_none("ledger_account") or of.customer_id_or_none(
        "client_reference_id"
    )


def _paid_session(envelope: Reader, of: Reader) -> Told | Ignored:
    if of.one_of("payment_status", {"no_payment_required", "paid", "unpaid"}) == "unpaid":
        return Ignored("not_paid")
    session_id = of.id("id")
    purchase = _purchase(
        envelope,
        of,
        provider_id=of.id_or_none("payment_intent") or session_id,
        amount="amount_total",
    )
    return Told((purchase,), lines_of=session_id)


def _subscribed_session(envelope: Reader, of: Reader) -> Told | Ignored:
    stripe_customer, customer_id = of.id_or_none("customer"), named_owner(of)
    if stripe_customer is None or customer_id is None:
        return Ignored("nothing_to_book")
    at = envelope.seconds("created")
    link = LinkCustomer(
        provider="stripe",
        provider_customer_id=stripe_customer,
        customer_id=customer_id,
        origin="purchase",
        as_of=at,
        happened_at=at,
    )
    return Told((link,))


def _purchase(envelope: Reader, paid: Reader, *, provider_id: str, amount: str) -> RecordPurchase:
    metadata = paid.metadata()
    price_id = metadata.id_or_none("price_id")
    quantity = metadata.number_or_none("quantity", minimum=1)
    at = envelope.seconds("created")
    return RecordPurchase(
        provider="stripe",
        provider_id=provider_id,
        provider_customer_id=paid.id_or_none("customer"),
        customer_id=named_owner(paid),
        lines=None
        if price_id is None
        else (PurchaseLine(price_id=price_id, quantity=quantity or 1),),
        paid=paid.money(amount),
        paid_at=at,
        happened_at=at,
    )


def _payment_id(of: Reader) -> str | None:
    """What names the payment; a charge that was made without a PaymentIntent names itself."""
    return of.id_or_none("payment_intent") or of.id_or_none("charge")
