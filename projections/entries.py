"""Entries: the history of accounts as people read it, one line for each event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from struct import Struct
from typing import Any, ClassVar, Final

from psycopg import AsyncConnection

from creditledger.domain import answers, ids
from creditledger.domain import events as e
from creditledger.domain.events import ACCOUNT_EVENTS, AccountEvent, Context, Event
from creditledger.domain.ids import EventRef
from creditledger.projections.copying import (
    NULL,
    CopiedTable,
    Packed,
    jsonb_of_names,
    microseconds,
    repeated_text,
    text,
    timestamptz,
)
from creditledger.projections.entry_lines import (
    Line,
    is_plain,
    line_of,
    plain_deduction,
)
from creditledger.projections.paging import page_of
from creditledger.projections.projection import (
    BESIDE_ACCOUNTS,
    AppendedProjection,
    Recorded,
)
from creditledger.projections.queries import rows_of

_ENTRIES: Final = CopiedTable(
    "entries",
    *("account_id", "version", "position"),
    *("customer_id", "asset", "kind"),
    *("amount", "total_after", "available_after"),
    *("feature", "lots", "details"),
    *("actor", "causation_id", "correlation_id", "happened_at", "recorded_at", "metadata", "lot"),
)

_SUBJECTS: Final = CopiedTable("entry_subjects", "account_id", "number", "version")

#: How a row begins: the number of its columns, then a uuid and two bigints with their lengths.
_PLACE: Final = Struct("!hi16siqiq").pack
_ENTRY_COLUMNS: Final = 19
_SUBJECT_COLUMNS: Final = 3

#: Features with actors, and assets, whose columns are at hand. Those of customers are not: to find
#: one among thousands takes longer than to pack it anew.
_KEPT: Final = 16_384

#: How most rows end: happened and recorded at, no metadata, and a lot.
_PLAIN_END: Final = Struct("!iqiqiiq").pack

#: One bigint, and three.
_LOT: Final = Struct("!iq").pack
_AMOUNTS: Final = Struct("!iqiqiq").pack

# A customer's entries, newest first; `before` is where the page before ended.
_PAGE: Final = """
    SELECT * FROM entries
    WHERE customer_id = %(customer_id)s AND position < %(before)s
      AND (%(asset)s::text IS NULL OR asset = %(asset)s)
      AND (%(kind)s::text IS NULL OR kind = %(kind)s)
      AND (%(feature)s::text IS NULL OR feature = %(feature)s)
      AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
    ORDER BY position DESC LIMIT %(limit)s
"""

_ONE: Final = "SELECT * FROM entries WHERE account_id = %(stream)s AND version = %(version)s"

# What happened to a grant, hold or deduction, newest first. Plain deductions name their lot; theirs
# is the only index in this order, or a rare lot would be looked for among all that there is.
_HISTORY: Final = """
    (SELECT * FROM entries
     WHERE account_id = %(stream)s AND lot IS NOT NULL
       AND (lot, version) > (%(number)s, 0) AND (lot, version) < (%(number)s, %(before)s)
     ORDER BY lot DESC, version DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT entries.*
     FROM entry_subjects JOIN entries USING (account_id, version)
     WHERE account_id = %(stream)s AND number = %(number)s AND version < %(before)s
     ORDER BY version DESC LIMIT %(limit)s)
    ORDER BY version DESC LIMIT %(limit)s
"""

# How much of a deduction was given back.
_REFUNDED: Final = """
    SELECT coalesce(sum((details ->> 'refunded')::bigint), 0)
    FROM entry_subjects JOIN entries USING (account_id, version)
    WHERE account_id = %(stream)s AND number = %(version)s AND kind = 'refund'
"""


class Entries(AppendedProjection):
    """One row for each event of an account, and what each of them concerns."""

    name: ClassVar[str] = "entries"
    version: ClassVar[int] = 2
    tables: ClassVar[tuple[str, ...]] = ("entries", "entry_subjects")
    stream_column: ClassVar[str] = "account_id"
    handles: ClassVar[tuple[type[Event], ...]] = ACCOUNT_EVENTS
    ignores: ClassVar[tuple[type[Event], ...]] = BESIDE_ACCOUNTS

    def rows(self, events: Sequence[Recorded]) -> Iterable[tuple[CopiedTable, Sequence[Packed]]]:
        """One line for each event, and the numbers of what it concerns."""
        lines: list[Packed] = []
        subjects: list[Packed] = []
        for position, event in events:
            if type(event) is e.Deducted and is_plain(event) and _says_no_more(event.context):
                lines.append(_plain_row(position, event))
                continue
            assert isinstance(event, AccountEvent)
            line = line_of(event)
            account, version = event.originator_id.int.to_bytes(16), event.originator_version
            place = _PLACE(_ENTRY_COLUMNS, 16, account, 8, version, 8, position)
            lines.append(place + _facts(event, line))
            for number in line.subjects:
                subjects.append(_PLACE(_SUBJECT_COLUMNS, 16, account, 8, number, 8, version))
        return (_ENTRIES, lines), (_SUBJECTS, subjects)


def _says_no_more(context: Context) -> bool:
    """Whether an event's columns but the commonest are NULL."""
    return context.happened_at is None and context.metadata is None


