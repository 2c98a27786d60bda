"""Stripe's invoices as commands: a paid one of a subscription grants what its lines are worth."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from creditledger.consumers.reading import Ignored, Reader, Told
from creditledger.consumers.stripe_lines import invoice_line
from creditledger.domain.provider_commands import PurchaseLine, RecordPurchase, TiePayment

#: Why an invoice was made, as stripe-python 16.1.0 lists it.
_REASONS: Final = frozenset(
    {
        "automatic_pending_invoice_item_invoice",
        "manual",
        "quote_accept",
        "subscription",
        "subscription_create",
        "subscription_cycle",
        "subscription_threshold",
        "subscription_update",
        "upcoming",
    }
)
_STATUSES: Final = frozenset({"draft", "open", "paid", "uncollectible", "void"})


def invoice(envelope: Reader, of: Reader) -> Told | Ignored:
    """An invoice that was paid.

    One of no subscription is not booked: the Checkout Session or PaymentIntent tells of it.
    """
    of.one_of("billing_reason", _REASONS)
    if of.one_of("status", _STATUSES) != "paid":
        return Ignored("not_paid")
    subscription_id = _subscription_id(of)
    if subscription_id is None:
        return Ignored("no_subscription_named")
    if of.signed("total") <= 0:
        return Ignored("zero_total")
    invoice_id, lines = of.id("id"), _lines(of)
    at = _paid_at(envelope, of)
    purchase = RecordPurchase(
        provider="stripe",
        provider_id=invoice_id,
        provider_customer_id=of.id_or_none("customer"),
        customer_id=_named_owner(of),
        lines=lines,
        paid=of.money("amount_paid"),
        paid_at=at,
        happened_at=at,
        subscription_id=subscription_id,
    )
    return Told((purchase,), lines_of=invoice_id if lines is None else None)


def invoice_payment(envelope: Reader, of: Reader) -> Told | Ignored:
    """The payment of an invoice, which alone says by which PaymentIntent it was paid."""
    payment = of.object("payment")
    paid_by = payment.id_or_none("payment_intent") or payment.id_or_none("charge")
    if paid_by is None:
        return Ignored("no_payment_named")
    tie = TiePayment(
        provider="stripe",
        provider_id=paid_by,
        pays=of.id("invoice"),
        happened_at=envelope.seconds("created"),
    )
    return Told((tie,))


def _details(of: Reader) -> Reader | None:
    """What the invoice says of its subscription."""
    parent = of.object_or_none("parent")
    return None if parent is None else parent.object_or_none("subscription_details")


def _subscription_id(of: Reader) -> str | None:
    """The subscription that an invoice is for; one that came of a quote says it in its lines."""
    details = _details(of)
    if details is not None:
        return details.id_or_none("subscription")
    for line in of.object("lines").objects("data"):
        parent = line.object_or_none("parent")
        item = None if parent is None else parent.object_or_none("subscription_item_details")
        found = None if item is None else item.id_or_none("subscription")
        if found is not None:
            return found
    return None


def _named_owner(of: Reader) -> str | None:
    details = _details(of)
    named = None if details is None else details.metadata().customer_id_or_none("ledger_account")
    return named or of.metadata().customer_id_or_none("ledger_account")


def _lines(of: Reader) -> tuple[PurchaseLine, ...] | None:
    """All lines, or None where the body holds only the first of them."""
    lines = of.object("lines")
    if lines.flag_or_none("has_more"):
        return None
    return tuple(invoice_line(line) for line in lines.objects("data"))


def _paid_at(envelope: Reader, of: Reader) -> datetime:
    moments = of.object_or_none("status_transitions")
    paid_at = None if moments is None else moments.seconds_or_none("paid_at")
    return paid_at or envelope.seconds("created")
