"""Polar's events as commands: pure, one function for each kind of object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from creditledger.consumers.polar_catalogue import product
from creditledger.consumers.polar_disputes import dispute
from creditledger.consumers.polar_orders import order, refund
from creditledger.consumers.polar_subscriptions import subscription
from creditledger.consumers.reading import Ignored, Reader, Told, moment_of, unsupported_version
from creditledger.domain.provider_commands import CloseLink, LinkCustomer

#: Versions whose bodies are read; a body from before versions were told has none.
VERSIONS: Final = (None, "2026-04", "2026-10", "2027-01")


def translate(event: Mapping[str, Any]) -> Told | Ignored:
    """What an event says.

    Raises Parked where it cannot be said yet: a version that is not read, or a value that the
    service does not know.
    """
    envelope = Reader(event)
    kind = envelope.word("type")
    if kind in _NOTHING:
        return Ignored("nothing_to_book")
    if kind not in _TRANSLATIONS:
        return Ignored("unknown_type")
    if event.get("api_version") not in VERSIONS:
        raise unsupported_version(event["api_version"])
    return _TRANSLATIONS[kind](envelope, envelope.object("data"))


def _customer(envelope: Reader, customer: Reader) -> Told | Ignored:
    customer_id = customer.customer_id_or_none("external_id")
    if customer_id is None:
        return Ignored("no_account_named")
    at = moment_of(customer) or envelope.time("timestamp")
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
    at = moment_of(customer) or envelope.time("timestamp")
    close = CloseLink(
        provider="polar",
        provider_customer_id=customer.id("id"),
        customer_id=customer.customer_id_or_none("external_id"),
        closed_at=at,
        happened_at=at,
    )
    return Told((close,))


#: What tells nothing that the ledger keeps; benefit grants mirror what orders have bought.
_NOTHING: Final = frozenset(
    {
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
    }
)

_TRANSLATIONS: Final = {
    "customer.created": _customer,
    "customer.deleted": _customer_deleted,
    "customer.state_changed": _customer,
    "customer.updated": _customer,
    "dispute.updated": dispute,
    "order.created": order,
    "order.paid": order,
    "order.refunded": order,
    "order.updated": order,
    "product.created": product,
    "product.updated": product,
    "refund.created": refund,
    "refund.updated": refund,
    "subscription.active": subscription,
    "subscription.canceled": subscription,
    "subscription.created": subscription,
    "subscription.cycled": subscription,
    "subscription.migrated": subscription,
    "subscription.past_due": subscription,
    "subscription.paused": subscription,
    "subscription.resumed": subscription,
    "subscription.revoked": subscription,
    "subscription.uncanceled": subscription,
    "subscription.updated": subscription,
}
