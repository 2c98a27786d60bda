"""Payments: what came at the providers, what it granted, and what was refunded of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from psycopg import AsyncConnection, Cursor

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.events import Event
from creditledger.domain.payment import PaymentStatus
from creditledger.domain.payment_events import (
    PAYMENT_EVENTS,
    PaymentEvent,
    PaymentGranted,
    PaymentRecorded,
    RefundReported,
    RefundTotalReported,
)
from creditledger.projections import paging
from creditledger.projections.projection import Projection, Recorded, all_but, as_json
from creditledger.projections.queries import rows_of

_FIND: Final = "SELECT * FROM payments WHERE stream = ANY(%s)"

_UPSERT: Final = """
    INSERT INTO payments
    SELECT * FROM json_populate_recordset(null::payments, %s::json)
    ON CONFLICT (stream) DO UPDATE
    SET customer_id = excluded.customer_id, status = excluded.status,
        refunded = excluded.refunded, lines = excluded.lines, refunds = excluded.refunds
"""

_INSERT_GRANTS: Final = """
    INSERT INTO payment_grants
    SELECT * FROM json_populate_recordset(null::payment_grants, %s::json)
"""

# Amounts are differences here; grants that no payment made have no row.
_CHANGE_GRANTS: Final = """
    UPDATE payment_grants SET revoked = payment_grants.revoked + change.revoked
    FROM json_populate_recordset(null::payment_grants, %s::json) AS change
    WHERE payment_grants.account_id = change.account_id
      AND payment_grants.number = change.number
