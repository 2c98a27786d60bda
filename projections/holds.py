"""Holds: open and closed ones, for ever.

A hold whose time has run out is told as lapsed from that very moment on, whether its end is
written down yet or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from psycopg import AsyncConnection, Cursor

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.events import ACCOUNT_EVENTS, Event
from creditledger.projections.paging import page_of
from creditledger.projections.projection import BESIDE_ACCOUNTS, Projection, Recorded, as_json
from creditledger.projections.queries import rows_of

HoldStatus = Literal["open", "captured", "released", "lapsed"]

_HANDLED: Final = (e.Held, e.Deducted, e.Released)

_ENDINGS: Final[Mapping[e.ReleaseReason, HoldStatus]] = {
    "voided": "released",
    "lapsed": "lapsed",
    "remainder": "captured",
}

_INSERT: Final = """
    INSERT INTO holds SELECT * FROM json_populate_recordset(null::holds, %s::json)
"""

# `pinned`, `captured` and `released` are differences here. A hold with nothing left that was not
# released was captured; a closed hold changes no more, so its last change closed it.
_CHANGE: Final = """
    UPDATE holds
    SET pinned = holds.pinned + change.pinned,
        captured = holds.captured + change.captured,
        released = holds.released + change.released,
        status = CASE
            WHEN change.status <> 'open' THEN change.status
            WHEN holds.pinned + change.pinned = 0 THEN 'captured'
            ELSE 'open' END,
        closed_at = CASE
            WHEN change.status <> 'open' OR holds.pinned + change.pinned = 0
            THEN change.closed_at END
    FROM json_to_recordset(%s::json) AS change (
        account_id uuid, number bigint, pinned bigint, captured bigint, released bigint,
        status text, closed_at timestamptz)
    WHERE holds.account_id = change.account_id AND holds.number = change.number
"""

# A customer's holds, newest first; `before` is where the page before ended.
_PAGE: Final = """
    SELECT * FROM holds
    WHERE customer_id = %(customer_id)s AND position < %(before)s
      AND (%(asset)s::text IS NULL OR asset = %(asset)s)
      AND (%(status)s::text IS NULL
           OR CASE WHEN status = 'open' AND expires_at <= %(now)s THEN 'lapsed' ELSE status END
              = %(status)s)
    ORDER BY position DESC LIMIT %(limit)s
"""

# The same for open ones, which the index of open holds finds among many closed ones.
_PAGE_OF_OPEN: Final = """
    SELECT * FROM holds
    WHERE customer_id = %(customer_id)s AND position < %(before)s
      AND (%(asset)s::text IS NULL OR asset = %(asset)s)
      AND status = 'open' AND expires_at > %(now)s
    ORDER BY position DESC LIMIT %(limit)s
"""

_ONE: Final = "SELECT * FROM holds WHERE account_id = %(stream)s AND number = %(version)s"


class Holds(Projection):
    """One row for each hold, with what became of it."""

    name: ClassVar[str] = "holds"
    tables: ClassVar[tuple[str, ...]] = ("holds",)
    stream_column: ClassVar[str | None] = "account_id"
    handles: ClassVar[tuple[type[Event], ...]] = _HANDLED
    ignores: ClassVar[tuple[type[Event], ...]] = (
        *(kind for kind in ACCOUNT_EVENTS if kind not in _HANDLED),
        *BESIDE_ACCOUNTS,
    )

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Add up what captures and releases change, and write each row once."""
        opened: dict[tuple[UUID, int], dict[str, Any]] = {}
        changes: dict[tuple[UUID, int], dict[str, Any]] = {}
        for position, event in events:
            if isinstance(event, e.Held):
                opened[event.originator_id, event.originator_version] = _row(position, event)
            elif isinstance(event, (e.Released, e.Deducted)) and event.hold_id is not None:
                place = (event.originator_id, ids.version_of(event.hold_id))
                row = opened.get(place) or changes.setdefault(place, _no_change(*place))
                _change(row, event)
        if opened:
            for row in opened.values():
                _close_if_empty(row)
            cursor.execute(_INSERT, (as_json(list(opened.values())),))
        if changes:
            cursor.execute(_CHANGE, (as_json(list(changes.values())),))


