"""Refusals: who was refused what, why, and what was there then.

They stand in the receipts, which are stored with the events and are no projection's rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from creditledger.domain import ids
from creditledger.domain.answers import instant
from creditledger.domain.receipt import told_and_asked
from creditledger.projections import paging
from creditledger.projections.queries import rows_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# A customer's refusals, newest first; `before` and `last` are where the page before ended.
_REFUSALS: Final = """
    SELECT * FROM receipts
    WHERE customer_id = %(customer_id)s AND outcome <> 'accepted'
      AND (%(asset)s::text IS NULL OR asset = %(asset)s)
      AND (%(code)s::text IS NULL OR outcome = %(code)s)
      AND (%(before)s::timestamptz IS NULL
           OR recorded_at <= %(before)s
              AND (recorded_at < %(before)s OR receipt_id > %(last)s))
    ORDER BY recorded_at DESC, receipt_id LIMIT %(limit)s
"""


async def refusals(
    connection: AsyncConnection[Any],
    customer_id: str,
    *,
    limit: int,
    cursor: str | None = None,
    asset: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """A page of a customer's refused commands, newest first, with `next_cursor`.

    Raises Invalid where the cursor is not one that this listing gave out.
    """
    scope = paging.scope("refusals", customer_id, asset, code)
    before, last = _place(paging.place_of(cursor, scope))
    values = {
        "customer_id": customer_id,
        "asset": asset,
        "code": code,
        "before": before,
        "last": last,
        "limit": limit + 1,
    }
    rows = await rows_of(connection, _REFUSALS, values)
    more = len(rows) > limit
    return {
        "refusals": [_answer(row) for row in rows[:limit]],
        "next_cursor": paging.cursor_at(_place_after(rows[limit - 1]), scope) if more else None,
    }


def _place_after(row: Mapping[str, Any]) -> str:
    return f"{(row['recorded_at'] - _EPOCH) // _MICROSECOND}.{row['receipt_id'].hex}"


def _place(text: str | None) -> tuple[datetime | None, UUID | None]:
    if text is None:
        return None, None
    microseconds, receipt_id = text.split(".")
    return _EPOCH + int(microseconds) * _MICROSECOND, UUID(receipt_id)


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    answer, asked = told_and_asked(msgspec.json.decode(row["answer"]))
    return {
        "receipt_id": ids.stream_id(ids.RECEIPT, row["receipt_id"]),
        "idempotency_key": row["key"],
        "command": row["command"],
        "customer_id": row["customer_id"],
        "asset": row["asset"],
        "outcome": row["outcome"],
        "asked": asked,
        "answer": answer,
        "position": row["position"],
        "recorded_at": instant(row["recorded_at"]),
    }
