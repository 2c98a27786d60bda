"""Prices: what each price of a provider is worth now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from psycopg import AsyncConnection, Cursor

from creditledger.domain import answers
from creditledger.domain.events import Event
from creditledger.domain.price import PRICE_EVENTS, PriceSet
from creditledger.projections import paging
from creditledger.projections.projection import Projection, Recorded, all_but, as_json
from creditledger.projections.queries import rows_of

_UPSERT: Final = """
    INSERT INTO prices
    SELECT * FROM json_populate_recordset(null::prices, %s::json)
    ON CONFLICT (provider, price_id) DO UPDATE
    SET credits = excluded.credits, asset = excluded.asset, kind = excluded.kind,
        name = excluded.name, expires_after_days = excluded.expires_after_days,
        plan_family = excluded.plan_family, version = excluded.version,
        origin = excluded.origin, position = excluded.position,
        recorded_at = excluded.recorded_at
"""

# Newest first.
_PAGE: Final = """
    SELECT * FROM prices
    WHERE position < %(before)s
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


class Prices(Projection):
    """The price book as it stands."""

    name: ClassVar[str] = "prices"
    tables: ClassVar[tuple[str, ...]] = ("prices",)
    handles: ClassVar[tuple[type[Event], ...]] = PRICE_EVENTS
    ignores: ClassVar[tuple[type[Event], ...]] = all_but(*PRICE_EVENTS)

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """The last word on each price stands."""
        rows = {
            (event.provider, event.price_id): _row(position, event)
            for position, event in events
            if isinstance(event, PriceSet)
        }
        cursor.execute(_UPSERT, (as_json(list(rows.values())),))


def _row(position: int, event: PriceSet) -> dict[str, Any]:
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
        "position": position,
        "recorded_at": event.recorded_at,
    }


async def prices(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    cursor: str | None = None,
    provider: str | None = None,
) -> dict[str, Any]:
    """A page of prices, last set first, with `next_cursor` where there are more.

    Raises Invalid where the cursor is not one that this listing gave out.
    """
    scope = paging.scope("prices", provider)
    values = {
        "before": paging.position_of(cursor, scope),
        "provider": provider,
        "limit": limit + 1,
    }
    rows = await rows_of(connection, _PAGE, values)
    return {
        "prices": [
            {**row, "recorded_at": answers.instant(row["recorded_at"])} for row in rows[:limit]
        ],
        "next_cursor": paging.next_cursor(rows, limit, scope),
    }
