"""Links: whose each customer of a provider is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from psycopg import AsyncConnection, Cursor
from psycopg.rows import dict_row

from creditledger.domain.events import ACCOUNT_EVENTS, TRAIL_EVENTS, Event
from creditledger.domain.link import LINK_EVENTS, CustomerLinked, LinkClosed
from creditledger.domain.payment import PAYMENT_EVENTS
from creditledger.domain.price import PRICE_EVENTS
from creditledger.projections.projection import Projection, Recorded, as_json

# A link that is said again is open again only where a person says it.
_LINK: Final = """
    INSERT INTO links
    SELECT * FROM json_populate_recordset(null::links, %s::json)
    ON CONFLICT (provider, provider_customer_id) DO UPDATE
    SET customer_id = excluded.customer_id, origin = excluded.origin,
        closed = links.closed AND excluded.origin <> 'hand', recorded_at = excluded.recorded_at
"""

_CLOSE: Final = """
    UPDATE links SET closed = true, recorded_at = %(recorded_at)s
    WHERE provider = %(provider)s AND provider_customer_id = %(provider_customer_id)s
"""

_LIST: Final = """
    SELECT * FROM links
    WHERE (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(customer_id)s::text IS NULL OR customer_id = %(customer_id)s)
      AND (%(after_provider)s::text IS NULL
           OR (provider, provider_customer_id) > (%(after_provider)s, %(after_customer)s))
    ORDER BY provider, provider_customer_id
    LIMIT %(limit)s
"""


class Links(Projection):
    """Whose the providers' customers are."""

    name: ClassVar[str] = "links"
    tables: ClassVar[tuple[str, ...]] = ("links",)
    handles: ClassVar[tuple[type[Event], ...]] = LINK_EVENTS
    ignores: ClassVar[tuple[type[Event], ...]] = (
        *ACCOUNT_EVENTS,
        *TRAIL_EVENTS,
        *PAYMENT_EVENTS,
        *PRICE_EVENTS,
    )

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Links are rare, so they are written one by one."""
        for _, event in events:
            match event:
                case CustomerLinked():
                    cursor.execute(_LINK, (as_json([_row(event)]),))
                case LinkClosed():
                    cursor.execute(_CLOSE, _row(event))


def _row(event: CustomerLinked | LinkClosed) -> dict[str, Any]:
    return {
        "provider": event.provider,
        "provider_customer_id": event.provider_customer_id,
        "customer_id": event.customer_id,
        "origin": event.origin if isinstance(event, CustomerLinked) else None,
        "closed": False,
        "recorded_at": event.recorded_at,
    }


async def links(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    provider: str | None = None,
    customer_id: str | None = None,
    after: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Links by provider and its customer's id, from after the given one on."""
    after_provider, after_customer = after or (None, None)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            _LIST,
            {
                "limit": limit,
                "provider": provider,
                "customer_id": customer_id,
                "after_provider": after_provider,
                "after_customer": after_customer,
            },
        )
        return await cursor.fetchall()
