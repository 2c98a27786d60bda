"""Products of a provider's catalogue: names for people, and nothing that credits depend on."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.books import Books
from creditledger.domain.events import Event
from creditledger.domain.provider_commands import Provider, ReportProduct
from creditledger.domain.values import value


@value(kw_only=True)
class ProductReported(Event):
    """The provider's catalogue told how a product stood at `as_of`."""

    TOPIC: ClassVar[str] = "creditledger.ProductReported"

    provider: Provider
    product_id: str
    name: str | None
    active: bool
    plan_family: str | None
    version: str | None
    as_of: datetime


PRODUCT_EVENTS: tuple[type[Event], ...] = (ProductReported,)


class Product(Aggregate):
    """A product of a provider, as its catalogue told it last."""

    __slots__ = ("reported",)

    EVENTS: ClassVar[tuple[type[Event], ...]] = PRODUCT_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        self.reported: ProductReported | None = None

    def _evolve(self, event: Event) -> None:
        match event:
            case ProductReported():
                self.reported = event


def report_product(command: ReportProduct, books: Books) -> dict[str, Any]:
    """Keep how a product stood, where that is newer than what is known.

    What is said once more is kept, too: an older word that comes after it must not stand.
    """
    stream = ids.product_stream(command.provider, command.product_id)
    product = books.get(Product, stream)
    known = product.reported
    if known is None or _newness(command) > _newness(known):
        books.record(
            product,
            ProductReported,
            provider=command.provider,
            product_id=command.product_id,
            name=command.name,
            active=command.active,
            plan_family=command.plan_family,
            version=command.version,
            as_of=command.as_of,
        )
    return {"provider": command.provider, "product_id": command.product_id}


def _newness(of: ProductReported | ReportProduct) -> tuple[datetime, bool, str]:
    """Reports in the order in which they stand; of two of one moment, the product's end last."""
    return (of.as_of, not of.active, repr((of.name, of.plan_family, of.version)))
