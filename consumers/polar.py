"""Polar's events as commands: pure, one function for each kind of object.

A purchase is named by its order. Every order body is a snapshot of all there is to say: what was
bought, whether it is paid, and how much of it is refunded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from creditledger.consumers.reading import Ignored, Reader, Told, unsupported_version
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import (
    CloseLink,
    LearnedPrice,
    LinkCustomer,
    PurchaseLine,
    RecordPurchase,
    RefundStatus,
    RefundTotal,
    ReportRefund,
)

#: Versions whose bodies are read; a body from before versions were told has none.
VERSIONS: Final = (None, "2026-04", "2026-10", "2027-01")

#: Types that tell of subscriptions and the catalogue, which are not booked yet.
UNSUPPORTED: Final = frozenset(
    {
        "product.created",
        "product.updated",
        "subscription.active",
        "subscription.canceled",
        "subscription.created",
        "subscription.cycled",
        "subscription.migrated",
        "subscription.past_due",
        "subscription.paused",
        "subscription.resumed",
        "subscription.revoked",
        "subscription.uncanceled",
        "subscription.updated",
    }
)

_RECURRING_REASONS: Final = {
    "subscription_create",
    "subscription_cycle",
    "subscription_meter_cycle",
    "subscription_update",
}
_ORDER_STATUSES: Final = {"draft", "pending", "paid", "refunded", "partially_refunded", "void"}
_REFUND_STATUSES: Final = {"pending", "succeeded", "failed", "canceled"}


def translate(event: Mapping[str, Any]) -> Told | Ignored:
    """What an event says.

    Raises Parked where it cannot be said yet: a type or version that is not read, or a value that
    the service does not know.
    """
    envelope = Reader(event)
    kind = envelope.word("type")
    if kind not in UNSUPPORTED and kind not in _TRANSLATIONS:
        return Ignored("unknown_type")
    if event.get("api_version") not in VERSIONS:
        raise unsupported_version(event["api_version"])
    if kind in UNSUPPORTED:
        raise Parked(reason="unsupported_type", waits_for=None, detail=f"type {kind}")
    return _TRANSLATIONS[kind](envelope, envelope.object("data"))


def _order(envelope: Reader, order: Reader) -> Told | Ignored:
    reason = order.word("billing_reason")
    if reason != "purchase" and reason not in _RECURRING_REASONS:
        raise order.unknown("billing_reason", "a known reason")
    if order.word("status") not in _ORDER_STATUSES:
        raise order.unknown("status", "an order's status")
    if not order.flag("paid"):
        return Ignored("not_paid")
    if reason in _RECURRING_REASONS:
        raise Parked(
            reason="unsupported_type", waits_for=None, detail=f"an order with reason {reason}"
        )
    return Told((_purchase(envelope, order),))


def _purchase(envelope: Reader, order: Reader) -> RecordPurchase:
    customer = order.object_or_none("customer") or Reader({}, order.path("customer"))
    created_at = order.time("created_at")
    # A balance that is owed can make this negative; nothing was paid then.
    paid = max(0, order.integer("net_amount") + _signed(order, "applied_balance_amount"))
    return RecordPurchase(
        provider="polar",
        provider_id=order.id("id"),
        provider_customer_id=customer.id_or_none("id") or order.id_or_none("customer_id"),
        customer_id=customer.customer_id_or_none("external_id"),
        lines=_lines(order),
        paid=order.money("net_amount", paid),
        # The same in every snapshot of the order, so that its expiry rests on no delivery.
        paid_at=created_at,
        refund_total=RefundTotal(
            amount=order.integer("refunded_amount"),
            as_of=order.time_or_none("modified_at") or created_at,
            told_at=envelope.time_or_none("timestamp"),
        ),
        happened_at=created_at,
    )


def _signed(order: Reader, name: str) -> int:
    return order.integer(name, minimum=-(2**53 - 1))


def _lines(order: Reader) -> tuple[PurchaseLine, ...]:
    product = order.object_or_none("product")
    learned = None if product is None else _learned(product)
    lines = []
    for item in order.objects("items"):
        if item.flag("proration"):
            raise item.unknown("proration", "false in a purchase")
        lines.append(
            PurchaseLine(
                price_id=item.id_or_none("product_price_id"),
                amount=_signed(item, "amount"),
                learned=learned,
            )
        )
    return tuple(lines)


def _learned(product: Reader) -> LearnedPrice | None:
    metadata = product.object_or_none("metadata") or Reader({}, product.path("metadata"))
    credits = metadata.credits_or_none("credits")
    if credits is None:
        return None
    return LearnedPrice(
        credits=credits,
        kind="recurring" if product.flag("is_recurring") else "one_time",
        name=metadata.label_or_none("publicName") or product.label_or_none("name"),
        plan_family=metadata.label_or_none("planFamily"),
        version=metadata.label_or_none("version"),
    )


def _refund(envelope: Reader, refund: Reader) -> Told | Ignored:
    order_id = refund.id_or_none("order_id")
    if order_id is None:
        return Ignored("no_payment_named")
    status = refund.word("status")
    if status not in _REFUND_STATUSES:
        raise refund.unknown("status", "a refund's status")
    report = ReportRefund(
        provider="polar",
        provider_id=order_id,
        refund_id=refund.id("id"),
        amount=refund.money("amount"),
        status=cast(RefundStatus, status),
        # The order's own snapshots say how much is refunded in all.
        counted=False,
        happened_at=_told_at(envelope, refund),
    )
    return Told((report,))


def _customer(envelope: Reader, customer: Reader) -> Told | Ignored:
    customer_id = customer.customer_id_or_none("external_id")
    if customer_id is None:
        return Ignored("no_account_named")
    at = _told_at(envelope, customer)
    link = LinkCustomer(
        provider="polar",
        provider_customer_id=customer.id("id"),
        customer_id=customer_id,
        origin="customer",
        as_of=at,
        happened_at=at,
    )
    return Told((link,))


def _customer_deleted(envelope: Reader, customer: Reader) -> Told | Ignored:
    at = _told_at(envelope, customer)
    close = CloseLink(
        provider="polar",
        provider_customer_id=customer.id("id"),
        customer_id=customer.customer_id_or_none("external_id"),
        closed_at=at,
        happened_at=at,
    )
    return Told((close,))


def _told_at(envelope: Reader, of: Reader) -> datetime:
    return (
        of.time_or_none("modified_at")
        or of.time_or_none("created_at")
        or envelope.time("timestamp")
    )


def _nothing(_envelope: Reader, _object: Reader) -> Told | Ignored:
    return Ignored("nothing_to_book")


#: What tells nothing that the ledger keeps; benefit grants mirror what orders have bought.
_NOTHING: Final = (
    "benefit.created",
    "benefit.updated",
    "benefit_grant.created",
    "benefit_grant.cycled",
    "benefit_grant.revoked",
    "benefit_grant.updated",
    "checkout.created",
    "checkout.expired",
    "checkout.updated",
    "customer_seat.assigned",
    "customer_seat.claimed",
    "customer_seat.revoked",
    "discount.created",
    "discount.deleted",
    "discount.updated",
    "member.created",
    "member.deleted",
    "member.updated",
    "organization.updated",
)

_TRANSLATIONS: Final = {
    "customer.created": _customer,
    "customer.deleted": _customer_deleted,
    "customer.state_changed": _customer,
    "customer.updated": _customer,
    "order.created": _order,
    "order.paid": _order,
    "order.refunded": _order,
    "order.updated": _order,
    "refund.created": _refund,
    "refund.updated": _refund,
    **dict.fromkeys(_NOTHING, _nothing),
}
