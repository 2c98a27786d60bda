"""Stripe's products and prices as commands."""

from __future__ import annotations

from creditledger.consumers.reading import Ignored, Reader, Told
from creditledger.consumers.worth import learned
from creditledger.domain.provider_commands import (
    LearnedPrice,
    PriceKind,
    ReportPrice,
    ReportProduct,
)


def product(envelope: Reader, of: Reader) -> Told | Ignored:
    """A product that was created or changed."""
    return _product(envelope, of, active=of.flag("active"))


def product_deleted(envelope: Reader, of: Reader) -> Told | Ignored:
    """A product that is gone; its body is the last one again, `active` or not."""
    return _product(envelope, of, active=False)


def price(envelope: Reader, of: Reader) -> Told | Ignored:
    """A price that was created or changed."""
    return _price(envelope, of, active=of.flag("active"))


def price_deleted(envelope: Reader, of: Reader) -> Told | Ignored:
    """A price that is gone; its body is the last one again, `active` or not."""
    return _price(envelope, of, active=False)


def learned_price(of: Reader) -> LearnedPrice | None:
    """What a price's metadata says that it is worth; usage is worth nothing, said or not."""
    return learned(of.metadata(), kind=_kind(of), name=of.label_or_none("nickname"))


def is_usage(price: Reader) -> bool:
    """Whether a price is billed after use."""
    recurring = price.object_or_none("recurring")
    return recurring is not None and recurring.word("usage_type") == "metered"


def _kind(price: Reader) -> PriceKind:
    if price.object_or_none("recurring") is None:
        return "one_time"
    return "usage" if is_usage(price) else "recurring"


def _product(envelope: Reader, of: Reader, *, active: bool) -> Told:
    at, metadata = envelope.seconds("created"), of.metadata()
    report = ReportProduct(
        provider="stripe",
        product_id=of.id("id"),
        name=metadata.label_or_none("publicName") or of.label_or_none("name"),
        active=active,
        plan_family=metadata.label_or_none("planFamily"),
        version=metadata.label_or_none("version"),
        as_of=at,
        happened_at=at,
    )
    return Told((report,))


def _price(envelope: Reader, of: Reader, *, active: bool) -> Told:
    at = envelope.seconds("created")
    report = ReportPrice(
        provider="stripe",
        price_id=of.id("id"),
        product_id=of.id_or_none("product"),
        active=active,
        learned=learned_price(of),
        as_of=at,
        happened_at=at,
    )
    return Told((report,))