def _plain_row(position: int, event: e.Deducted) -> Packed:
    """The row of a plain deduction that says no more: most are, so it is packed in few steps."""
    context, after, version = event.context, event.after, event.originator_version
    account = event.originator_id.int.to_bytes(16)
    cause, correlation = context.causation_id, context.correlation_id
    packed_cause = text(cause)
    at = microseconds(event.recorded_at)
    return b"".join(
        (
            _PLACE(_ENTRY_COLUMNS, 16, account, 8, version, 8, position),
            text(event.customer_id),
            _of_plain_kind(event.asset),
            _AMOUNTS(8, -event.amount, 8, after.total, 8, after.available),
            _of_plain(event.feature, context.actor),
            packed_cause,
            packed_cause if correlation == cause else text(correlation),
            _PLAIN_END(8, at, 8, at, -1, 8, ids.version_of(event.lots[0].grant_id)),
        )
    )


@lru_cache(_KEPT)
def _of_plain(feature: str | None, actor: str) -> Packed:
    """From the feature to the actor: plain deductions have no lots or details of their own."""
    return text(feature) + NULL + NULL + text(actor)


@lru_cache(_KEPT)
def _of_plain_kind(asset: str) -> Packed:
    """The asset and the kind."""
    return text(asset) + text("deduction")


def _facts(event: AccountEvent, line: Line) -> Packed:
    """The columns of an entry after those that say where it stands."""
    context, after = event.context, event.after
    recorded_at = timestamptz(event.recorded_at)
    happened_at = context.happened_at or line.happened_at
    cause, correlation = context.causation_id, context.correlation_id
    packed_cause = text(cause)
    return b"".join(
        (
            text(event.customer_id),
            repeated_text(event.asset),
            repeated_text(line.kind),
            _AMOUNTS(8, line.amount, 8, after.total, 8, after.available),
            repeated_text(line.feature),
            line.lots,
            line.details,
            repeated_text(context.actor),
            packed_cause,
            # Where a caller ties nothing together, it is the same.
            packed_cause if correlation == cause else text(correlation),
            timestamptz(happened_at) if happened_at else recorded_at,
            recorded_at,
            jsonb_of_names(context.metadata),
            NULL if line.lot is None else _LOT(8, line.lot),
        )
    )


async def entries(
    connection: AsyncConnection[Any],
    customer_id: str,
    *,
    limit: int,
    cursor: str | None = None,
    asset: str | None = None,
    kind: str | None = None,
    feature: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, Any]:
    """A page of a customer's entries, newest first, with `next_cursor` where there are more.

    `since` and `until` (exclusive) bound when they were recorded. Raises Invalid where the cursor
    is not one that this listing gave out.
    """
    filters = {
        "customer_id": customer_id,
        "asset": asset,
        "kind": kind,
        "feature": feature,
        "since": since,
        "until": until,
    }
    rows, following = await page_of(
        connection, "entries", _PAGE, filters, limit=limit, cursor=cursor
    )
    return {"entries": [entry_answer(row) for row in rows], "next_cursor": following}


async def entry(connection: AsyncConnection[Any], ref: EventRef) -> dict[str, Any] | None:
    """The entry of one event of an account, where the read model knows it."""
    rows = await rows_of(connection, _ONE, ref._asdict())
    return entry_answer(rows[0]) if rows else None


async def history(
    connection: AsyncConnection[Any], subject: EventRef, *, limit: int, cursor: str | None = None
) -> dict[str, Any]:
    """A page of what happened to a grant, hold or deduction, newest first, with `next_cursor`.

    Raises Invalid where the cursor is not one that the history of this very thing gave out.
    """
    filters = {"stream": subject.stream, "number": subject.version}
    rows, following = await page_of(
        connection, "history", _HISTORY, filters, limit=limit, cursor=cursor, by="version"
    )
    return {"history": [entry_answer(row) for row in rows], "next_cursor": following}


async def deduction(connection: AsyncConnection[Any], deduction_id: str) -> dict[str, Any] | None:
    """A deduction and how much of it was refunded; None where the read model knows none."""
    ref = ids.parse_event_id(ids.DEDUCTION, deduction_id)
    found = None if ref is None else await entry(connection, ref)
    if ref is None or found is None or found["kind"] not in ("deduction", "transfer_out"):
        return None
    row = await (await connection.execute(_REFUNDED, ref._asdict())).fetchone()
    assert row is not None
    return {**found, "refunded": int(row[0])}


def entry_answer(row: dict[str, Any]) -> dict[str, Any]:
    """An entry as it is told; facts of its kind stand beside those that all kinds have."""
    if row["lot"] is not None:
        row = {**row, **plain_deduction(row)}
    key = ids.stream_key(row["account_id"])
    return {
        **row["details"],
        "entry_id": ids.event_id(ids.ENTRY, key, row["version"]),
        "customer_id": row["customer_id"],
        "asset": row["asset"],
        "kind": row["kind"],
        "amount": row["amount"],
        "total_after": row["total_after"],
        "available_after": row["available_after"],
        "feature": row["feature"],
        "lots": row["lots"],
        "actor": row["actor"],
        "causation_id": row["causation_id"],
        "correlation_id": row["correlation_id"],
        "happened_at": answers.instant(row["happened_at"]),
        "recorded_at": answers.instant(row["recorded_at"]),
        "position": row["position"],
        "metadata": row["metadata"],
    }
