"""Prices: what each price of a provider is worth now, and the products of its catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Final

from psycopg import AsyncConnection, Cursor

from creditledger.domain import answers
from creditledger.domain.events import Event
from creditledger.domain.price import PRICE_EVENTS, PriceReported, PriceSet, PriceTerms
from creditledger.domain.product import PRODUCT_EVENTS, ProductReported
from creditledger.projections.paging import page_of
from creditledger.projections.projection import Projection, Recorded, all_but, as_json

_FIND: Final = """
    SELECT prices.* FROM prices
    JOIN json_populate_recordset(null::prices, %s::json) AS told USING (provider, price_id)
"""

_UPSERT: Final = """
    INSERT INTO prices
    SELECT * FROM json_populate_recordset(null::prices, %s::json)
    ON CONFLICT (provider, price_id) DO UPDATE
    SET credits = excluded.credits, asset = excluded.asset, kind = excluded.kind,
        name = excluded.name, expires_after_days = excluded.expires_after_days,
        plan_family = excluded.plan_family, version = excluded.version,
        origin = excluded.origin, internal_id = excluded.internal_id,
        product_id = excluded.product_id, active = excluded.active,
        position = excluded.position, recorded_at = excluded.recorded_at
"""

_UPSERT_PRODUCTS: Final = """
    INSERT INTO products
    SELECT * FROM json_populate_recordset(null::products, %s::json)
    ON CONFLICT (provider, product_id) DO UPDATE
    SET name = excluded.name, active = excluded.active, plan_family = excluded.plan_family,
        version = excluded.version, as_of = excluded.as_of, position = excluded.position,
        recorded_at = excluded.recorded_at
"""

# Newest first.
_PAGE: Final = """
    SELECT * FROM prices
    WHERE position < %(before)s
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(product_id)s::text IS NULL OR product_id = %(product_id)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""

# Newest first.
_PAGE_OF_PRODUCTS: Final = """
    SELECT * FROM products
    WHERE position < %(before)s
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(product_id)s::text IS NULL OR product_id = %(product_id)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


class Prices(Projection):
    """The price book as it stands, and the catalogue that it belongs to."""

    name: ClassVar[str] = "prices"
    tables: ClassVar[tuple[str, ...]] = ("prices", "products")
    handles: ClassVar[tuple[type[Event], ...]] = (*PRICE_EVENTS, *PRODUCT_EVENTS)
    ignores: ClassVar[tuple[type[Event], ...]] = all_but(*handles)

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Fold what was told of each price into its row; of a product, the last word stands."""
        told = [
            (position, event)
            for position, event in events
            if isinstance(event, PriceSet | PriceReported)
        ]
        if told:
            rows = _stored(cursor, (event for _, event in told))
            for position, event in told:
                _take_in(rows, position, event)
            cursor.execute(_UPSERT, (as_json(list(rows.values())),))
        products = {
            (event.provider, event.product_id): _product(position, event)
            for position, event in events
            if isinstance(event, ProductReported)
        }
        if products:
            cursor.execute(_UPSERT_PRODUCTS, (as_json(list(products.values())),))


#: A provider's name, and its name for a price.
_Key = tuple[str, str]


def _stored(
    cursor: Cursor[Any], events: Iterable[PriceSet | PriceReported]
) -> dict[_Key, dict[str, Any]]:
    keys = sorted({(event.provider, event.price_id) for event in events})
    named = [{"provider": provider, "price_id": price_id} for provider, price_id in keys]
    cursor.execute(_FIND, (as_json(named),))
    names = [column.name for column in cursor.description or ()]
    rows = (dict(zip(names, row, strict=True)) for row in cursor.fetchall())
    return {(row["provider"], row["price_id"]): row for row in rows}


def _take_in(
    rows: dict[_Key, dict[str, Any]], position: int, event: PriceSet | PriceReported
) -> None:
    key = (event.provider, event.price_id)
    row = rows.setdefault(key, {"provider": event.provider, "price_id": event.price_id})
    row.update(position=position, recorded_at=event.recorded_at)
    match event:
        case PriceSet():
            row.update(_terms(event.terms))
        case PriceReported():
            row.update(product_id=event.product_id, active=event.active)
            # What a person entered stands before what the provider's metadata says.
            if row.get("origin") != "entered":
                row.update(_NO_TERMS if event.learned is None else _terms(event.learned))


def _terms(terms: PriceTerms) -> dict[str, Any]:
    return {
        "credits": terms.credits,
        "asset": terms.asset,
        "kind": terms.kind,
        "name": terms.name,
        "expires_after_days": terms.expires_after_days,
        "plan_family": terms.plan_family,
        "version": terms.version,
        "origin": terms.origin,
        "internal_id": terms.internal_id,
    }


#: Of a price of which nobody knows what it is worth.
_NO_TERMS: Final = dict.fromkeys(field.name for field in fields(PriceTerms))


def _product(position: int, event: ProductReported) -> dict[str, Any]:
    return {
        "provider": event.provider,
        "product_id": event.product_id,
        "name": event.name,
        "active": event.active,
        "plan_family": event.plan_family,
        "version": event.version,
        "as_of": event.as_of,
        "position": position,
        "recorded_at": event.recorded_at,
    }


async def prices(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    cursor: str | None = None,
    provider: str | None = None,
    product_id: str | None = None,
) -> dict[str, Any]:
    """A page of prices, last changed first, with `next_cursor` where there are more.

    `credits` is None where the provider's catalogue told of a price, and nobody what it is worth;
    `active` is None where the catalogue did not. Raises Invalid where the cursor is not one that
    this listing gave out.
    """
    filters = {"provider": provider, "product_id": product_id}
    rows, following = await page_of(
        connection, "prices", _PAGE, filters, limit=limit, cursor=cursor
    )
    shown = [{**row, "recorded_at": answers.instant(row["recorded_at"])} for row in rows]
    return {"prices": shown, "next_cursor": following}


async def products(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    cursor: str | None = None,
    provider: str | None = None,
    product_id: str | None = None,
) -> dict[str, Any]:
    """A page of products, last changed first, with `next_cursor` where there are more.

    Raises Invalid where the cursor is not one that this listing gave out.
    """
    filters = {"provider": provider, "product_id": product_id}
    rows, following = await page_of(
        connection, "products", _PAGE_OF_PRODUCTS, filters, limit=limit, cursor=cursor
    )
    shown = [
        {**row, **{name: answers.instant(row[name]) for name in ("as_of", "recorded_at")}}
        for row in rows
    ]
    return {"products": shown, "next_cursor": following}
