"""Stripe's events as commands: pure, one function for each kind of object.

A purchase is named by its PaymentIntent, or by the Checkout Session where nothing was to be paid;
several events tell of one purchase, and each alone is enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from creditledger.consumers.reading import Ignored, Reader, Told
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import (
    CloseLink,
    LinkCustomer,
    PurchaseLine,
    RecordPurchase,
    RefundStatus,
    RefundTotal,
    ReportRefund,
    ReportRefundTotal,
)

#: Versions whose bodies are read: those of four releases, whose monthly versions carry its name.
_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d\.(basil|clover|dahlia|endive)")

#: Types that tell of subscriptions, disputes and the catalogue, which are not booked yet.
UNSUPPORTED: Final = frozenset(
    {
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "customer.subscription.created",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
        "customer.subscription.trial_will_end",
        "customer.subscription.updated",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "price.created",
        "price.deleted",
        "price.updated",
        "product.created",
        "product.deleted",
        "product.updated",
    }
)

_REFUND_STATUSES: Final = {"pending", "requires_action", "succeeded", "failed", "canceled"}


def translate(event: Mapping[str, Any], *, livemode: bool) -> Told | Ignored:
    """What an event says. `livemode` is the environment whose events count.

    Raises Parked where it cannot be said yet: a type or version that is not read, or a value that
    the service does not know.
    """
    envelope = Reader(event)
    kind = envelope.word("type")
    if kind not in UNSUPPORTED and kind not in _TRANSLATIONS:
        return Ignored("unknown_type")
    if envelope.flag("livemode") is not livemode:
        return Ignored("wrong_environment")
    version = envelope.word("api_version")
    if version is None or not _VERSION.fullmatch(version):
        raise Parked(reason="unsupported_version", waits_for=None, detail=f"api_version {version}")
    if kind in UNSUPPORTED:
        raise Parked(reason="unsupported_type", waits_for=None, detail=f"type {kind}")
    return _TRANSLATIONS[kind](envelope, envelope.object("data").object("object"))


def _session(envelope: Reader, session: Reader) -> Told | Ignored:
    match session.word("mode"):
        case "payment":
            return _paid_session(envelope, session)
        case "subscription":
            return _subscribed_session(envelope, session)
        case "setup":
            return Ignored("nothing_to_book")
        case _:
            raise session.unknown("mode", "payment, subscription or setup")


def _paid_session(envelope: Reader, session: Reader) -> Told | Ignored:
    match session.word("payment_status"):
        case "paid" | "no_payment_required":
            session_id = session.id("id")
            purchase = _purchase(
                envelope,
                session,
                provider_id=session.id_or_none("payment_intent") or session_id,
                amount="amount_total",
            )
            return Told((purchase,), session_id=session_id)
        case "unpaid":
            return Ignored("not_paid")
        case _:
            raise session.unknown("payment_status", "paid, unpaid or no_payment_required")


def _subscribed_session(envelope: Reader, session: Reader) -> Told | Ignored:
    stripe_customer, customer_id = session.id_or_none("customer"), _named_owner(session)
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


def _payment_intent(envelope: Reader, intent: Reader) -> Told | Ignored:
    if _metadata(intent).id_or_none("price_id") is None:
        # An invoice's payment, or one that its Checkout Session tells about.
        return Ignored("no_price_named")
    if intent.word("status") != "succeeded":
        raise intent.unknown("status", "succeeded")
    purchase = _purchase(envelope, intent, provider_id=intent.id("id"), amount="amount_received")
    return Told((purchase,))


def _purchase(envelope: Reader, paid: Reader, *, provider_id: str, amount: str) -> RecordPurchase:
    metadata = _metadata(paid)
    price_id = metadata.id_or_none("price_id")
    quantity = metadata.number_or_none("quantity", minimum=1)
    at = envelope.seconds("created")
    return RecordPurchase(
        provider="stripe",
        provider_id=provider_id,
        provider_customer_id=paid.id_or_none("customer"),
        customer_id=_named_owner(paid),
        lines=None
        if price_id is None
        else (PurchaseLine(price_id=price_id, quantity=quantity or 1),),
        paid=paid.money(amount),
        paid_at=at,
        happened_at=at,
    )


def _charge_refunded(envelope: Reader, charge: Reader) -> Told | Ignored:
    payment_intent = charge.id_or_none("payment_intent")
    if payment_intent is None:
        return Ignored("no_payment_named")
    total = ReportRefundTotal(
        provider="stripe",
        provider_id=payment_intent,
        currency=charge.currency(),
        # Without a time: Stripe may send an old snapshot in a new event, so the largest stands.
        total=RefundTotal(amount=charge.integer("amount_refunded")),
        happened_at=envelope.seconds("created"),
    )
    return Told((total,))


def _refund(envelope: Reader, refund: Reader) -> Told | Ignored:
    payment_intent = refund.id_or_none("payment_intent")
    if payment_intent is None:
        return Ignored("no_payment_named")
    status = refund.word("status")
    if status not in _REFUND_STATUSES:
        raise refund.unknown("status", "a refund's status")
    report = ReportRefund(
        provider="stripe",
        provider_id=payment_intent,
        refund_id=refund.id("id"),
        amount=refund.money("amount"),
        status=cast(RefundStatus, status),
        counted=True,
        happened_at=envelope.seconds("created"),
    )
    return Told((report,))


def _customer(envelope: Reader, customer: Reader) -> Told | Ignored:
    customer_id = _metadata(customer).customer_id_or_none("ledger_account")
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
        customer_id=_metadata(customer).customer_id_or_none("ledger_account"),
        closed_at=at,
        happened_at=at,
    )
    return Told((close,))


def _nothing(_envelope: Reader, _object: Reader) -> Told | Ignored:
    return Ignored("nothing_to_book")


def _metadata(of: Reader) -> Reader:
    return of.object_or_none("metadata") or Reader({}, of.path("metadata"))


def _named_owner(of: Reader) -> str | None:
    return _metadata(of).customer_id_or_none("ledger_account") or of.customer_id_or_none(
        "client_reference_id"
    )


_TRANSLATIONS: Final = {
    "charge.refund.updated": _refund,
    "charge.refunded": _charge_refunded,
    "checkout.session.async_payment_failed": _nothing,
    "checkout.session.async_payment_succeeded": _session,
    "checkout.session.completed": _session,
    "checkout.session.expired": _nothing,
    "customer.created": _customer,
    "customer.deleted": _customer_deleted,
    "customer.updated": _customer,
    "payment_intent.amount_capturable_updated": _nothing,
    "payment_intent.canceled": _nothing,
    "payment_intent.created": _nothing,
    "payment_intent.partially_funded": _nothing,
    "payment_intent.payment_failed": _nothing,
    "payment_intent.processing": _nothing,
    "payment_intent.requires_action": _nothing,
    "payment_intent.succeeded": _payment_intent,
    "refund.created": _refund,
    "refund.failed": _refund,
    "refund.updated": _refund,
}
