"""What one unit of a provider's price is worth in credits."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.amounts import Credits
from creditledger.domain.books import Books
from creditledger.domain.errors import Invalid
from creditledger.domain.events import Event
from creditledger.domain.provider_commands import (
    LearnedPrice,
    PriceKind,
    Provider,
    ReportPrice,
    SetPrice,
)
from creditledger.domain.values import value

#: Who says what a price is worth: a person, or the provider's own metadata.
PriceOrigin = Literal["entered", "learned"]

#: How long what was bought with a one-time price can be spent, where the price does not say.
ONE_TIME_EXPIRES_AFTER_DAYS: Final = 365

#: A hundred years: longer is meant as for ever, or is a mistake.
EXPIRES_AFTER_DAYS_MAX: Final = 36_500


@value(kw_only=True)
class PriceTerms:
    """What a price is worth; `expires_after_days` is None for the default of its kind.

    `internal_id` is the merchant's own name for it, as the provider's metadata has it.
    """

    credits: Credits
    asset: str
    kind: PriceKind
    name: str | None
    expires_after_days: int | None
    plan_family: str | None
    version: str | int | None
    origin: PriceOrigin
    internal_id: str | None = None


@value(kw_only=True)
class PriceSet(Event):
    """From now on, a price is worth this; what was granted before is not touched."""

    TOPIC: ClassVar[str] = "creditledger.PriceSet"

    provider: Provider
    price_id: str
    terms: PriceTerms


@value(kw_only=True)
class PriceReported(Event):
    """The provider's catalogue told of a price; `learned` is what its metadata says, if anything.

    What a person entered stands before that.
    """

    TOPIC: ClassVar[str] = "creditledger.PriceReported"

    provider: Provider
    price_id: str
    product_id: str | None
    active: bool
    learned: PriceTerms | None
    as_of: datetime


PRICE_EVENTS: tuple[type[Event], ...] = (PriceSet, PriceReported)


class Price(Aggregate):
    """A price of a provider; `terms` is None as long as nobody said what it is worth.

    `reported` is what the provider's catalogue told last.
    """

    __slots__ = ("reported", "terms")

    EVENTS: ClassVar[tuple[type[Event], ...]] = PRICE_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        self.terms: PriceTerms | None = None
        self.reported: PriceReported | None = None

    def _evolve(self, event: Event) -> None:
        match event:
            case PriceSet():
                self.terms = event.terms
            case PriceReported():
                self.reported = event
                if self.terms is None or self.terms.origin == "learned":
                    self.terms = event.learned


def find_price(provider: str, price_id: str, books: Books) -> Price:
    """A provider's price, new where nobody said what it is worth."""
    return books.get(Price, ids.price_stream(provider, price_id))


def set_price(command: SetPrice, books: Books) -> dict[str, Any]:
    """Say by hand what a price is worth; what was granted before is not touched."""
    terms = PriceTerms(
        credits=command.credits,
        asset=command.asset,
        kind=command.kind,
        name=command.name,
        expires_after_days=command.expires_after_days,
        plan_family=command.plan_family,
        version=command.version,
        origin="entered",
    )
    if command.kind == "usage" and command.credits:
        raise Invalid(field="credits", reason=f"is {command.credits}, and usage is worth none")
    days = command.expires_after_days
    if days is not None and not 1 <= days <= EXPIRES_AFTER_DAYS_MAX:
        reason = f"is {days}, and can be from 1 to {EXPIRES_AFTER_DAYS_MAX}"
        raise Invalid(field="expires_after_days", reason=reason)
    price = find_price(command.provider, command.price_id, books)
    if price.terms != terms:
        record_terms(price, command.provider, command.price_id, terms, books)
    return {
        "provider": command.provider,
        "price_id": command.price_id,
        "credits": terms.credits,
        "asset": terms.asset,
        "kind": terms.kind,
        "name": terms.name,
        "expires_after_days": terms.expires_after_days,
        "plan_family": terms.plan_family,
        "version": terms.version,
        "origin": terms.origin,
    }


def report_price(command: ReportPrice, books: Books) -> dict[str, Any]:
    """Keep what the provider's catalogue tells of a price, where that is newer than what is known.

    What is said once more is kept, too: an older word that comes after it must not stand.
    """
    price = find_price(command.provider, command.price_id, books)
    learned = None if command.learned is None else learned_terms(command.learned)
    known = price.reported
    newness = _newness(command.as_of, command.product_id, command.active, learned)
    if known is None or newness > _newness(
        known.as_of, known.product_id, known.active, known.learned
    ):
        books.record(
            price,
            PriceReported,
            provider=command.provider,
            price_id=command.price_id,
            product_id=command.product_id,
            active=command.active,
            learned=learned,
            as_of=command.as_of,
        )
    return {"provider": command.provider, "price_id": command.price_id}


def _newness(
    as_of: datetime, product_id: str | None, active: bool, learned: PriceTerms | None
) -> tuple[datetime, bool, str]:
    """Reports in the order in which they stand; of two of one moment, the price's own end last."""
    return (as_of, not active, repr((product_id, learned)))


def learned_terms(learned: LearnedPrice) -> PriceTerms:
    """What a provider's metadata says, as terms."""
    return PriceTerms(
        credits=learned.credits,
        asset="credits",
        kind=learned.kind,
        name=learned.name,
        expires_after_days=None,
        plan_family=learned.plan_family,
        version=learned.version,
        origin="learned",
        internal_id=learned.internal_id,
    )


def record_terms(
    price: Price, provider: str, price_id: str, terms: PriceTerms, books: Books
) -> None:
    """From now on, the price is worth this."""
    books.record(price, PriceSet, provider=provider, price_id=price_id, terms=terms)
