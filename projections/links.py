"""Links: whose each customer of a provider is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from psycopg import AsyncConnection, Cursor

from creditledger.domain import answers
from creditledger.domain.events import Event
from creditledger.domain.link import LINK_EVENTS, CustomerLinked, LinkClosed
from creditledger.projections.paging import page_of
from creditledger.projections.projection import Projection, Recorded, all_but, as_json

# A link that is said again is open again only where a person says it.
_LINK: Final = """
    INSERT INTO links
    SELECT * FROM json_populate_recordset(null::links, %s::json)
    ON CONFLICT (provider, provider_customer_id) DO UPDATE
    SET customer_id = excluded.customer_id, origin = excluded.origin,
        closed = links.closed AND excluded.origin <> 'hand', position = excluded.position,
        recorded_at = excluded.recorded_at
"""

_CLOSE: Final = """
    UPDATE links SET closed = true, position = %(position)s, recorded_at = %(recorded_at)s
    WHERE provider = %(provider)s AND provider_customer_id = %(provider_customer_id)s
"""

# Newest first.
_PAGE: Final = """
    SELECT * FROM links
    WHERE position < %(before)s
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(provider_customer_id)s::text IS NULL
           OR provider_customer_id = %(provider_customer_id)s)
      AND (%(customer_id)s::text IS NULL OR customer_id = %(customer_id)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


class Links(Projection):
    """Whose the providers' customers are."""

    name: ClassVar[str] = "links"
    tables: ClassVar[tuple[str, ...]] = ("links",)
    handles: ClassVar[tuple[type[Event], ...]] = LINK_EVENTS
    ignores: ClassVar[tuple[type[Event], ...]] = all_but(*LINK_EVENTS)

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Links are rare, so they are written one by one."""
        for position, event in events:
            match event:
                case CustomerLinked():
                    cursor.execute(_LINK, (as_json([_row(position, event)]),))
                case LinkClosed():
                    cursor.execute(_CLOSE, _row(position, event))


def _row(position: int, event: CustomerLinked | LinkClosed) -> dict[str, Any]:
    return {
        "provider": event.provider,
        "provider_customer_id": event.provider_customer_id,
        "customer_id": event.customer_id,
        "origin": event.origin if isinstance(event, CustomerLinked) else None,
        "closed": False,
        "position": position,
        "recorded_at": event.recorded_at,
    }


async def links(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    cursor: str | None = None,
    provider: str | None = None,
    provider_customer_id: str | None = None,
    customer_id: str | None = None,
) -> dict[str, Any]:
    """A page of links, last changed first, with `next_cursor` where there are more.

    Raises Invalid where the cursor is not one that this listing gave out.
    """
    filters = {
        "provider": provider,
        "provider_customer_id": provider_customer_id,
        "customer_id": customer_id,
    }
    rows, following = await page_of(connection, "links", _PAGE, filters, limit=limit, cursor=cursor)
    shown = [{**row, "recorded_at": answers.instant(row["recorded_at"])} for row in rows]
    return {"links": shown, "next_cursor": following}
