"""Prices: what each price of a provider is worth now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from psycopg import AsyncConnection, Cursor
from psycopg.rows import dict_row

from creditledger.domain.events import ACCOUNT_EVENTS, TRAIL_EVENTS, Event
from creditledger.domain.link import LINK_EVENTS
from creditledger.domain.payment import PAYMENT_EVENTS
from creditledger.domain.price import PRICE_EVENTS, PriceSet
from creditledger.projections.projection import Projection, Recorded, as_json

_UPSERT: Final = """
    INSERT INTO prices
    SELECT * FROM json_populate_recordset(null::prices, %s::json)
    ON CONFLICT (provider, price_id) DO UPDATE
    SET credits = excluded.credits, asset = excluded.asset, kind = excluded.kind,
        name = excluded.name, expires_after_days = excluded.expires_after_days,
        plan_family = excluded.plan_family, version = excluded.version,
        origin = excluded.origin, recorded_at = excluded.recorded_at
"""

# By provider and price; `after` is the price of the last row of the page before.
_LIST: Final = """
    SELECT * FROM prices
    WHERE (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(after_provider)s::text IS NULL
           OR (provider, price_id) > (%(after_provider)s, %(after_price_id)s))
    ORDER BY provider, price_id
    LIMIT %(limit)s
"""


class Prices(Projection):
    """The price book as it stands."""

    name: ClassVar[str] = "prices"
    tables: ClassVar[tuple[str, ...]] = ("prices",)
    handles: ClassVar[tuple[type[Event], ...]] = PRICE_EVENTS
    ignores: ClassVar[tuple[type[Event], ...]] = (
        *ACCOUNT_EVENTS,
        *TRAIL_EVENTS,
        *PAYMENT_EVENTS,
        *LINK_EVENTS,
    )

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """The last word on each price stands."""
        rows = {
            (event.provider, event.price_id): _row(event)
            for _, event in events
            if isinstance(event, PriceSet)
        }
        cursor.execute(_UPSERT, (as_json(list(rows.values())),))


def _row(event: PriceSet) -> dict[str, Any]:
    terms = event.terms
    return {
        "provider": event.provider,
        "price_id": event.price_id,
        "credits": terms.credits,
        "asset": terms.asset,
        "kind": terms.kind,
        "name": terms.name,
        "expires_after_days": terms.expires_after_days,
        "plan_family": terms.plan_family,
        "version": terms.version,
        "origin": terms.origin,
        "recorded_at": event.recorded_at,
    }


async def prices(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    provider: str | None = None,
    after: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Prices by provider and id, from after the given one on."""
    after_provider, after_price_id = after or (None, None)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            _LIST,
            {
                "limit": limit,
                "provider": provider,
                "after_provider": after_provider,
                "after_price_id": after_price_id,
            },
        )
        return await cursor.fetchall()
