"""Whose a provider's customer is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.books import Books
from creditledger.domain.events import Event
from creditledger.domain.provider_commands import (
    CloseLink,
    LinkCustomer,
    LinkOrigin,
    Provider,
    RecordPurchase,
    ReportSubscription,
)
from creditledger.domain.values import value

#: What may name its owner beside its provider's customer.
OwnedNews = RecordPurchase | ReportSubscription

#: Who is believed more about whose a customer is; of two of one kind, the newer.
_AUTHORITY: dict[LinkOrigin, int] = {"purchase": 0, "customer": 1, "hand": 2}


@value(kw_only=True)
class LinkEvent(Event):
    """A fact about one customer of a provider."""

    provider: Provider
    provider_customer_id: str
    customer_id: str


@value(kw_only=True)
class CustomerLinked(LinkEvent):
    """The provider's customer is this customer of ours, as was said at `as_of`."""

    TOPIC: ClassVar[str] = "creditledger.CustomerLinked"

    origin: LinkOrigin
    as_of: datetime


@value(kw_only=True)
class LinkClosed(LinkEvent):
    """The provider deleted its customer. News about its old payments still finds its owner."""

    TOPIC: ClassVar[str] = "creditledger.LinkClosed"

    closed_at: datetime


LINK_EVENTS: tuple[type[LinkEvent], ...] = (CustomerLinked, LinkClosed)


class Link(Aggregate):
    """A customer of a provider; `customer_id` is None as long as nobody said whose it is."""

    __slots__ = ("as_of", "closed", "customer_id", "origin")

    EVENTS: ClassVar[tuple[type[Event], ...]] = LINK_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        self.customer_id: str | None = None
        self.origin: LinkOrigin | None = None
        self.as_of: datetime | None = None
        self.closed = False

    def _evolve(self, event: Event) -> None:
        match event:
            case CustomerLinked():
                self.customer_id = event.customer_id
                self.origin = event.origin
                self.as_of = event.as_of
                if event.origin == "hand":
                    self.closed = False
            case LinkClosed():
                self.closed = True

    def gives_way_to(self, origin: LinkOrigin, as_of: datetime) -> bool:
        """Whether what is said now stands instead of what was said before."""
        if self.origin is None or self.as_of is None:
            return True
        return (_AUTHORITY[origin], as_of) >= (_AUTHORITY[self.origin], self.as_of)


def find_link(provider: str, provider_customer_id: str, books: Books) -> Link:
    """A provider's customer, new where nobody said whose it is."""
    return books.get(Link, ids.link_stream(provider, provider_customer_id))


def owner_of(news: OwnedNews, books: Books) -> str | None:
    """Whose a purchase or subscription is: as it says itself, else as its customer is linked."""
    if news.customer_id is not None or news.provider_customer_id is None:
        return news.customer_id
    return find_link(news.provider, news.provider_customer_id, books).customer_id


def learn_owner(news: OwnedNews, as_of: datetime, books: Books) -> None:
    """What names its owner tells whose its customer is, where nobody better said otherwise."""
    if news.provider_customer_id is None or news.customer_id is None:
        return
    link = find_link(news.provider, news.provider_customer_id, books)
    if link.customer_id != news.customer_id:
        say(
            link,
            books,
            provider=news.provider,
            provider_customer_id=news.provider_customer_id,
            customer_id=news.customer_id,
            origin="purchase",
            as_of=as_of,
        )


def link_customer(command: LinkCustomer, books: Books) -> dict[str, Any]:
    """Say whose a provider's customer is; the better authority stands, then the newer word."""
    link = find_link(command.provider, command.provider_customer_id, books)
    say(
        link,
        books,
        provider=command.provider,
        provider_customer_id=command.provider_customer_id,
        customer_id=command.customer_id,
        origin=command.origin,
        as_of=command.as_of or books.now(link),
    )
    return _answer(command, link)


def close_link(command: CloseLink, books: Books) -> dict[str, Any]:
    """The provider deleted its customer; a deletion that overtook the link makes it first."""
    link = find_link(command.provider, command.provider_customer_id, books)
    if link.customer_id is None and command.customer_id is not None:
        say(
            link,
            books,
            provider=command.provider,
            provider_customer_id=command.provider_customer_id,
            customer_id=command.customer_id,
            origin="customer",
            as_of=command.closed_at,
        )
    if link.customer_id is not None and not link.closed:
        books.record(
            link,
            LinkClosed,
            provider=command.provider,
            provider_customer_id=command.provider_customer_id,
            customer_id=link.customer_id,
            closed_at=command.closed_at,
        )
    return _answer(command, link)


def say(
    link: Link,
    books: Books,
    *,
    provider: str,
    provider_customer_id: str,
    customer_id: str,
    origin: LinkOrigin,
    as_of: datetime,
) -> None:
    """Record whose a provider's customer is, where that is news and stands."""
    if not link.gives_way_to(origin, as_of):
        return
    same = (link.customer_id, link.origin) == (customer_id, origin)
    if same and (not link.closed if origin == "hand" else link.as_of == as_of):
        return
    books.record(
        link,
        CustomerLinked,
        provider=provider,
        provider_customer_id=provider_customer_id,
        customer_id=customer_id,
        origin=origin,
        as_of=as_of,
    )


def _answer(command: LinkCustomer | CloseLink, link: Link) -> dict[str, Any]:
    return {
        "provider": command.provider,
        "provider_customer_id": command.provider_customer_id,
        "customer_id": link.customer_id,
        "origin": link.origin,
        "closed": link.closed,
    }
