"""Polar's products as commands, with their prices: what they are worth stands on the product."""

from __future__ import annotations

from creditledger.consumers.reading import Ignored, Reader, Told, moment_of
from creditledger.consumers.worth import learned
from creditledger.domain.provider_commands import (
    LearnedPrice,
    PriceKind,
    ReportPrice,
    ReportProduct,
)


def product(envelope: Reader, of: Reader) -> Told | Ignored:
    """A product that was created or changed, and all its prices, the archived ones as well."""
    at = envelope.time_or_none("timestamp") or moment_of(of) or envelope.time("timestamp")
    metadata, active = of.metadata(), not of.flag("is_archived")
    report = ReportProduct(
        provider="polar",
        product_id=of.id("id"),
        name=metadata.label_or_none("publicName") or of.label_or_none("name"),
        active=active,
        plan_family=metadata.label_or_none("planFamily"),
        version=metadata.label_or_none("version"),
        as_of=at,
        happened_at=at,
    )
    prices = (
        ReportPrice(
            provider="polar",
            price_id=price.id("id"),
            product_id=report.product_id,
            active=active and not price.flag("is_archived"),
            learned=learned_of_product(of, usage=is_usage(price)),
            as_of=at,
            happened_at=at,
        )
        for price in of.objects("prices")
    )
    return Told((report, *prices))


def learned_of_product(of: Reader, *, usage: bool = False) -> LearnedPrice | None:
    """What a product's metadata says that its prices are worth, those for usage apart."""
    kind: PriceKind = "recurring" if of.flag("is_recurring") else "one_time"
    return learned(of.metadata(), kind="usage" if usage else kind, name=of.label_or_none("name"))


def is_usage(price: Reader) -> bool:
    """Whether a price is billed after use."""
    return (price.word("amount_type") or "").startswith("metered")


def quantity(of: Reader) -> int:
    """How many seats or units an order or a subscription is for."""
    for name in ("seats", "units"):
        found = of.number_or_none(name, minimum=0)
        if found is not None:
            return found
    return 1
