"""Subscriptions: what plan each customer has at a provider, and all that was told of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from psycopg import AsyncConnection, Cursor

from creditledger.domain import answers, ids
from creditledger.domain.events import Event
from creditledger.domain.subscription import (
    SUBSCRIPTION_EVENTS,
    SubscriptionReported,
    newness,
)
from creditledger.projections import paging
from creditledger.projections.projection import Projection, Recorded, all_but, as_json
from creditledger.projections.queries import rows_of

# A subscription keeps the place and the time of its first report.
_UPSERT: Final = """
    INSERT INTO subscriptions
    SELECT * FROM json_populate_recordset(null::subscriptions, %s::json)
    ON CONFLICT (stream) DO UPDATE
    SET provider_customer_id = excluded.provider_customer_id,
        customer_id = excluded.customer_id, status = excluded.status,
        price_id = excluded.price_id, quantity = excluded.quantity,
        cancel_at_period_end = excluded.cancel_at_period_end,
        current_period_start = excluded.current_period_start,
        current_period_end = excluded.current_period_end, started_at = excluded.started_at,
        trial_ends_at = excluded.trial_ends_at, ends_at = excluded.ends_at,
        ended = excluded.ended, ended_at = excluded.ended_at,
        pending_product_id = excluded.pending_product_id, as_of = excluded.as_of
"""

_INSERT_REPORTS: Final = """
    INSERT INTO subscription_reports
    SELECT * FROM json_populate_recordset(null::subscription_reports, %s::json)
"""

# Newest first; the reports of each, the one that stands last.
_PAGE: Final = """
    SELECT subscriptions.*, told.history
    FROM subscriptions
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(report ORDER BY newness) AS history
        FROM subscription_reports WHERE subscription_reports.stream = subscriptions.stream
    ) AS told
    WHERE position < %(before)s
      AND (%(stream)s::uuid IS NULL OR stream = %(stream)s)
      AND (%(customer_id)s::text IS NULL OR customer_id = %(customer_id)s)
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(provider_id)s::text IS NULL OR provider_id = %(provider_id)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


class Subscriptions(Projection):
    """Every subscription as its newest report says, and all reports."""

    name: ClassVar[str] = "subscriptions"
    tables: ClassVar[tuple[str, ...]] = ("subscriptions", "subscription_reports")
    stream_column: ClassVar[str | None] = "stream"
    handles: ClassVar[tuple[type[Event], ...]] = SUBSCRIPTION_EVENTS
    ignores: ClassVar[tuple[type[Event], ...]] = all_but(*SUBSCRIPTION_EVENTS)

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Keep every report; of each subscription, write the last one that stands."""
        rows: dict[UUID, dict[str, Any]] = {}
        reports = []
        for position, event in events:
            assert isinstance(event, SubscriptionReported)
            reports.append(_report(position, event))
            if event.stands:
                first = rows.get(event.originator_id, {})
                rows[event.originator_id] = {**_row(position, event), **_place(first)}
        if rows:
            cursor.execute(_UPSERT, (as_json(list(rows.values())),))
        cursor.execute(_INSERT_REPORTS, (as_json(reports),))


def _place(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("position", "recorded_at") if name in row}


def _row(position: int, event: SubscriptionReported) -> dict[str, Any]:
    return {
        "stream": event.originator_id,
        "position": position,
        "provider": event.provider,
        "provider_id": event.subscription_id,
        "provider_customer_id": event.provider_customer_id,
        "customer_id": event.customer_id,
        "recorded_at": event.recorded_at,
        **_said(event),
    }


def _report(position: int, event: SubscriptionReported) -> dict[str, Any]:
    return {
        "stream": event.originator_id,
        "number": event.originator_version,
        "newness": sort_key(newness(event.as_of, event.state)),
        "report": {
            **_said(event),
            "position": position,
            "recorded_at": answers.instant(event.recorded_at),
        },
    }


def _said(event: SubscriptionReported) -> dict[str, Any]:
    """What the provider said, and when."""
    state, period = event.state, event.state.current_period
    return {
        "as_of": answers.instant(event.as_of),
        "status": state.status,
        "price_id": state.price_id,
        "quantity": state.quantity,
        "cancel_at_period_end": state.cancel_at_period_end,
        "current_period_start": answers.instant(period.start if period else None),
        "current_period_end": answers.instant(period.end if period else None),
        "started_at": answers.instant(state.started_at),
        "trial_ends_at": answers.instant(state.trial_ends_at),
        "ends_at": answers.instant(state.ends_at),
        "ended": state.ended,
        "ended_at": answers.instant(state.ended_at),
        "pending_product_id": state.pending_product_id,
    }


#: Digits of the largest number in a sort key.
_DIGITS: Final = 19


def sort_key(order: Sequence[datetime | int | str]) -> str:
    """A text that sorts, byte by byte, as the tuple does: all parts but the last have one width.

    Numbers must be 0 or more.
    """
    return " ".join(_sortable(part) for part in order)


def _sortable(part: datetime | int | str) -> str:
    match part:
        case datetime():
            return part.astimezone(UTC).isoformat(timespec="microseconds")
        case int():
            return f"{part:0{_DIGITS}d}"
        case _:
            return part


_FILTERS: Final = ("stream", "customer_id", "status", "provider", "provider_id")


async def subscriptions(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    cursor: str | None = None,
    customer_id: str | None = None,
    status: str | None = None,
    provider: str | None = None,
    provider_id: str | None = None,
) -> dict[str, Any]:
    """A page of subscriptions, last begun first, with `next_cursor` where there are more.

    Raises Invalid where the cursor is not one that this listing gave out.
    """
    filters = (None, customer_id, status, provider, provider_id)
    asked = dict(zip(_FILTERS, filters, strict=True))
    rows, following = await paging.page_of(
        connection, "subscriptions", _PAGE, asked, limit=limit, cursor=cursor
    )
    return {"subscriptions": [_shown(row) for row in rows], "next_cursor": following}


async def subscription(
    connection: AsyncConnection[Any], subscription_id: str
) -> dict[str, Any] | None:
    """One subscription by its `sub_` id, or None where there is none."""
    stream = ids.parse_stream_id(ids.SUBSCRIPTION, subscription_id)
    if stream is None:
        return None
    values = {
        **dict.fromkeys(_FILTERS),
        "stream": stream,
        "before": paging.FROM_THE_NEWEST,
        "limit": 1,
    }
    rows = await rows_of(connection, _PAGE, values)
    return _shown(rows[0]) if rows else None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {
        name: answers.instant(value) if isinstance(value, datetime) else value
        for name, value in row.items()
        if name != "stream"
    }
    return {"subscription_id": ids.stream_id(ids.SUBSCRIPTION, row["stream"]), **shown}