def _row(position: int, event: e.Held) -> dict[str, Any]:
    return {
        "account_id": event.originator_id,
        "number": event.originator_version,
        "customer_id": event.customer_id,
        "asset": event.asset,
        "position": position,
        "amount": event.amount,
        "pinned": event.amount,
        "captured": 0,
        "released": 0,
        "lots": [{"grant_id": leg.grant_id, "amount": leg.amount} for leg in event.lots],
        "feature": event.feature,
        "expires_at": event.expires_at,
        "status": "open",
        "happened_at": event.context.happened_at,
        "recorded_at": event.recorded_at,
        "closed_at": None,
        "metadata": event.context.metadata,
    }


def _no_change(account: UUID, number: int) -> dict[str, Any]:
    return {
        "account_id": account,
        "number": number,
        "pinned": 0,
        "captured": 0,
        "released": 0,
        "status": "open",
    }


def _change(row: dict[str, Any], event: e.Deducted | e.Released) -> None:
    match event:
        case e.Deducted():
            row["pinned"] -= sum(leg.amount for leg in event.captured)
            row["captured"] += event.amount
        case e.Released():
            row["pinned"] -= event.amount
            row["released"] += event.amount
            row["status"] = _ENDINGS[event.reason]
    # A hold ends when its time runs out, however late that is noticed.
    lapsed_at = event.lapsed_at if isinstance(event, e.Released) else None
    row["closed_at"] = lapsed_at or event.recorded_at


def _close_if_empty(row: dict[str, Any]) -> None:
    if row["pinned"]:
        row["closed_at"] = None
    elif row["status"] == "open":
        row["status"] = "captured"


async def holds(
    connection: AsyncConnection[Any],
    customer_id: str,
    now: datetime,
    *,
    limit: int,
    cursor: str | None = None,
    asset: str | None = None,
    status: HoldStatus | None = None,
) -> dict[str, Any]:
    """A page of a customer's holds as they are at `now`, newest first.

    Raises Invalid where the cursor is not one that this listing gave out.
    """
    filters = {"customer_id": customer_id, "asset": asset, "status": status}
    statement = _PAGE_OF_OPEN if status == "open" else _PAGE
    rows, following = await page_of(
        connection, "holds", statement, filters, limit=limit, cursor=cursor, now=now
    )
    return {"holds": [_answer(row, now) for row in rows], "next_cursor": following}


async def hold(
    connection: AsyncConnection[Any], hold_id: str, now: datetime
) -> dict[str, Any] | None:
    """One hold as it is at `now`; None where the read model knows none of this id."""
    ref = ids.parse_event_id(ids.HOLD, hold_id)
    if ref is None:
        return None
    rows = await rows_of(connection, _ONE, ref._asdict())
    return _answer(rows[0], now) if rows else None


def _answer(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    lapsed = row["status"] == "open" and row["expires_at"] <= now
    return {
        "hold_id": ids.event_id(ids.HOLD, ids.stream_key(row["account_id"]), row["number"]),
        "customer_id": row["customer_id"],
        "asset": row["asset"],
        "status": "lapsed" if lapsed else row["status"],
        "amount": row["amount"],
        "held": 0 if lapsed else row["pinned"],
        "captured": row["captured"],
        "released": row["released"] + (row["pinned"] if lapsed else 0),
        "lots": row["lots"],
        "feature": row["feature"],
        "expires_at": answers.instant(row["expires_at"]),
        "closed_at": answers.instant(row["expires_at"] if lapsed else row["closed_at"]),
        "happened_at": answers.instant(row["happened_at"]),
        "recorded_at": answers.instant(row["recorded_at"]),
        "metadata": row["metadata"],
    }
