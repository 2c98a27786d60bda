"""Stripe's events as commands: pure, one function for each kind of object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from creditledger.consumers.reading import Ignored, Reader, Told, unsupported_version
from creditledger.consumers.stripe_catalogue import price, price_deleted, product, product_deleted
from creditledger.consumers.stripe_invoices import invoice, invoice_payment
from creditledger.consumers.stripe_payments import (
    charge_refunded,
    dispute,
    payment_intent,
    refund,
    session,
)
from creditledger.consumers.stripe_subscriptions import subscription
from creditledger.domain.provider_commands import CloseLink, LinkCustomer

#: Versions whose bodies are read: those of four releases, whose monthly versions carry its name.
_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d\.(basil|clover|dahlia|endive)")


def translate(event: Mapping[str, Any], *, livemode: bool) -> Told | Ignored:
    """What an event says. `livemode` is the environment whose events count.

    Raises Parked where it cannot be said yet: a version that is not read, or a value that the
    service does not know.
    """
    envelope = Reader(event)
    kind = envelope.word("type")
    if kind not in _NOTHING and kind not in _TRANSLATIONS:
        return Ignored("unknown_type")
    if envelope.flag("livemode") is not livemode:
        return Ignored("wrong_environment")
    if kind in _NOTHING:
        return Ignored("nothing_to_book")
    version = envelope.word("api_version")
    if version is None or not _VERSION.fullmatch(version):
        raise unsupported_version(event.get("api_version"))
    return _TRANSLATIONS[kind](envelope, envelope.object("data").object("object"))


def _customer(envelope: Reader, customer: Reader) -> Told | Ignored:
    customer_id = customer.metadata().customer_id_or_none("ledger_account")
    if customer_id is None:
        return Ignored("no_account_named")
    at = envelope.seconds("created")
    link = LinkCustomer(
        provider="stripe",
        provider_customer_id=customer.id("id"),
        customer_id=customer_id,
        origin="customer",
        as_of=at,
        happened_at=at,
    )
    return Told((link,))


def _customer_deleted(envelope: Reader, customer: Reader) -> Told | Ignored:
    at = envelope.seconds("created")
    close = CloseLink(
        provider="stripe",
        provider_customer_id=customer.id("id"),
        customer_id=customer.metadata().customer_id_or_none("ledger_account"),
        closed_at=at,
        happened_at=at,
    )
    return Told((close,))


#: What tells nothing that the ledger keeps: money that has not moved, or news of news.
_NOTHING: Final = frozenset(
    {
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
        "customer.subscription.trial_will_end",
        "invoice.created",
        "invoice.deleted",
        "invoice.finalization_failed",
        "invoice.finalized",
        "invoice.marked_uncollectible",
        "invoice.overdue",
        "invoice.overpaid",
        "invoice.payment_action_required",
        "invoice.payment_attempt_required",
        "invoice.payment_failed",
        "invoice.sent",
        "invoice.upcoming",
        "invoice.updated",
        "invoice.voided",
        "invoice.will_be_due",
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "payment_intent.created",
        "payment_intent.partially_funded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.requires_action",
    }
)

_TRANSLATIONS: Final = {
    "charge.dispute.closed": dispute,
    "charge.dispute.created": dispute,
    "charge.dispute.funds_reinstated": dispute,
    "charge.dispute.funds_withdrawn": dispute,
    "charge.dispute.updated": dispute,
    "charge.refund.updated": refund,
    "charge.refunded": charge_refunded,
    "checkout.session.async_payment_succeeded": session,
    "checkout.session.completed": session,
    "customer.created": _customer,
    "customer.deleted": _customer_deleted,
    "customer.subscription.created": subscription,
    "customer.subscription.deleted": subscription,
    "customer.subscription.paused": subscription,
    "customer.subscription.pending_update_applied": subscription,
    "customer.subscription.pending_update_expired": subscription,
    "customer.subscription.resumed": subscription,
    "customer.subscription.updated": subscription,
    "customer.updated": _customer,
    "invoice.paid": invoice,
    "invoice.payment_succeeded": invoice,
    "invoice_payment.paid": invoice_payment,
    "payment_intent.succeeded": payment_intent,
    "price.created": price,
    "price.deleted": price_deleted,
    "price.updated": price,
    "product.created": product,
    "product.deleted": product_deleted,
    "product.updated": product,
    "refund.created": refund,
    "refund.failed": refund,
    "refund.updated": refund,
}