"""

# Newest first.
_PAGE: Final = """
    SELECT payments.*, coalesce(made.grants, '[]') AS grants
    FROM payments
    LEFT JOIN LATERAL (
        SELECT jsonb_agg(
            jsonb_build_object(
                'account_id', account_id, 'number', number, 'asset', asset,
                'granted', granted, 'revoked', revoked
            ) ORDER BY number
        ) AS grants
        FROM payment_grants WHERE payment_grants.payment = payments.stream
    ) AS made ON true
    WHERE position < %(before)s
      AND (%(stream)s::uuid IS NULL OR stream = %(stream)s)
      AND (%(customer_id)s::text IS NULL OR customer_id = %(customer_id)s)
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(provider_id)s::text IS NULL OR provider_id = %(provider_id)s)
      AND (%(since)s::timestamptz IS NULL OR paid_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR paid_at < %(until)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


class Payments(Projection):
    """Every payment as of its last event."""

    name: ClassVar[str] = "payments"
    tables: ClassVar[tuple[str, ...]] = ("payments", "payment_grants")
    handles: ClassVar[tuple[type[Event], ...]] = (*PAYMENT_EVENTS, e.Revoked, e.Reinstated)
    ignores: ClassVar[tuple[type[Event], ...]] = all_but(*handles)

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Fold each payment's events into its row, and write each row once."""
        told = [(position, event) for position, event in events if isinstance(event, PaymentEvent)]
        if told:
            rows = _stored(cursor, {event.originator_id for _, event in told})
            for position, event in told:
                _take_in(rows, position, event)
            cursor.execute(_UPSERT, (as_json(list(rows.values())),))
        made = [
            row for _, event in told if isinstance(event, PaymentGranted) for row in _grants(event)
        ]
        if made:
            cursor.execute(_INSERT_GRANTS, (as_json(made),))
        changes = _changes(event for _, event in events)
        if changes:
            cursor.execute(_CHANGE_GRANTS, (as_json(changes),))


def _stored(cursor: Cursor[Any], streams: Iterable[UUID]) -> dict[UUID, dict[str, Any]]:
    cursor.execute(_FIND, (list(streams),))
    names = [column.name for column in cursor.description or ()]
    rows = (dict(zip(names, row, strict=True)) for row in cursor.fetchall())
    return {row["stream"]: row for row in rows}


def _take_in(rows: dict[UUID, dict[str, Any]], position: int, event: PaymentEvent) -> None:
    if isinstance(event, PaymentRecorded):
        rows[event.originator_id] = _recorded(position, event)
    row = rows[event.originator_id]
    row["customer_id"] = event.customer_id
    match event:
        case PaymentGranted():
            row["status"] = "paid"
            row["lines"] = [
                {
                    "price_id": line.price_id,
                    "quantity": line.quantity,
                    "asset": line.asset,
                    "credits": line.credits,
                }
                for line in event.lines
            ]
        case RefundReported():
            row["refunded"] = event.refunded
            others = [r for r in row["refunds"] if r["refund_id"] != event.refund_id]
            row["refunds"] = [*others, _refund(event)]
        case RefundTotalReported():
            row["refunded"] = event.refunded
    if row["status"] != "parked":
        row["status"] = _status(row)


def _recorded(position: int, event: PaymentRecorded) -> dict[str, Any]:
    total = event.refund_total
    return {
        "stream": event.originator_id,
        "position": position,
        "provider": event.provider,
        "provider_id": event.provider_id,
        "provider_customer_id": event.provider_customer_id,
        "customer_id": event.customer_id,
        "status": "parked",
        "paid": event.paid.amount,
        "currency": event.paid.currency,
        "refunded": 0 if total is None else total.amount,
        "lines": [],
        "refunds": [],
        "paid_at": event.paid_at,
        "recorded_at": event.recorded_at,
    }


def _refund(event: RefundReported) -> dict[str, Any]:
    return {
        "refund_id": event.refund_id,
        "amount": event.amount.amount,
        "currency": event.amount.currency,
        "status": event.status,
    }


def _status(row: dict[str, Any]) -> str:
    if row["refunded"] == 0:
        return "paid"
    return "refunded" if row["refunded"] >= row["paid"] else "partially_refunded"


def _grants(event: PaymentGranted) -> list[dict[str, Any]]:
    rows = []
    for grant in event.grants:
        ref = ids.parse_event_id(ids.GRANT, grant.grant_id)
        assert ref is not None
        rows.append(
            {
                "account_id": ref.stream,
                "number": ref.version,
                "payment": event.originator_id,
                "asset": grant.asset,
                "granted": grant.amount,
                "revoked": 0,
            }
        )
    return rows


def _changes(events: Iterable[Event]) -> list[dict[str, Any]]:
    changed: dict[tuple[UUID, int], int] = {}
    for event in events:
        if isinstance(event, e.Revoked | e.Reinstated):
            sign = 1 if isinstance(event, e.Revoked) else -1
            place = (event.originator_id, ids.version_of(event.grant_id))
            changed[place] = changed.get(place, 0) + sign * event.amount
    return [
        {"account_id": account, "number": number, "revoked": revoked}
        for (account, number), revoked in changed.items()
        if revoked
    ]


_FILTERS: Final = (
    "stream",
    "customer_id",
    "status",
    "provider",
    "provider_id",
    "since",
    "until",
)


async def payments(
    connection: AsyncConnection[Any],
    *,
    limit: int,
    cursor: str | None = None,
    customer_id: str | None = None,
    status: PaymentStatus | None = None,
    provider: str | None = None,
    provider_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, Any]:
    """A page of payments, newest first, with `next_cursor` where there are more.

    `since` and `until` (exclusive) bound when they were paid. Raises Invalid where the cursor is
    not one that this listing gave out.
    """
    filters = (None, customer_id, status, provider, provider_id, since, until)
    scope = paging.scope("payments", *filters)
    values = {
        **dict(zip(_FILTERS, filters, strict=True)),
        "before": paging.position_of(cursor, scope),
        "limit": limit + 1,
    }
    rows = await rows_of(connection, _PAGE, values)
    return {
        "payments": [_shown(row) for row in rows[:limit]],
        "next_cursor": paging.next_cursor(rows, limit, scope),
    }


async def payment(connection: AsyncConnection[Any], payment_id: str) -> dict[str, Any] | None:
    """One payment by its `pay_` id, or None where there is none."""
    stream = ids.parse_stream_id(ids.PAYMENT, payment_id)
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
    grants = [
        {
            "grant_id": ids.event_id(
                ids.GRANT, ids.stream_key(UUID(made["account_id"])), made["number"]
            ),
            "asset": made["asset"],
            "granted": made["granted"],
            "revoked": made["revoked"],
        }
        for made in row["grants"]
    ]
    # Amounts of several assets are not added up: then each grant says its own.
    single = len({grant["asset"] for grant in grants}) <= 1
    return {
        **{name: row[name] for name in _SHOWN},
        "payment_id": ids.stream_id(ids.PAYMENT, row["stream"]),
        "paid_at": answers.instant(row["paid_at"]),
        "recorded_at": answers.instant(row["recorded_at"]),
        # No dispute is booked yet.
        "disputed": 0,
        "disputes": [],
        "granted": sum(grant["granted"] for grant in grants) if single else None,
        "revoked": sum(grant["revoked"] for grant in grants) if single else None,
        "grants": grants,
    }


_SHOWN: Final = (
    "position",
    "provider",
    "provider_id",
    "provider_customer_id",
    "customer_id",
    "status",
    "paid",
    "refunded",
    "currency",
    "lines",
    "refunds",
)
