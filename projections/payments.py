"""Payments: what came at the providers, what it granted, and what was taken back of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, ClassVar, Final
from uuid import UUID

from psycopg import AsyncConnection, Cursor

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.events import Event
from creditledger.domain.payment import PaymentStatus, granted_status
from creditledger.domain.payment_events import (
    PAYMENT_EVENTS,
    DisputeReported,
    PaidLine,
    PaymentEvent,
    PaymentGranted,
    PaymentReallotted,
    PaymentRecorded,
    PaymentRedated,
    PaymentTied,
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
        refunded = excluded.refunded, disputed = excluded.disputed, lines = excluded.lines,
        refunds = excluded.refunds, disputes = excluded.disputes, paid_at = excluded.paid_at
"""

# What was revoked of a grant is not forgotten when its payment says anew what is its own.
_UPSERT_GRANTS: Final = """
    INSERT INTO payment_grants
    SELECT * FROM json_populate_recordset(null::payment_grants, %s::json)
    ON CONFLICT (account_id, number) DO UPDATE SET withdrawn = excluded.withdrawn
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
                'granted', granted, 'revoked', revoked, 'withdrawn', withdrawn
            ) ORDER BY asset, number
        ) AS grants
        FROM payment_grants WHERE payment_grants.payment = payments.stream
    ) AS made ON true
    WHERE position < %(before)s
      AND (%(stream)s::uuid IS NULL OR stream = %(stream)s)
      AND (%(customer_id)s::text IS NULL OR customer_id = %(customer_id)s)
      AND (%(subscription)s::uuid IS NULL OR subscription = %(subscription)s)
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
        told = [
            (position, event)
            for position, event in events
            # A tie alone makes no payment.
            if isinstance(event, PaymentEvent) and not isinstance(event, PaymentTied)
        ]
        if told:
            rows = _stored(cursor, {event.originator_id for _, event in told})
            for position, event in told:
                _take_in(rows, position, event)
            cursor.execute(_UPSERT, (as_json(list(rows.values())),))
        made = {
            (row["account_id"], row["number"]): row
            for _, event in told
            if isinstance(event, PaymentGranted | PaymentReallotted)
            for row in _grants(event)
        }
        if made:
            cursor.execute(_UPSERT_GRANTS, (as_json(list(made.values())),))
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
        case PaymentRedated():
            row["paid_at"] = event.paid_at
        case PaymentGranted():
            row["status"] = "paid"
            row["lines"] = [_line(line) for line in event.lines]
        case RefundReported():
            row["refunded"] = event.refunded
            row["refunds"] = _with(row["refunds"], _refund(event), "refund_id")
        case RefundTotalReported():
            row["refunded"] = event.refunded
        case DisputeReported():
            row["disputed"] = event.disputed
            row["disputes"] = _with(row["disputes"], _dispute(event), "dispute_id")
    if row["status"] != "parked":
        standings = {dispute["standing"] for dispute in row["disputes"]}
        row["status"] = granted_status(row["paid"], row["refunded"], standings)


def _with(known: Iterable[dict[str, Any]], told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Reports by their ids, in the order of these: the order of the news shows nowhere."""
    return sorted((*(r for r in known if r[name] != told[name]), told), key=itemgetter(name))


def _recorded(position: int, event: PaymentRecorded) -> dict[str, Any]:
    total = event.refund_total
    subscription = None
    if event.subscription_id is not None:
        subscription = ids.subscription_stream(event.provider, event.subscription_id)
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
        "disputed": 0,
        "lines": [],
        "refunds": [],
        "disputes": [],
        "subscription": subscription,
        "paid_at": event.paid_at,
        "recorded_at": event.recorded_at,
    }


def _line(line: PaidLine) -> dict[str, Any]:
    period = line.period
    return {
        "price_id": line.price_id,
        "quantity": line.quantity,
        "asset": line.asset,
        "credits": line.credits,
        "period": period
        and {"start": answers.instant(period.start), "end": answers.instant(period.end)},
        "proration": line.proration,
    }


def _refund(event: RefundReported) -> dict[str, Any]:
    return {
        "refund_id": event.refund_id,
        "amount": event.amount.amount,
        "currency": event.amount.currency,
        "status": event.status,
    }


def _dispute(event: DisputeReported) -> dict[str, Any]:
    return {
        "dispute_id": event.dispute_id,
        "amount": event.amount.amount,
        "currency": event.amount.currency,
        "standing": event.standing,
        "status": event.status,
        "as_of": answers.instant(event.as_of),
    }


def _grants(event: PaymentGranted | PaymentReallotted) -> list[dict[str, Any]]:
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
                "withdrawn": grant.withdrawn,
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
    "subscription",
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
    subscription_id: str | None = None,
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
    subscription = None
    if subscription_id is not None:
        # What is no such id is nobody's.
        subscription = ids.parse_stream_id(ids.SUBSCRIPTION, subscription_id) or UUID(int=0)
    filters = (None, customer_id, subscription, status, provider, provider_id, since, until)
    asked = dict(zip(_FILTERS, filters, strict=True))
    rows, following = await paging.page_of(
        connection, "payments", _PAGE, asked, limit=limit, cursor=cursor
    )
    return {"payments": [_shown(row) for row in rows], "next_cursor": following}


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
    grants = _shown_grants(row["grants"])
    # Amounts of several assets are not added up: then each grant says its own.
    single = len({grant["asset"] for grant in grants}) <= 1
    subscription = row["subscription"]
    return {
        **{name: row[name] for name in _SHOWN},
        "payment_id": ids.stream_id(ids.PAYMENT, row["stream"]),
        "subscription_id": subscription and ids.stream_id(ids.SUBSCRIPTION, subscription),
        "paid_at": answers.instant(row["paid_at"]),
        "recorded_at": answers.instant(row["recorded_at"]),
        "granted": sum(grant["granted"] for grant in grants) if single else None,
        "revoked": sum(grant["revoked"] for grant in grants) if single else None,
        "grants": grants,
    }


def _shown_grants(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is the payment's of each grant, and what of that is revoked.

    What was withdrawn is revoked, too; where another grant of the asset was revoked in its stead,
    it is not counted there.
    """
    instead = Counter[str]()
    for made in rows:
        instead[made["asset"]] += max(0, made["withdrawn"] - made["revoked"])
    grants = []
    for made in rows:
        revoked = max(0, made["revoked"] - made["withdrawn"])
        elsewhere = min(revoked, instead[made["asset"]])
        instead[made["asset"]] -= elsewhere
        key = ids.stream_key(UUID(made["account_id"]))
        grants.append(
            {
                "grant_id": ids.event_id(ids.GRANT, key, made["number"]),
                "asset": made["asset"],
                "granted": made["granted"] - made["withdrawn"],
                "revoked": revoked - elsewhere,
                "withdrawn": made["withdrawn"],
            }
        )
    return grants


_SHOWN: Final = (
    "position",
    "provider",
    "provider_id",
    "provider_customer_id",
    "customer_id",
    "status",
    "paid",
    "refunded",
    "disputed",
    "currency",
    "lines",
    "refunds",
    "disputes",
)
