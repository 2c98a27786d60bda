"""The record of deliveries, whatever stream they came by: what came of each, and another try."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from psycopg import AsyncConnection

from creditledger.domain import answers
from creditledger.infra.database import Pool
from creditledger.infra.delivery import DeliveryStatus
from creditledger.infra.delivery_table import CHANNEL, TRY_AGAIN
from creditledger.infra.event_log import reaching
from creditledger.projections.paging import page_of
from creditledger.projections.queries import rows_of

#: Numbers of deliveries by their status and reason, which is empty where there is none.
Counts = Mapping[tuple[DeliveryStatus, str], int]

_COLUMNS: Final = """
    delivery_id, sequence, provider, provider_delivery_id, type, status, reason, detail,
    waits_for, payment, position, tries, received_at, due_at, settled_at
"""

# Newest first.
_PAGE: Final = f"""
    SELECT {_COLUMNS}
    FROM webhook_deliveries
    WHERE sequence < %(before)s
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(reason)s::text IS NULL OR reason = %(reason)s)
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(provider_delivery_id)s::text IS NULL
           OR provider_delivery_id = %(provider_delivery_id)s)
    ORDER BY sequence DESC
    LIMIT %(limit)s
"""  # noqa: S608 - the columns are those above

_FIND: Final = f"""
    SELECT {_COLUMNS}, trace, headers, body
    FROM webhook_deliveries
    WHERE delivery_id = %(delivery_id)s
"""  # noqa: S608 - the columns are those above

# What nobody decided yet, or nobody can.
_OPEN: Final = """
    SELECT status, reason, count(*)
    FROM webhook_deliveries
    WHERE status IN ('received', 'parked', 'failed')
    GROUP BY status, reason
"""

# Whatever came of it before, it is tried again as if it were new.
_REPLAY: Final = f"""
    UPDATE webhook_deliveries
    SET {TRY_AGAIN}, faults = 0
    WHERE delivery_id = %s
    RETURNING pg_notify(%s, delivery_id)
"""  # noqa: S608 - what is set stands there

_REPLAY_ALL: Final = f"""
    UPDATE webhook_deliveries
    SET {TRY_AGAIN}, faults = 0
    WHERE status IN ('parked', 'failed') AND reason = %s
"""  # noqa: S608 - what is set stands there

# What is settled for good, and old; what waits or failed stays until somebody decides.
_CLEAN: Final = """
    DELETE FROM webhook_deliveries
    WHERE delivery_id = ANY (ARRAY(
        SELECT delivery_id
        FROM webhook_deliveries
        WHERE status IN ('done', 'ignored') AND settled_at < now() - %s
        ORDER BY settled_at
        LIMIT %s
        FOR UPDATE SKIP LOCKED
    ))
"""

#: Deliveries that are deleted in one transaction: however many have become old at once, nobody
#: waits long for what it holds.
CLEANED_AT_ONCE: Final = 500


def clean(pool: Pool, retention: timedelta) -> int:
    """Delete some deliveries that were done or ignored longer ago than this; return how many.

    Fewer than CLEANED_AT_ONCE were the last of them. Raises Unavailable.
    """
    with reaching(pool) as connection:
        return connection.execute(_CLEAN, (retention, CLEANED_AT_ONCE)).rowcount


async def open_deliveries(connection: AsyncConnection[Any]) -> Counts:
    """How many deliveries are in the table and not booked, by status and reason."""
    rows = await (await connection.execute(_OPEN)).fetchall()
    return {(status, reason or ""): count for status, reason, count in rows}


async def deliveries(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    cursor: str | None = None,
    status: DeliveryStatus | None = None,
    reason: str | None = None,
    provider: str | None = None,
    provider_delivery_id: str | None = None,
) -> dict[str, Any]:
    """A page of deliveries without their bodies, newest first, with `next_cursor`.

    Raises Invalid where the cursor is not one that this listing gave out.
    """
    filters = {
        "status": status,
        "reason": reason,
        "provider": provider,
        "provider_delivery_id": provider_delivery_id,
    }
    rows, following = await page_of(
        connection, "deliveries", _PAGE, filters, limit=limit, cursor=cursor, by="sequence"
    )
    return {"webhooks": [_shown(row) for row in rows], "next_cursor": following}


async def delivery(connection: AsyncConnection[Any], delivery_id: str) -> dict[str, Any] | None:
    """One delivery with its headers, its body as text and where its last try failed, or None."""
    rows = await rows_of(connection, _FIND, {"delivery_id": delivery_id})
    if not rows:
        return None
    row = rows[0]
    return {
        **_shown(row),
        "trace": row["trace"],
        "headers": row["headers"],
        "body": bytes(row["body"]).decode(),
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in _SHOWN},
        **{name: answers.instant(row[name]) for name in ("received_at", "due_at", "settled_at")},
    }


_SHOWN: Final = (
    "delivery_id",
    "provider",
    "provider_delivery_id",
    "type",
    "status",
    "reason",
    "detail",
    "waits_for",
    "payment",
    "position",
    "tries",
)


async def replay(connection: AsyncConnection[Any], delivery_id: str) -> bool:
    """Have a delivery tried again, soon; False where there is none with this id."""
    return (await connection.execute(_REPLAY, (delivery_id, CHANNEL))).rowcount == 1


async def replay_all(connection: AsyncConnection[Any], reason: str) -> int:
    """Have all deliveries tried again that are parked or failed for a reason; return how many."""
    return (await connection.execute(_REPLAY_ALL, (reason,))).rowcount
